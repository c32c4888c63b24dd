//! The broker's server certificate, which devices verify when they connect.
//!
//! A separate authority signs it, never that of the devices: neither key can impersonate the other
//! side.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};

use super::Authority;
use super::sign::SignError;
use crate::domain::time::Timestamp;
use crate::pki::BACKDATING_SECONDS;
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKeyPem;
use crate::pki::request::profile::named;
use crate::pki::serial::Serial;
use crate::pki::x509_time;

const SECONDS_PER_DAY: i64 = 86_400;
/// Maximum length of a DNS name and of each label.
const MAX_NAME_LEN: usize = 253;
const MAX_LABEL_LEN: usize = 63;

/// A name by which devices reach the broker: a host name or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// A DNS name.
    Host(String),
    /// An IP address.
    Address(IpAddr),
}

/// Creates a key (ECDSA P-256) and signs a server certificate for `names`; it ends no later than
/// the authority.
pub fn sign_server(
    authority: &Authority,
    names: &[ServerName],
    serial: &Serial,
    validity_days: u32,
    now: Timestamp,
) -> Result<(Certificate, PrivateKeyPem), SignError> {
    let own = authority.certificate().certificate();
    let now = x509_time::whole_second(now);
    let begins = now.plus_seconds(-BACKDATING_SECONDS).max(own.not_before());
    let ends = now.plus_seconds(i64::from(validity_days) * SECONDS_PER_DAY).min(own.not_after());
    let (Some(from), Some(until)) = (x509_time::to_x509(begins), x509_time::to_x509(ends)) else {
        return Err(rcgen::Error::Time.into());
    };
    let mut params = CertificateParams::default();
    params.not_before = from.to_datetime();
    params.not_after = until.to_datetime();
    params.serial_number = Some(SerialNumber::from_slice(serial.magnitude()));
    // Clients compare the alternative names; the subject is for people and bounded in length.
    params.distinguished_name = named("Sluice broker");
    params.subject_alt_names = names.iter().map(alternative).collect::<Result<_, _>>()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let mut pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let signed = params.signed_by(&pair, authority.issuer());
    let key = PrivateKeyPem::of(&pair);
    zeroize::Zeroize::zeroize(&mut pair);
    let certificate = Certificate::from_der(signed?.der())?;
    if certificate.is_signed_by(own) {
        Ok((certificate, key))
    } else {
        Err(SignError::BadSignature)
    }
}

// === impl ServerName ===

impl FromStr for ServerName {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = name.parse() {
            return Ok(Self::Address(address));
        }
        let fits = |label: &str| {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            let ends = label.starts_with('-') || label.ends_with('-');
            (1..=MAX_LABEL_LEN).contains(&label.len()) && !ends && label.bytes().all(fine)
        };
        let is_host = name.len() <= MAX_NAME_LEN && name.split('.').all(fits);
        if is_host {
            Ok(Self::Host(name.to_owned()))
        } else {
            Err("expected a host name or an address")
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

// --- private helpers ---

fn alternative(name: &ServerName) -> Result<SanType, rcgen::Error> {
    match name {
        ServerName::Host(name) => Ok(SanType::DnsName(name.as_str().try_into()?)),
        ServerName::Address(address) => Ok(SanType::IpAddress(*address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::test_samples::{authority_of, now};

    #[test]
    fn host_names_and_addresses_are_distinguished_and_nonsense_is_refused() {
        for name in ["broker", "a-b.example.org", "192.0.2.7", "2001:db8::1", "localhost"] {
            assert_eq!(name.parse::<ServerName>().unwrap().to_string(), name);
        }
        let long = "a.".repeat(127) + "a";
        for wrong in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "*.example.org",
            "a b",
            "1.2.3.4:8883",
            &"a".repeat(64),
            &long,
        ] {
            assert!(wrong.parse::<ServerName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_certificate_ends_with_its_authority_and_is_no_device() {
        let authority = authority_of(30);
        let names = ["localhost".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let serial = Serial::random().unwrap();
        let (certificate, _) = sign_server(&authority, &names, &serial, 825, now()).unwrap();
        assert_eq!(certificate.not_after(), authority.certificate().certificate().not_after());
        let refused =
            crate::pki::request::import::judge(&certificate, authority.certificate(), now());
        assert_eq!(refused, Err(crate::pki::request::import::ImportCheckError::NotForClients));
    }
}
