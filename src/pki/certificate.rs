//! A parsed certificate: its bytes and its fields, parsed once and owned.
//!
//! Parsing accepts no certificate for a purpose: the checks for an authority or a device are in
//! [`super::authority`], [`super::request::lint`] and [`super::request::import`].

use std::fmt;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use super::request::public_key::{KeyKind, KeyRefused};
use super::serial::{Fingerprint, Serial, SerialError};
use super::x509_time;
use crate::domain::time::Timestamp;

/// Maximum size of a certificate; real ones have a few KiB.
const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;
/// Maximum length of a chain up to the root.
const MAX_CHAIN: usize = 8;
/// Its PEM label.
const PEM_TAG: &str = "CERTIFICATE";

/// A certificate.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    fingerprint: Fingerprint,
    serial: Serial,
    subject: DistinguishedName,
    issuer: DistinguishedName,
    not_before: Timestamp,
    not_after: Timestamp,
    key: Vec<u8>,
    key_kind: Result<KeyKind, KeyRefused>,
    uses: Uses,
}

/// A distinguished name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DistinguishedName {
    pub(super) text: String,
    pub(super) der: Vec<u8>,
    pub(super) common_names: Vec<String>,
}

/// The uses that its extensions allow.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, as X.509 states them"
)]
#[derive(Clone, Debug, Default)]
pub(super) struct Uses {
    pub(super) is_ca: bool,
    /// How many authorities may stand below it; `None` means any number.
    pub(super) path_length: Option<u32>,
    pub(super) signs_certificates: bool,
    pub(super) signs_crls: bool,
    /// Whether it is valid for clients: it lists `clientAuth`, or restricts no use.
    pub(super) is_for_clients: bool,
    pub(super) uris: Vec<String>,
    pub(super) key_id: Option<Vec<u8>>,
    pub(super) unknown_critical: Option<String>,
}

/// Why bytes cannot be parsed as a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFieldError {
    /// No PEM of a certificate.
    #[error("no certificate found: expected PEM that begins with -----BEGIN CERTIFICATE-----")]
    Missing,
    /// The PEM or DER is malformed.
    #[error("the certificate cannot be read: {0}")]
    Garbled(String),
    /// It is larger than the bound.
    #[error(
        "it is too long to be a certificate: more than {MAX_CERTIFICATE_BYTES} bytes, or \
         {MAX_CHAIN} certificates"
    )]
    TooLong,
    /// Its serial number is invalid.
    #[error("the certificate's serial number is invalid: {0}")]
    Serial(#[from] SerialError),
}

// === impl Certificate ===

impl Certificate {
    /// Parses the first certificate of a PEM text; a device's own precedes its chain.
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateFieldError> {
        Self::chain_from_pem(text)?.into_iter().next().ok_or(CertificateFieldError::Missing)
    }

    /// Parses all certificates of a PEM text, at least one.
    pub fn chain_from_pem(text: &[u8]) -> Result<Vec<Self>, CertificateFieldError> {
        if text.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateFieldError::TooLong);
        }
        let mut chain = Vec::new();
        for der in CertificateDer::pem_slice_iter(text) {
            let der = der.map_err(|error| CertificateFieldError::Garbled(error.to_string()))?;
            chain.push(Self::from_der(&der)?);
        }
        match chain.len() {
            0 => Err(CertificateFieldError::Missing),
            1..=MAX_CHAIN => Ok(chain),
            _ => Err(CertificateFieldError::TooLong),
        }
    }

    /// Parses DER.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateFieldError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateFieldError::TooLong);
        }
        let parsed = parse(der)?;
        let key = parsed.public_key();
        Ok(Self {
            fingerprint: Fingerprint::of(der),
            serial: Serial::from_der_integer(parsed.raw_serial())?,
            subject: DistinguishedName::of(parsed.subject()),
            issuer: DistinguishedName::of(parsed.issuer()),
            not_before: x509_time::from_x509(parsed.validity().not_before),
            not_after: x509_time::from_x509(parsed.validity().not_after),
            key: key.raw.to_vec(),
            key_kind: KeyKind::of(key),
            uses: Uses::of(&parsed),
            der: der.to_vec(),
        })
    }

    /// The DER bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The same as PEM text.
    pub fn to_pem(&self) -> String {
        pem_text(PEM_TAG, &self.der)
    }

    /// SHA-256 of the bytes.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// SHA-256 of the public key, in lower-case hex.
    pub fn public_key_sha256(&self) -> String {
        Fingerprint::of(&self.key).to_string()
    }

    /// The serial number.
    pub const fn serial(&self) -> &Serial {
        &self.serial
    }

    /// The subject as text, for people.
    pub fn subject(&self) -> &str {
        &self.subject.text
    }

    /// The issuer as text; it also distinguishes the certificates of different authorities.
    pub fn issuer(&self) -> &str {
        &self.issuer.text
    }

    /// The common name. `None` means none or several.
    pub fn common_name(&self) -> Option<&str> {
        match self.subject.common_names.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    /// When it begins.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When it ends.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The kind of its key, or why the key is not accepted.
    pub const fn key_kind(&self) -> &Result<KeyKind, KeyRefused> {
        &self.key_kind
    }

    /// Whether `issuer` signed it, with an accepted hash.
    pub fn is_signed_by(&self, issuer: &Self) -> bool {
        let Ok(parsed) = parse(&self.der) else { return false };
        let Ok((_, key)) = SubjectPublicKeyInfo::from_der(&issuer.key) else { return false };
        let algorithm = &parsed.signature_algorithm.algorithm;
        let is_old = *algorithm == OID_PKCS1_SHA1WITHRSA || *algorithm == OID_SHA1_WITH_RSA;
        let is_one = parsed.signature_algorithm == parsed.tbs_certificate.signature;
        !is_old
            && is_one
            && self.issuer.der == issuer.subject.der
            && parsed.verify_signature(Some(&key)).is_ok()
    }

    /// The public key, as X.509 writes it (`SubjectPublicKeyInfo`).
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) const fn subject_name(&self) -> &DistinguishedName {
        &self.subject
    }

    pub(super) const fn uses(&self) -> &Uses {
        &self.uses
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?}, serial {})", self.subject.text, self.serial)
    }
}

// === impl DistinguishedName, Uses ===

impl DistinguishedName {
    fn of(name: &X509Name<'_>) -> Self {
        // A common name that is not text names no device, but it counts as one.
        let text = |value: Result<&str, _>| value.unwrap_or("\u{fffd}").to_owned();
        let common_names =
            name.iter_common_name().map(|attribute| text(attribute.as_str())).collect();
        Self { text: name.to_string(), der: name.as_raw().to_vec(), common_names }
    }
}

impl Uses {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut uses = Self { is_for_clients: true, ..Self::default() };
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => {
                    uses.is_ca = constraints.ca;
                    uses.path_length = constraints.path_len_constraint;
                }
                ParsedExtension::KeyUsage(usage) => {
                    uses.signs_certificates = usage.key_cert_sign();
                    uses.signs_crls = usage.crl_sign();
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    uses.is_for_clients = usage.client_auth || usage.any;
                }
                ParsedExtension::SubjectKeyIdentifier(id) => uses.key_id = Some(id.0.to_vec()),
                ParsedExtension::SubjectAlternativeName(names) => {
                    uses.uris = uris(&names.general_names);
                }
                ParsedExtension::UnsupportedExtension { .. }
                | ParsedExtension::ParseError { .. }
                    if extension.critical =>
                {
                    uses.unknown_critical = Some(extension.oid.to_string());
                }
                _ => {}
            }
        }
        uses
    }
}

// --- private helpers ---

/// PEM text with Unix line ends.
pub(super) fn pem_text(tag: &str, der: &[u8]) -> String {
    let form = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, der), form)
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateFieldError> {
    match X509Certificate::from_der(der) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(CertificateFieldError::Garbled("other data follows it".to_owned())),
        Err(error) => Err(CertificateFieldError::Garbled(error.to_string())),
    }
}

fn uris(names: &[GeneralName<'_>]) -> Vec<String> {
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.iter().filter_map(uri).collect()
}
