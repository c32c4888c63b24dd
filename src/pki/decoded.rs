//! A certificate for people: what each field says, in words.
//!
//! It judges nothing, and shows what a broker or a device will see.

use x509_parser::extensions::{ExtendedKeyUsage, ParsedExtension};
use x509_parser::oid_registry::{
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA,
    OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519, Oid,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::{Certificate, CertificateFieldError};
use super::request::public_key::KeyKind;
use crate::domain::hex;

/// The fields of a certificate in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecodedCertificate {
    /// 3 for all that Sluice signs.
    pub version: u32,
    /// The distinguished name of the owner.
    pub subject: String,
    /// The distinguished name of the authority.
    pub issuer: String,
    /// Pairs of hex digits with colons, as OpenSSL prints them.
    pub serial: String,
    /// How it is signed.
    pub signature_algorithm: String,
    /// The kind of its key, or why Sluice would not accept it.
    pub key: String,
    /// Each with its type: `DNS:example.org`.
    pub subject_alternative_names: Vec<String>,
    /// What the key may do.
    pub key_usage: Vec<String>,
    /// For what the certificate may be used.
    pub extended_key_usage: Vec<String>,
    /// Whether it may sign certificates.
    pub is_authority: bool,
    /// In hex.
    pub subject_key_id: Option<String>,
    /// In hex: the key that signed it.
    pub authority_key_id: Option<String>,
    /// Extensions that are not shown above, by their number.
    pub other_extensions: Vec<String>,
}

/// Decodes the first certificate of a PEM text.
pub fn decode_pem(pem: &str) -> Result<DecodedCertificate, CertificateFieldError> {
    decode_der(Certificate::from_pem(pem.as_bytes())?.der())
}

/// Decodes DER.
pub fn decode_der(der: &[u8]) -> Result<DecodedCertificate, CertificateFieldError> {
    let (_, parsed) = X509Certificate::from_der(der)
        .map_err(|error| CertificateFieldError::Garbled(error.to_string()))?;
    let key = KeyKind::of(parsed.public_key());
    let mut decoded = DecodedCertificate {
        version: parsed.version().0 + 1,
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        serial: with_colons(without_sign(parsed.raw_serial())),
        signature_algorithm: algorithm(&parsed.signature_algorithm.algorithm),
        key: key.map_or_else(|refused| refused.to_string(), |kind| kind.to_string()),
        ..DecodedCertificate::default()
    };
    for extension in parsed.extensions() {
        decoded.add(extension.parsed_extension(), &extension.oid);
    }
    Ok(decoded)
}

// === impl DecodedCertificate ===

impl DecodedCertificate {
    fn add(&mut self, extension: &ParsedExtension<'_>, number: &Oid<'_>) {
        match extension {
            ParsedExtension::BasicConstraints(constraints) => self.is_authority = constraints.ca,
            ParsedExtension::KeyUsage(usage) => {
                let words = usage.to_string();
                self.key_usage = words.split(", ").map(str::to_owned).collect();
            }
            ParsedExtension::ExtendedKeyUsage(usage) => self.extended_key_usage = purposes(usage),
            ParsedExtension::SubjectAlternativeName(names) => {
                self.subject_alternative_names =
                    names.general_names.iter().map(ToString::to_string).collect();
            }
            ParsedExtension::SubjectKeyIdentifier(id) => {
                self.subject_key_id = Some(hex::encode(id.0));
            }
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| hex::encode(id.0));
            }
            _ => self.other_extensions.push(number.to_string()),
        }
    }
}

// --- private helpers ---

fn purposes(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (usage.any, "any"),
        (usage.client_auth, "clientAuth"),
        (usage.server_auth, "serverAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let known = known.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| word.to_owned());
    known.chain(usage.other.iter().map(ToString::to_string)).collect()
}

fn algorithm(number: &Oid<'_>) -> String {
    let known = [
        (OID_SIG_ECDSA_WITH_SHA256, "ECDSA with SHA-256"),
        (OID_SIG_ECDSA_WITH_SHA384, "ECDSA with SHA-384"),
        (OID_PKCS1_SHA256WITHRSA, "RSA with SHA-256"),
        (OID_PKCS1_SHA384WITHRSA, "RSA with SHA-384"),
        (OID_PKCS1_SHA512WITHRSA, "RSA with SHA-512"),
        (OID_SIG_ED25519, "Ed25519"),
    ];
    let found = known.iter().find(|(known, _)| known == number);
    found.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// Without the zero that only says that the number is positive.
fn without_sign(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        _ => bytes,
    }
}

fn with_colons(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| hex::encode(&[*byte])).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::test_samples::authority;

    #[test]
    fn an_authority_is_shown_with_its_powers() {
        let own = authority();
        let decoded = decode_pem(&own.certificate().bundle_pem()).unwrap();
        assert_eq!((decoded.version, decoded.is_authority), (3, true));
        assert_eq!(decoded.subject, own.certificate().name());
        assert_eq!(decoded.subject, decoded.issuer);
        assert!(decoded.key_usage.iter().any(|usage| usage.contains("Cert")), "{decoded:?}");
        assert_eq!(decoded.signature_algorithm, "ECDSA with SHA-256");
        assert!(decode_pem("hello").is_err());
    }
}
