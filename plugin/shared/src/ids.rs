//! Tenant and device names, parsed once. The one place that knows which characters a name may have.
//!
//! It does not guess: a name is valid or an error; nothing is trimmed or lowercased.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use super::probe;

/// The longest tenant or device name, in characters (all of them ASCII).
pub const MAX_ID_LEN: usize = 64;

/// Most characters of an X.509 common name; a longer identity gets no certificate.
pub const MAX_COMMON_NAME_LEN: usize = 64;

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The name is empty.
    #[error("a name must not be empty")]
    Empty,
    /// More than [`MAX_ID_LEN`] characters.
    #[error("a name has at most {MAX_ID_LEN} characters")]
    TooLong,
    /// A character outside the grammar.
    #[error("a name may contain only A-Z a-z 0-9 . _ : -")]
    BadCharacter,
    /// A common name or key that is not `<tenant>/device/<device>`.
    #[error("expected <tenant>/device/<device>")]
    NotAnIdentity,
}

/// Checks one name against the grammar: 1 to 64 of `A-Z a-z 0-9 . _ : -`.
pub fn check_id(name: &[u8]) -> Result<(), IdError> {
    if name.is_empty() {
        return Err(IdError::Empty);
    }
    if name.len() > MAX_ID_LEN {
        return Err(IdError::TooLong);
    }
    if name.iter().all(|&byte| is_id_byte(byte)) { Ok(()) } else { Err(IdError::BadCharacter) }
}

/// Whether each name of an identity can be a part of a web address: browsers and many clients resolve
/// `.` and `..` before they send a request, also where they are percent-encoded.
pub fn is_addressable(identity: &str) -> bool {
    identity.split('/').all(|name| !matches!(name, "." | ".."))
}

const fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

/// A tenant's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Box<str>);

/// A device's name within its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(Box<str>);

/// One device of one tenant, stored as one text, the strict identity. Clones share it: a hundred
/// thousand are held at a time.
#[derive(Clone)]
pub struct DeviceKey {
    identity: Arc<str>,
}

// === impl TenantId, DeviceId ===

macro_rules! name {
    ($type:ident) => {
        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the name can be a part of a web address.
            pub fn is_addressable(&self) -> bool {
                is_addressable(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(name: &str) -> Result<Self, IdError> {
                check_id(name.as_bytes())?;
                Ok(Self(name.into()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(TenantId);
name!(DeviceId);

// === impl DeviceKey ===

impl DeviceKey {
    /// Parses both names.
    pub fn new(tenant: &str, device: &str) -> Result<Self, IdError> {
        check_id(tenant.as_bytes())?;
        check_id(device.as_bytes())?;
        Ok(Self::joined(tenant, device))
    }

    /// The device of that name in the tenant of that name.
    pub fn of(tenant: &TenantId, device: &DeviceId) -> Self {
        Self::joined(tenant.as_str(), device.as_str())
    }

    /// Sluice's own probe at the broker. Its names are outside the grammar, so it equals no device
    /// of the registry.
    pub fn of_probe() -> Self {
        Self::joined(probe::NAMES.0, probe::NAMES.1)
    }

    /// Reads a certificate's common name, strict or plain: `<tenant>/device/<device>` or
    /// `<tenant>/<device>`. No name contains a `/`, so the two parts cannot be confused.
    pub fn of_common_name(name: &str) -> Result<Self, IdError> {
        match name.split_once('/') {
            Some((tenant, device)) if !device.contains('/') => Self::new(tenant, device),
            _ => name.parse(),
        }
    }

    /// The tenant's name.
    pub fn tenant(&self) -> &str {
        self.names().0
    }

    /// The tenant as a [`TenantId`].
    pub fn tenant_id(&self) -> TenantId {
        TenantId(self.tenant().into())
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        self.names().1
    }

    /// Whether both names can be parts of a web address.
    pub fn is_addressable(&self) -> bool {
        is_addressable(self.identity())
    }

    /// The strict identity, `<tenant>/device/<device>`: the certificate's common name, the broker's
    /// user name, the cache's key.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Joins names that were checked.
    fn joined(tenant: &str, device: &str) -> Self {
        Self { identity: [tenant, "/device/", device].concat().into() }
    }

    /// Splits tenant and device; no name contains a `/`, so there is one result.
    fn names(&self) -> (&str, &str) {
        let (tenant, rest) = self.identity.split_once('/').unwrap_or_default();
        (tenant, rest.strip_prefix("device/").unwrap_or_default())
    }
}

impl FromStr for DeviceKey {
    type Err = IdError;

    /// Reads the strict identity, `<tenant>/device/<device>`.
    fn from_str(identity: &str) -> Result<Self, IdError> {
        let mut parts = identity.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(tenant), Some("device"), Some(device), None) => Self::new(tenant, device),
            _ => Err(IdError::NotAnIdentity),
        }
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant(), self.device())
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({self})")
    }
}

// Equality and order are those of the text, so a map of devices can be queried with a `str`.

impl PartialEq for DeviceKey {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for DeviceKey {}

impl Hash for DeviceKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

impl Borrow<str> for DeviceKey {
    fn borrow(&self) -> &str {
        &self.identity
    }
}

impl Ord for DeviceKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity.cmp(&other.identity)
    }
}

impl PartialOrd for DeviceKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_the_grammar_is_accepted_and_every_other_refused() {
        for byte in 0..=255_u8 {
            let expected = byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
            assert_eq!(check_id(&[b'a', byte]).is_ok(), expected, "byte {byte}");
        }
    }

    #[test]
    fn length_is_one_to_sixty_four() {
        assert_eq!(check_id(b""), Err(IdError::Empty));
        assert!(check_id(&[b'a'; 64]).is_ok());
        assert_eq!(check_id(&[b'a'; 65]), Err(IdError::TooLong));
    }

    #[test]
    fn an_identity_reads_back_as_it_was_written() {
        let key = DeviceKey::new("acme", "pump-1").unwrap();
        assert_eq!(key.identity(), "acme/device/pump-1");
        assert_eq!(
            (key.tenant(), key.device(), key.to_string().as_str()),
            ("acme", "pump-1", "acme/pump-1")
        );
        assert_eq!(key.identity().parse(), Ok(key.clone()));
        for wrong in ["acme/pump-1", "acme/device/", "acme/devices/x", "a/device/b/c", ""] {
            assert!(wrong.parse::<DeviceKey>().is_err(), "{wrong}");
        }
    }
}
