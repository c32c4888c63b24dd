//! Fixtures of this wing's tests: an authority, a plan, requests, and DER that is modified and
//! signed again.

use chrono::{TimeDelta, TimeZone, Utc};
use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm, SigningKey};

use super::authority::Authority;
use super::authority::create;
use super::key::CaKey;
use super::request::profile::{CertificateProfile, Leaf, Lifetime, named};
use super::serial::Serial;
use crate::config::sections::certificates::CnFormat;
use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;

pub const PROFILE: CertificateProfile =
    CertificateProfile { cn_format: CnFormat::Strict, validity_days: 365 };
pub const DAY: i64 = 86_400;

/// A moment with a fraction of a second, which X.509 cannot write.
pub fn now() -> Timestamp {
    Timestamp::from(
        Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap() + TimeDelta::microseconds(345_678),
    )
}

pub fn device() -> DeviceKey {
    DeviceKey::new("acme", "pump:1").unwrap()
}

/// An authority of ten years.
pub fn authority() -> Authority {
    authority_of(3650)
}

pub fn authority_of(days: u32) -> Authority {
    create::found(&"Sample CA".parse().unwrap(), days, now()).unwrap().0
}

/// The plan of the sample device's certificate.
pub fn leaf(authority: &Authority) -> Leaf {
    let serial = Serial::from_magnitude(&[0x7f; 16]).unwrap();
    PROFILE.plan(&device(), serial, Lifetime::Usual, authority.certificate(), now()).unwrap()
}

pub fn pair(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

/// A request in PEM, with this common name and what `set` changes.
pub fn request(name: Option<&str>, key: &KeyPair, set: impl Fn(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = name.map_or_else(rcgen::DistinguishedName::new, named);
    set(&mut params);
    params.serialize_request(key).unwrap().pem().unwrap()
}

/// The parts of a DER sequence.
pub fn parts(mut content: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while !content.is_empty() {
        let (part, rest) = content.split_at(header(content) + length(content));
        parts.push(part.to_vec());
        content = rest;
    }
    parts
}

/// The content of a DER value.
pub fn content(value: &[u8]) -> &[u8] {
    &value[header(value)..]
}

/// A DER value.
pub fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let head: &[u8] = match content.len() {
        0..=0x7f => &[tag, low],
        0x80..=0xff => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [head, content].concat()
}

/// Changes the inner parts of a signed DER value and signs it again.
pub fn resigned(der: &[u8], key: &CaKey, change: impl Fn(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let outer = parts(content(der));
    let mut inner = parts(content(&outer[0]));
    change(&mut inner);
    let inner = tagged(0x30, &inner.concat());
    let signature = [vec![0], key.sign(&inner).unwrap()].concat();
    tagged(0x30, &[inner, outer[1].clone(), tagged(3, &signature)].concat())
}

fn header(value: &[u8]) -> usize {
    2 + usize::from(value[1].saturating_sub(0x80))
}

fn length(value: &[u8]) -> usize {
    if value[1] < 0x80 {
        return value[1].into();
    }
    value[2..header(value)].iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
}
