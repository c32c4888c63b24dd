//! Compares every field of a signed certificate with its plan, before the certificate is returned.
//!
//! It parses the bytes with another library than the one that wrote them. It has no exceptions and
//! no severities: one finding discards the certificate.

use std::fmt;

use x509_parser::certificate::TbsCertificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME,
    OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, Oid,
};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::profile::Leaf;
use crate::pki::authority::AuthorityCertificate;
use crate::pki::serial::Serial;
use crate::pki::x509_time;

/// The flags of a key usage that is digitalSignature and nothing else.
const DIGITAL_SIGNATURE: u16 = 1;
/// Maximum DER length of a serial number in RFC 5280.
const MAX_SERIAL_BYTES: usize = 20;

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LintFinding {
    /// The bytes are no DER certificate, or have a suffix.
    #[error("expected exactly one certificate in DER")]
    NotDer,
    /// Not X.509 v3.
    #[error("it is not version 3")]
    Version,
    /// The serial number differs or is encoded wrongly.
    #[error("the serial number is not the planned one")]
    Serial,
    /// The two fields of the signature algorithm differ.
    #[error("the certificate names two signature algorithms")]
    Algorithm,
    /// The signature.
    #[error("the signature is not the authority's")]
    Signature,
    /// The issuer is not, byte for byte, the authority's subject.
    #[error("the issuer is not the authority's name")]
    Issuer,
    /// The dates.
    #[error("its validity differs from the plan")]
    Dates,
    /// The dates reach beyond the authority's.
    #[error("it outlives the authority")]
    Outlives,
    /// The subject is not the one common name.
    #[error("the subject is not the planned common name alone")]
    Subject,
    /// Another public key.
    #[error("the public key is not the requested one")]
    Key,
    /// It has unique identifiers, which are obsolete.
    #[error("it has a unique identifier")]
    UniqueId,
    /// An extension occurs twice.
    #[error("an extension occurs twice")]
    Duplicate,
    /// An extension is not in the profile.
    #[error("an extension is not in the profile")]
    Foreign,
    /// Basic constraints.
    #[error("the basic constraints are not CA:false, critical")]
    Constraints,
    /// Key usage.
    #[error("the key usage is not digitalSignature alone, critical")]
    KeyUsage,
    /// Extended key usage.
    #[error("the extended key usage is not clientAuth alone")]
    ExtendedKeyUsage,
    /// Subject alternative name.
    #[error("the alternative name is not the device's URN alone")]
    AlternativeName,
    /// Authority key identifier.
    #[error("the authority key identifier is not that of the authority")]
    AuthorityKeyId,
    /// Subject key identifier.
    #[error("the subject's key identifier is missing or critical")]
    SubjectKeyId,
}

/// The findings of one certificate, at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LintError {
    /// The findings.
    pub findings: Vec<LintFinding>,
}

/// Compares a certificate with its plan, its key and its authority.
pub fn check(
    der: &[u8],
    leaf: &Leaf,
    key: &[u8],
    authority: &AuthorityCertificate,
) -> Result<(), LintError> {
    let Ok(([], certificate)) = X509Certificate::from_der(der) else {
        return Err(LintError { findings: vec![LintFinding::NotDer] });
    };
    let mut findings = Vec::new();
    let mut demand = |holds: bool, finding| {
        if !holds {
            findings.push(finding);
        }
    };
    let tbs = &certificate.tbs_certificate;
    demand(certificate.signature_algorithm == tbs.signature, LintFinding::Algorithm);
    demand(is_signed(&certificate, authority), LintFinding::Signature);
    for (holds, finding) in fields(tbs, leaf, key, authority) {
        demand(holds, finding);
    }
    for (holds, finding) in extensions(tbs, leaf, authority) {
        demand(holds, finding);
    }
    if findings.is_empty() { Ok(()) } else { Err(LintError { findings }) }
}

impl fmt::Display for LintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let findings: Vec<String> = self.findings.iter().map(LintFinding::to_string).collect();
        f.write_str(&findings.join("; "))
    }
}

// --- private helpers ---

fn is_signed(certificate: &X509Certificate<'_>, authority: &AuthorityCertificate) -> bool {
    let key = SubjectPublicKeyInfo::from_der(authority.certificate().key());
    key.is_ok_and(|(_, key)| certificate.verify_signature(Some(&key)).is_ok())
}

fn fields(
    tbs: &TbsCertificate<'_>,
    leaf: &Leaf,
    key: &[u8],
    authority: &AuthorityCertificate,
) -> [(bool, LintFinding); 8] {
    let own = authority.certificate();
    let raw = tbs.raw_serial();
    let serial = Serial::from_der_integer(raw).is_ok_and(|serial| serial == *leaf.serial());
    let begins = x509_time::from_x509(tbs.validity().not_before);
    let ends = x509_time::from_x509(tbs.validity().not_after);
    let names: Vec<_> =
        tbs.subject().iter_attributes().map(|attribute| attribute.as_str().ok()).collect();
    let is_common_name = tbs.subject().iter_common_name().count() == 1;
    [
        (tbs.version() == X509Version::V3, LintFinding::Version),
        (serial && raw.len() <= MAX_SERIAL_BYTES, LintFinding::Serial),
        (tbs.issuer().as_raw() == own.subject_name().der, LintFinding::Issuer),
        (
            begins == leaf.not_before() && ends == leaf.not_after() && begins < ends,
            LintFinding::Dates,
        ),
        (own.not_before() <= begins && ends <= own.not_after(), LintFinding::Outlives),
        (is_common_name && names == [Some(leaf.common_name())], LintFinding::Subject),
        (tbs.public_key().raw == key, LintFinding::Key),
        (tbs.issuer_uid.is_none() && tbs.subject_uid.is_none(), LintFinding::UniqueId),
    ]
}

fn extensions(
    tbs: &TbsCertificate<'_>,
    leaf: &Leaf,
    authority: &AuthorityCertificate,
) -> Vec<(bool, LintFinding)> {
    let all = tbs.extensions();
    let is_once = |(at, extension): (usize, &X509Extension<'_>)| {
        all[..at].iter().all(|other| other.oid != extension.oid)
    };
    let key_id = authority.key_id();
    let rules: [(Oid<'_>, LintFinding, &LintRule<'_>); 6] = [
        (OID_X509_EXT_BASIC_CONSTRAINTS, LintFinding::Constraints, &is_no_authority),
        (OID_X509_EXT_KEY_USAGE, LintFinding::KeyUsage, &signs_only),
        (OID_X509_EXT_EXTENDED_KEY_USAGE, LintFinding::ExtendedKeyUsage, &is_client_only),
        (OID_X509_EXT_SUBJECT_ALT_NAME, LintFinding::AlternativeName, &|extension| {
            is_named(extension, leaf.urn())
        }),
        (OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, LintFinding::AuthorityKeyId, &|extension| {
            names_key(extension, &key_id)
        }),
        (OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, LintFinding::SubjectKeyId, &has_key_id),
    ];
    let is_ours =
        |extension: &X509Extension<'_>| rules.iter().any(|(oid, ..)| *oid == extension.oid);
    let mut verdicts = vec![
        (all.iter().enumerate().all(is_once), LintFinding::Duplicate),
        (all.iter().all(is_ours), LintFinding::Foreign),
    ];
    for (oid, finding, rule) in &rules {
        let mut of_kind = all.iter().filter(|extension| extension.oid == *oid).peekable();
        verdicts.push((of_kind.peek().is_some() && of_kind.all(rule), *finding));
    }
    verdicts
}

type LintRule<'a> = dyn Fn(&X509Extension<'_>) -> bool + 'a;

fn is_no_authority(extension: &X509Extension<'_>) -> bool {
    let ParsedExtension::BasicConstraints(constraints) = extension.parsed_extension() else {
        return false;
    };
    extension.critical && !constraints.ca && constraints.path_len_constraint.is_none()
}

fn signs_only(extension: &X509Extension<'_>) -> bool {
    let ParsedExtension::KeyUsage(usage) = extension.parsed_extension() else { return false };
    extension.critical && usage.flags == DIGITAL_SIGNATURE
}

fn is_client_only(extension: &X509Extension<'_>) -> bool {
    let ParsedExtension::ExtendedKeyUsage(usage) = extension.parsed_extension() else {
        return false;
    };
    let others = [
        usage.any,
        usage.server_auth,
        usage.code_signing,
        usage.email_protection,
        usage.time_stamping,
    ];
    let has_others = others.contains(&true) || usage.ocsp_signing || !usage.other.is_empty();
    !extension.critical && usage.client_auth && !has_others
}

fn is_named(extension: &X509Extension<'_>, urn: &str) -> bool {
    let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
        return false;
    };
    !extension.critical
        && matches!(names.general_names.as_slice(), [GeneralName::URI(uri)] if *uri == urn)
}

fn names_key(extension: &X509Extension<'_>, key_id: &[u8]) -> bool {
    let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() else {
        return false;
    };
    let is_plain = id.authority_cert_issuer.is_none() && id.authority_cert_serial.is_none();
    !extension.critical && is_plain && id.key_identifier.as_ref().is_some_and(|id| id.0 == key_id)
}

fn has_key_id(extension: &X509Extension<'_>) -> bool {
    let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else {
        return false;
    };
    !extension.critical && !id.0.is_empty()
}
