//! The certificates that may connect, as the daemon's registry has them.
//!
//! A certificate that is not here is refused: it is unknown, revoked, or its device is inactive. It does no
//! IO; [`crate::link`] fills it.

use std::collections::HashMap;

use ring::digest;
use sluice_shared::frames::from_daemon::DeviceEntry;
use sluice_shared::ids::{DeviceKey, IdError};
use sluice_shared::probe;
use sluice_shared::time::Timestamp;

/// The SHA-256 of a certificate.
pub type Fingerprint = [u8; 32];

/// One valid certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its device.
    pub device: DeviceKey,
    /// From when it is valid.
    pub from: Timestamp,
    /// Until when it is valid.
    pub until: Timestamp,
}

/// All valid certificates.
#[derive(Debug, Default)]
pub struct Registry {
    certificates: HashMap<Fingerprint, Certificate>,
    devices: HashMap<DeviceKey, Vec<Fingerprint>>,
}

/// Why an entry of the daemon is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The device's identity is malformed.
    #[error("{id:?} is not the identity of a device: {error}")]
    Device {
        /// The text.
        id: Box<str>,
        /// The fault.
        error: IdError,
    },
    /// The fingerprint is malformed.
    #[error("{0:?} is not the SHA-256 fingerprint of a certificate")]
    Fingerprint(Box<str>),
}

/// The fingerprint of a certificate in DER.
pub fn fingerprint(der: &[u8]) -> Fingerprint {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    fingerprint
}

/// The device of this identity, or Sluice's own probe.
pub fn device_of(id: &str) -> Result<DeviceKey, IdError> {
    if id == probe::IDENTITY { Ok(DeviceKey::of_probe()) } else { DeviceKey::of_common_name(id) }
}

/// A fingerprint of 64 hexadecimal digits.
pub fn parse_fingerprint(text: &str) -> Result<Fingerprint, EntryError> {
    let malformed = || EntryError::Fingerprint(text.into());
    let digits = text.as_bytes();
    let mut fingerprint = [0; 32];
    if digits.len() != 2 * fingerprint.len() {
        return Err(malformed());
    }
    for (byte, pair) in fingerprint.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or_else(malformed);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).map_err(|_| malformed())?;
    }
    Ok(fingerprint)
}

/// The 64 hexadecimal digits of a fingerprint.
pub fn fingerprint_text(fingerprint: &Fingerprint) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pairs = fingerprint.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    pairs.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

impl Registry {
    /// Replaces the certificates of these devices. After an error the registry is unchanged for the
    /// entries from the faulty one on, so callers replace it as a whole.
    pub fn apply(&mut self, entries: &[DeviceEntry]) -> Result<Vec<DeviceKey>, EntryError> {
        entries.iter().map(|entry| self.apply_one(entry)).collect()
    }

    /// The certificate of this fingerprint, if it is valid at `now`.
    pub fn valid(&self, fingerprint: &Fingerprint, now: Timestamp) -> Option<&Certificate> {
        let certificate = self.certificates.get(fingerprint)?;
        (certificate.from <= now && now < certificate.until).then_some(certificate)
    }

    /// Whether the device has a certificate that is valid at `now`.
    pub fn has_valid(&self, device: &DeviceKey, now: Timestamp) -> bool {
        let fingerprints = self.devices.get(device).into_iter().flatten();
        fingerprints.into_iter().any(|fingerprint| self.valid(fingerprint, now).is_some())
    }

    /// How many certificates there are.
    pub fn count(&self) -> usize {
        self.certificates.len()
    }

    fn apply_one(&mut self, entry: &DeviceEntry) -> Result<DeviceKey, EntryError> {
        let device = device_of(&entry.id)
            .map_err(|error| EntryError::Device { id: entry.id.clone(), error })?;
        let mut fingerprints = Vec::with_capacity(entry.certificates.len());
        for certificate in &entry.certificates {
            fingerprints.push(parse_fingerprint(&certificate.fingerprint)?);
        }
        for old in self.devices.remove(&device).unwrap_or_default() {
            // A fingerprint that moved to another device in between is that device's now.
            if self.certificates.get(&old).is_some_and(|known| known.device == device) {
                self.certificates.remove(&old);
            }
        }
        for (fingerprint, certificate) in fingerprints.iter().zip(&entry.certificates) {
            self.certificates.insert(
                *fingerprint,
                Certificate {
                    device: device.clone(),
                    from: Timestamp::from_micros(certificate.from),
                    until: Timestamp::from_micros(certificate.until),
                },
            );
        }
        if !fingerprints.is_empty() {
            self.devices.insert(device.clone(), fingerprints);
        }
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_shared::frames::from_daemon::CertificateEntry;

    fn entry(id: &str, fingerprints: &[u8]) -> DeviceEntry {
        let certificates = fingerprints.iter().map(|byte| CertificateEntry {
            fingerprint: fingerprint_text(&[*byte; 32]).into(),
            from: 10,
            until: 20,
        });
        DeviceEntry { id: id.into(), certificates: certificates.collect() }
    }

    const fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn a_certificate_is_valid_from_its_start_to_before_its_end() {
        let mut registry = Registry::default();
        registry.apply(&[entry("acme/device/a", &[1])]).unwrap();
        for (now, expected) in [(9, false), (10, true), (19, true), (20, false)] {
            assert_eq!(registry.valid(&[1; 32], at(now)).is_some(), expected, "{now}");
        }
        assert!(registry.valid(&[2; 32], at(15)).is_none());
    }

    #[test]
    fn an_entry_replaces_all_certificates_of_its_device_and_no_others() {
        let mut registry = Registry::default();
        registry.apply(&[entry("acme/device/a", &[1, 2]), entry("acme/device/b", &[3])]).unwrap();
        registry.apply(&[entry("acme/device/a", &[2, 4])]).unwrap();
        let valid: Vec<u8> =
            (1..=4).filter(|byte| registry.valid(&[*byte; 32], at(15)).is_some()).collect();
        assert_eq!(valid, [2, 3, 4]);
        registry.apply(&[entry("acme/device/a", &[])]).unwrap();
        assert_eq!(registry.count(), 1);
        assert!(!registry.has_valid(&DeviceKey::new("acme", "a").unwrap(), at(15)));
        assert!(registry.has_valid(&DeviceKey::new("acme", "b").unwrap(), at(15)));
    }

    #[test]
    fn a_certificate_that_moves_to_another_device_stays_with_it() {
        let mut registry = Registry::default();
        registry.apply(&[entry("acme/device/a", &[1])]).unwrap();
        registry.apply(&[entry("acme/device/b", &[1])]).unwrap();
        registry.apply(&[entry("acme/device/a", &[])]).unwrap();
        assert_eq!(registry.valid(&[1; 32], at(15)).unwrap().device.device(), "b");
    }

    #[test]
    fn malformed_entries_are_refused() {
        let mut registry = Registry::default();
        assert!(registry.apply(&[entry("acme/#/a", &[1])]).is_err());
        let mut other = entry("acme/device/a", &[1]);
        for text in ["", "zz", &"0".repeat(63), &"g".repeat(64)] {
            other.certificates[0].fingerprint = text.into();
            assert!(registry.apply(std::slice::from_ref(&other)).is_err(), "{text}");
        }
        assert_eq!(parse_fingerprint(&fingerprint_text(&[0xab; 32])), Ok([0xab; 32]));
    }
}
