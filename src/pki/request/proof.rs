//! Checks that the request for a successor comes from the holder of a certificate: a signature over
//! [`statement`] with the certificate's key.
//!
//! The certificate is the one that the registry has stored, never one that the requester sends. It
//! does not judge whether that certificate is still valid.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::public_key::{KeyKind, KeyRefused};
use crate::domain::hex;
use crate::domain::ids::DeviceKey;
use crate::pki::certificate::Certificate;

/// The first line of a statement: a signature over it is a proof of nothing else.
const PURPOSE: &str = "sluice-renew-v1";

/// Longest signature, that of RSA 4096, in bytes.
pub const MAX_SIGNATURE_BYTES: usize = 512;

/// Why a signature proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The key of the certificate is of a kind that is not accepted.
    #[error("{0}")]
    Key(#[from] KeyRefused),
    /// It is by another key, or over another text.
    #[error(
        "the proof is no signature over the statement with the key of the certificate: sign the three lines \
         {PURPOSE}, <tenant>/device/<device> and the SHA-256 of the request's DER in hex, without a line end after \
         the last, with SHA-256"
    )]
    Wrong,
}

/// The text that the holder of the current key signs: what it is for, whose certificate, and the
/// SHA-256 of the request's DER.
pub fn statement(device: &DeviceKey, request_der: &[u8]) -> String {
    let request = hex::encode(&Sha256::digest(request_der));
    format!("{PURPOSE}\n{}\n{request}", device.identity())
}

/// Verifies that `signature` over `statement` was made with the key of `certificate`.
pub fn verify(
    certificate: &Certificate,
    statement: &str,
    signature: &[u8],
) -> Result<(), ProofError> {
    let kind = certificate.key_kind().clone()?;
    let (_, key) =
        SubjectPublicKeyInfo::from_der(certificate.key()).map_err(|_| KeyRefused::Garbled)?;
    let verifies = |algorithm: &'static dyn VerificationAlgorithm| {
        UnparsedPublicKey::new(algorithm, &key.subject_public_key.data)
            .verify(statement.as_bytes(), signature)
            .is_ok()
    };
    let is_proven =
        signature.len() <= MAX_SIGNATURE_BYTES && algorithms(kind).into_iter().any(verifies);
    if is_proven { Ok(()) } else { Err(ProofError::Wrong) }
}

// --- private helpers ---

/// The algorithms that OpenSSL and the libraries of small devices use with such a key.
fn algorithms(kind: KeyKind) -> Vec<&'static dyn VerificationAlgorithm> {
    match kind {
        KeyKind::EcdsaP256 => vec![&ECDSA_P256_SHA256_ASN1],
        KeyKind::EcdsaP384 => vec![&ECDSA_P384_SHA256_ASN1, &ECDSA_P384_SHA384_ASN1],
        KeyKind::Ed25519 => vec![&ED25519],
        KeyKind::Rsa { .. } => vec![&RSA_PKCS1_2048_8192_SHA256, &RSA_PSS_2048_8192_SHA256],
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, SigningKey};

    use super::*;
    use crate::pki::authority::sign;
    use crate::pki::request::csr::{self, Request};
    use crate::pki::test_samples::{authority, device, leaf, pair, request};

    /// A certificate for a new key of this kind, and the key.
    fn holder(algorithm: &'static rcgen::SignatureAlgorithm) -> (Certificate, KeyPair) {
        let (authority, key) = (authority(), pair(algorithm));
        let pem = request(None, &key, |_| ());
        let request = Request::read(pem.as_bytes(), &device()).unwrap();
        (sign::sign(&authority, &leaf(&authority), &request).unwrap(), key)
    }

    fn next() -> Vec<u8> {
        let pem = request(None, &pair(&rcgen::PKCS_ECDSA_P256_SHA256), |_| ());
        csr::der_of(pem.as_bytes()).unwrap().into_owned()
    }

    #[test]
    fn the_current_key_proves_and_no_other_does() {
        for algorithm in
            [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
        {
            let (certificate, key) = holder(algorithm);
            let text = statement(&device(), &next());
            let signature = key.sign(text.as_bytes()).unwrap();
            assert_eq!(verify(&certificate, &text, &signature), Ok(()));
            let (other, _) = holder(algorithm);
            assert_eq!(verify(&other, &text, &signature), Err(ProofError::Wrong));
            // Another request, another device, another length.
            for changed in [
                statement(&device(), &next()),
                text.replace("pump:1", "pump:2"),
                format!("{text}\n"),
                text.replace(PURPOSE, "sluice-renew-v2"),
            ] {
                assert_eq!(verify(&certificate, &changed, &signature), Err(ProofError::Wrong));
            }
            for wrong in [&[][..], &signature[1..], &vec![0; MAX_SIGNATURE_BYTES + 1]] {
                assert_eq!(verify(&certificate, &text, wrong), Err(ProofError::Wrong));
            }
        }
    }

    #[test]
    fn a_statement_names_its_purpose_the_device_and_the_request() {
        // SHA-256 of "abc", from FIPS 180-2.
        assert_eq!(
            statement(&device(), b"abc"),
            "sluice-renew-v1\nacme/device/pump:1\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
