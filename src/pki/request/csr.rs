//! Checks a certificate request.
//!
//! It must be signed with its own key, and the key must be strong enough. Its subject must be empty
//! or name the expected device. Its extensions are ignored, but it refuses a request for the powers
//! of an authority.

use std::borrow::Cow;

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
use crate::pki::serial::Fingerprint;

/// Maximum size of a request; RSA 4096 with a full subject has 2.5 KiB.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// An accepted request: a device and a key that the requester holds.
#[derive(Clone, Debug)]
pub struct Request {
    device: DeviceKey,
    key: Vec<u8>,
    kind: KeyKind,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is larger than the bound.
    #[error(
        "the request has more than {MAX_REQUEST_BYTES} bytes: no certificate request is that long"
    )]
    TooLong,
    /// Neither PEM nor DER of a request.
    #[error(
        "this is not a certificate request: expected PKCS#10 in PEM (-----BEGIN CERTIFICATE \
         REQUEST-----) or DER"
    )]
    Garbled,
    /// The key.
    #[error("the request is refused: {0}")]
    Key(#[from] KeyRefused),
    /// The signature does not verify: the requester does not hold the key, or the request was
    /// altered.
    #[error(
        "the request's signature is invalid: sign the request with the private key of its public \
         key"
    )]
    NotProven,
    /// The signature algorithm is not supported, for example SHA-1.
    #[error(
        "the signature algorithm of the request is not accepted: sign the request with SHA-256 or \
         SHA-384"
    )]
    SignatureAlgorithm,
    /// The subject names another device.
    #[error(
        "the request names {found:?}, but the certificate is for {expected}: leave the subject \
         empty, or name this device"
    )]
    OtherName {
        /// The common names in it.
        found: String,
        /// The expected device.
        expected: String,
    },
    /// It requests the powers of an authority.
    #[error(
        "the request asks for an authority's powers (CA:true, keyCertSign or cRLSign): a device \
         cannot have them"
    )]
    WantsAuthority,
    /// Its extensions cannot be parsed: they may request anything.
    #[error(
        "the request asks for an extension that Sluice cannot read: make the request without \
        extensions"
    )]
    Extension,
}

/// The DER of a request in PEM or DER. Only the frame is read; [`Request::read`] judges the content.
pub fn der_of(bytes: &[u8]) -> Result<Cow<'_, [u8]>, RequestError> {
    if bytes.len() > MAX_REQUEST_BYTES {
        return Err(RequestError::TooLong);
    }
    if bytes.first() == Some(&0x30) {
        return Ok(Cow::Borrowed(bytes));
    }
    match CertificateSigningRequestDer::from_pem_slice(bytes) {
        Ok(der) => Ok(Cow::Owned(der.to_vec())),
        Err(_) => Err(RequestError::Garbled),
    }
}

// === impl Request ===

impl Request {
    /// Reads a request in PEM or DER and judges it.
    pub fn read(bytes: &[u8], device: &DeviceKey) -> Result<Self, RequestError> {
        let der = der_of(bytes)?;
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

    /// SHA-256 of its public key, in lower-case hex.
    pub fn public_key_sha256(&self) -> String {
        Fingerprint::of(&self.key).to_string()
    }

    /// The public key, as X.509 writes it.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }
}

// --- private helpers ---

fn judge(
    request: &X509CertificationRequest<'_>,
    device: &DeviceKey,
) -> Result<Request, RequestError> {
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

fn check_name(
    request: &X509CertificationRequest<'_>,
    device: &DeviceKey,
) -> Result<(), RequestError> {
    let subject = &request.certification_request_info.subject;
    let names: Vec<&str> = subject
        .iter_common_name()
        .map(|attribute| attribute.as_str().unwrap_or("\u{fffd}"))
        .collect();
    let is_meant =
        |name: &str| identity::read_common_name(name).is_ok_and(|named| named == *device);
    match names.as_slice() {
        [] => Ok(()),
        [name] if is_meant(name) => Ok(()),
        _ => Err(RequestError::OtherName {
            found: names.join(", "),
            expected: device.identity().to_owned(),
        }),
    }
}

fn check_extensions(request: &X509CertificationRequest<'_>) -> Result<(), RequestError> {
    for attribute in request.certification_request_info.attributes() {
        let ParsedCriAttribute::ExtensionRequest(requested) = attribute.parsed_attribute() else {
            continue;
        };
        for extension in &requested.extensions {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose, SanType};
    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::pki::test_samples::{content, device, pair, parts, request, tagged};

    const P256: &rcgen::SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;

    fn read(pem: &str) -> Result<Request, RequestError> {
        Request::read(pem.as_bytes(), &device())
    }

    fn der_of(pem: &str) -> Vec<u8> {
        CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
    }

    #[test]
    fn keys_of_the_accepted_kinds_pass_in_pem_and_der() {
        let kinds = [
            (P256, KeyKind::EcdsaP256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, KeyKind::EcdsaP384),
            (&rcgen::PKCS_ED25519, KeyKind::Ed25519),
        ];
        for (algorithm, kind) in kinds {
            let pem = request(None, &pair(algorithm), |_| ());
            assert_eq!(read(&pem).unwrap().key_kind(), kind);
            assert_eq!(Request::read(&der_of(&pem), &device()).unwrap().key_kind(), kind);
        }
    }

    #[test]
    fn a_subject_is_absent_or_names_the_device_in_either_form() {
        let key = pair(P256);
        for name in [None, Some("acme/device/pump:1"), Some("acme/pump:1")] {
            assert!(read(&request(name, &key, |_| ())).is_ok(), "{name:?}");
        }
        for name in [
            "acme/device/pump:2",
            "other/pump:1",
            "",
            "acme",
            "acme/device/pump:1/x",
            "+/+",
            "acme/#",
        ] {
            let error = read(&request(Some(name), &key, |_| ())).unwrap_err();
            assert!(matches!(error, RequestError::OtherName { .. }), "{name}: {error}");
            assert!(error.to_string().contains("acme/device/pump:1"), "{error}");
        }
        let organization = request(None, &key, |params| {
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "Acme");
        });
        assert!(read(&organization).is_ok());
    }

    #[test]
    fn a_request_for_an_authority_is_refused_and_other_wishes_are_ignored() {
        let key = pair(P256);
        let ca =
            request(None, &key, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert_eq!(read(&ca).unwrap_err(), RequestError::WantsAuthority);
        for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
            let with_usage = request(None, &key, |params| params.key_usages = vec![usage]);
            assert_eq!(read(&with_usage).unwrap_err(), RequestError::WantsAuthority);
        }
        let harmless = request(None, &key, |params| {
            params.subject_alt_names =
                vec![SanType::URI("urn:sluice:other:device".try_into().unwrap())];
        });
        assert!(read(&harmless).is_ok());
    }

    #[test]
    fn a_request_without_proof_of_its_key_is_refused() {
        let der = der_of(&request(None, &pair(P256), |_| ()));
        let outer = parts(content(&der));
        // The public key of another, in a request signed with one's own.
        let other = der_of(&request(None, &pair(P256), |_| ()));
        let forged = tagged(
            0x30,
            &[parts(content(&other))[0].clone(), outer[1].clone(), outer[2].clone()].concat(),
        );
        assert_eq!(Request::read(&forged, &device()).unwrap_err(), RequestError::NotProven);
        let mut flipped = der.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(Request::read(&flipped, &device()).unwrap_err(), RequestError::NotProven);
    }

    #[test]
    fn a_point_that_is_compressed_or_of_another_curve_is_refused_by_name() {
        let der = der_of(&request(None, &pair(P256), |_| ()));
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut changed = der.clone();
            change(&mut changed);
            Request::read(&changed, &device()).unwrap_err()
        };
        let at = |needle: &[u8]| memchr::memmem::find(&der, needle).unwrap();
        let point = at(&[3, 0x42, 0, 4]) + 3;
        assert_eq!(with(&|der| der[point] = 2), RequestError::Key(KeyRefused::Point));
        let curve = at(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]) + 7;
        let refused = with(&|der| der[curve] = 6);
        assert!(matches!(refused, RequestError::Key(KeyRefused::Kind(_))), "{refused}");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let pem = request(None, &pair(P256), |_| ());
        for wrong in
            [&b""[..], b"hello", b"\x30", &pem.as_bytes()[..80], &[der_of(&pem), vec![0]].concat()]
        {
            assert_eq!(Request::read(wrong, &device()).unwrap_err(), RequestError::Garbled);
        }
        assert_eq!(
            Request::read(&vec![0x30; MAX_REQUEST_BYTES + 1], &device()).unwrap_err(),
            RequestError::TooLong
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), at in any::<prop::sample::Index>()) {
            prop_assert!(Request::read(&bytes, &device()).is_err());
            let mut touched = der_of(&request(Some("acme/pump:1"), &pair(P256), |_| ()));
            let at = at.index(touched.len());
            touched[at] ^= bytes.first().copied().unwrap_or(1).max(1);
            let _ = Request::read(&touched, &device());
        }
    }
}
