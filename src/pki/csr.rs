//! Is this certificate request acceptable?
//!
//! It must be signed with the key it asks a certificate for, and that key must be strong enough. Nothing else in it is
//! believed: its subject may be absent or must name the device that is meant, and its extensions are ignored; a request
//! that asks for an authority's powers is refused.

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::error::X509Error;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::identity;
use super::public_key::{KeyKind, KeyRefused};
use crate::domain::ids::DeviceKey;

/// A longer request is not read; one of RSA 4096 with a full subject has 2.5 KiB.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// A request that passed: a key, proven to be held by whoever asked, for this device.
#[derive(Clone, Debug)]
pub struct Request {
    device: DeviceKey,
    key: Vec<u8>,
    kind: KeyKind,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More than we read.
    #[error("the request has more than {MAX_REQUEST_BYTES} bytes: no certificate request needs them")]
    TooLong,
    /// Neither PEM nor DER of a request.
    #[error("this is no certificate request: expected PKCS#10, in PEM (-----BEGIN CERTIFICATE REQUEST-----) or DER")]
    Garbled,
    /// The key.
    #[error("the request is refused: {0}")]
    Key(#[from] KeyRefused),
    /// The signature is wrong: whoever asks does not hold the key, or the request was altered.
    #[error("the request's signature is wrong: it must be made with the private key of the public key in it")]
    NotProven,
    /// A signature we cannot verify, such as one over SHA-1.
    #[error("the request is signed with an algorithm that is not accepted: sign it with SHA-256 or SHA-384")]
    SignatureAlgorithm,
    /// A subject that names another.
    #[error(
        "the request names {found:?}, and the certificate is for {expected}: leave the subject empty, or name this device"
    )]
    OtherName {
        /// The common names in it.
        found: String,
        /// The device that is meant.
        expected: String,
    },
    /// It asks for an authority's powers.
    #[error("the request asks for an authority's powers (CA:true, keyCertSign or cRLSign), and a device gets none")]
    WantsAuthority,
    /// Extensions that cannot be read: they may ask for anything.
    #[error("the request asks for an extension that cannot be read: make it without extensions")]
    Extension,
}

// === impl Request ===

impl Request {
    /// Reads a request in PEM or DER and judges it.
    pub fn read(bytes: &[u8], device: &DeviceKey) -> Result<Self, RequestError> {
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLong);
        }
        let is_der = bytes.first() == Some(&0x30);
        let from_pem = || CertificateSigningRequestDer::from_pem_slice(bytes).map_err(|_| RequestError::Garbled);
        let der = if is_der { bytes.into() } else { from_pem()? };
        match X509CertificationRequest::from_der(&der) {
            Ok(([], request)) => judge(&request, device),
            _ => Err(RequestError::Garbled),
        }
    }

    /// Whom the certificate is for.
    pub const fn device(&self) -> &DeviceKey {
        &self.device
    }

    /// What kind of key it holds.
    pub const fn key_kind(&self) -> KeyKind {
        self.kind
    }

    /// The public key, as X.509 writes it.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }
}

// --- private helpers ---

fn judge(request: &X509CertificationRequest<'_>, device: &DeviceKey) -> Result<Request, RequestError> {
    let info = &request.certification_request_info;
    // Before the signature: a weak key cannot be verified, and the reason would be the wrong one.
    let kind = KeyKind::of(&info.subject_pki)?;
    request.verify_signature().map_err(|error| match error {
        X509Error::SignatureUnsupportedAlgorithm => RequestError::SignatureAlgorithm,
        _ => RequestError::NotProven,
    })?;
    check_name(request, device)?;
    check_extensions(request)?;
    Ok(Request { device: device.clone(), key: info.subject_pki.raw.to_vec(), kind })
}

fn check_name(request: &X509CertificationRequest<'_>, device: &DeviceKey) -> Result<(), RequestError> {
    let subject = &request.certification_request_info.subject;
    let names: Vec<&str> =
        subject.iter_common_name().map(|attribute| attribute.as_str().unwrap_or("\u{fffd}")).collect();
    let is_meant = |name: &str| identity::read_common_name(name).is_ok_and(|named| named == *device);
    match names.as_slice() {
        [] => Ok(()),
        [name] if is_meant(name) => Ok(()),
        _ => Err(RequestError::OtherName { found: names.join(", "), expected: device.identity() }),
    }
}

fn check_extensions(request: &X509CertificationRequest<'_>) -> Result<(), RequestError> {
    for attribute in request.certification_request_info.attributes() {
        let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else { continue };
        for extension in &asked.extensions {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                    return Err(RequestError::WantsAuthority);
                }
                ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                    return Err(RequestError::WantsAuthority);
                }
                ParsedExtension::ParseError { .. } => return Err(RequestError::Extension),
                _ => {}
            }
        }
    }
    Ok(())
}
