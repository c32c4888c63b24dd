//! Signs the certificate of a device: for the key of its request, or for a key that is created here
//! and returned once.
//!
//! It signs only a [`Leaf`], and returns no certificate with a lint finding. It stores nothing.

use rcgen::{KeyPair, PublicKeyData, SubjectPublicKeyInfo};

use super::Authority;
use crate::pki::certificate::{Certificate, CertificateFieldError};
use crate::pki::key::PrivateKeyPem;
use crate::pki::request::csr::Request;
use crate::pki::request::lint::{self, LintError};
use crate::pki::request::profile::Leaf;

/// Why no certificate is returned.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The plan is for another device than the request.
    #[error("the request is for {request}, but the plan is for {plan}: nothing was signed")]
    OtherDevice {
        /// The device of the request.
        request: String,
        /// The device of the plan.
        plan: String,
    },
    /// The library could not sign.
    #[error("the certificate could not be signed: {0}")]
    Sign(#[from] rcgen::Error),
    /// The signed certificate cannot be parsed.
    #[error("the signed certificate cannot be read back and was discarded: {0}")]
    Unreadable(#[from] CertificateFieldError),
    /// The signature does not verify.
    #[error(
        "the signature of the new certificate does not verify with the authority's key; the \
        certificate was discarded"
    )]
    BadSignature,
    /// The signed certificate differs from the plan.
    #[error("what was signed is not what was meant, and was thrown away: {0}")]
    Lint(#[from] LintError),
}

/// Signs for the key of a request.
pub fn sign(
    authority: &Authority,
    leaf: &Leaf,
    request: &Request,
) -> Result<Certificate, SignError> {
    if request.device() != leaf.device() {
        let (request, plan) = (request.device().identity(), leaf.device().identity());
        return Err(SignError::OtherDevice { request: request.to_owned(), plan: plan.to_owned() });
    }
    sign_key(authority, leaf, &SubjectPublicKeyInfo::from_der(request.key())?)
}

/// Creates a key (ECDSA P-256), signs for it, and returns both.
pub fn sign_new_key(
    authority: &Authority,
    leaf: &Leaf,
) -> Result<(Certificate, PrivateKeyPem), SignError> {
    let mut pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let signed = sign_key(authority, leaf, &pair);
    let key = PrivateKeyPem::of(&pair);
    zeroize::Zeroize::zeroize(&mut pair);
    Ok((signed?, key))
}

// --- private helpers ---

fn sign_key(
    authority: &Authority,
    leaf: &Leaf,
    key: &impl PublicKeyData,
) -> Result<Certificate, SignError> {
    let signed = leaf.params()?.signed_by(key, authority.issuer())?;
    lint::check(signed.der(), leaf, &key.subject_public_key_info(), authority.certificate())?;
    Ok(Certificate::from_der(signed.der())?)
}
