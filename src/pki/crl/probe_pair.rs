//! Certificates that probe the broker: a revoked and a valid one for the CRL, and a publishing one
//! for the access rules.
//!
//! Their common name begins with `$`, which no tenant's name may hold: no access rule and no topic
//! of a device matches it. The broker sees no other difference from a device. It never writes their
//! keys to a file.

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData,
    SerialNumber,
};

use crate::domain::clocks::Clocks;
use crate::domain::probe;
use crate::pki::BACKDATING_SECONDS;
use crate::pki::authority::Authority;
use crate::pki::certificate::{Certificate, CertificateFieldError};
use crate::pki::key::PrivateKeyPem;
use crate::pki::request::profile::named;
use crate::pki::serial::{Serial, SerialError};
use crate::pki::x509_time;

/// Prefix of the common names.
pub const NAME_PREFIX: &str = "$sluice/canary/";

/// Validity of a probe certificate: its revocation stays in the CRL for two days.
pub const VALIDITY_SECONDS: i64 = 2 * 86_400;

/// A certificate and its key.
#[derive(Debug)]
pub struct Canary {
    /// The certificate.
    pub certificate: Certificate,
    /// Its key, for one handshake at a time.
    pub key: PrivateKeyPem,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// The library could not sign.
    #[error("a probe certificate could not be signed: {0}")]
    Sign(#[from] rcgen::Error),
    /// No serial number.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// What was signed cannot be read.
    #[error("a probe certificate cannot be read back: {0}")]
    Unreadable(#[from] CertificateFieldError),
}

/// Creates a certificate with a unique name, so that replicas do not disturb each other.
pub fn make(authority: &Authority, at: impl Into<Clocks>) -> Result<Canary, CanaryError> {
    let serial = Serial::random()?;
    let name = format!("{NAME_PREFIX}{serial}");
    make_named(authority, at.into(), &serial, &name)
}

/// Creates the publishing certificate; its name is fixed, so that access rules can name it.
pub fn make_probe(authority: &Authority, at: impl Into<Clocks>) -> Result<Canary, CanaryError> {
    make_named(authority, at.into(), &Serial::random()?, probe::IDENTITY)
}

// --- private helpers ---

fn make_named(
    authority: &Authority,
    at: Clocks,
    serial: &Serial,
    name: &str,
) -> Result<Canary, CanaryError> {
    let own = authority.certificate().certificate();
    let from = x509_time::whole_second(at.earlier())
        .plus_seconds(-BACKDATING_SECONDS)
        .max(own.not_before());
    let until =
        x509_time::whole_second(at.later()).plus_seconds(VALIDITY_SECONDS).min(own.not_after());
    let (Some(from), Some(until)) = (x509_time::to_x509(from), x509_time::to_x509(until)) else {
        return Err(rcgen::Error::Time.into());
    };
    let mut params = CertificateParams::default();
    params.not_before = from.to_datetime();
    params.not_after = until.to_datetime();
    params.distinguished_name = named(name);
    params.serial_number = Some(SerialNumber::from_slice(serial.magnitude()));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let mut pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let signed = sign(authority, &params, &pair);
    let key = PrivateKeyPem::of(&pair);
    zeroize::Zeroize::zeroize(&mut pair);
    Ok(Canary { certificate: signed?, key })
}

fn sign(
    authority: &Authority,
    params: &CertificateParams,
    key: &impl PublicKeyData,
) -> Result<Certificate, CanaryError> {
    let signed = params.signed_by(key, authority.issuer())?;
    Ok(Certificate::from_der(signed.der())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::DeviceKey;
    use crate::pki::test_samples::{authority, now};

    #[test]
    fn each_is_the_authoritys_with_a_name_that_no_device_can_have() {
        let authority = authority();
        let [one, other] = [make(&authority, now()).unwrap(), make(&authority, now()).unwrap()];
        for canary in [&one, &other] {
            assert!(canary.certificate.is_signed_by(authority.certificate().certificate()));
            let name = canary.certificate.common_name().unwrap();
            assert!(name.len() <= 64 && name.parse::<DeviceKey>().is_err(), "{name}");
        }
        assert_ne!(one.certificate.subject(), other.certificate.subject());
        assert_ne!(one.certificate.serial(), other.certificate.serial());
        let probe = make_probe(&authority, now()).unwrap();
        assert_eq!(probe.certificate.common_name(), Some(probe::IDENTITY));
    }
}
