//! Who asks: a device, a service, a user or a guest, with what was proved about it.
//!
//! It holds no secret and no token; where it comes from (a certificate, a password, a JWT) is decided elsewhere.

use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;

/// Somebody whose identity is established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What kind of somebody.
    pub kind: SubjectKind,
    /// By what name: a device's identity, a service's client id, a user's `sub`.
    pub id: Box<str>,
    /// The groups it belongs to, without leading slashes.
    pub groups: Vec<Box<str>>,
    /// The scopes it was granted.
    pub scopes: Vec<Box<str>>,
    /// When what was proved ends; none when it does not end by itself.
    pub expires_at: Option<Timestamp>,
}

/// The kinds a policy tells apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// A device of the registry.
    Device(DeviceKey),
    /// A program with credentials of its own.
    Service,
    /// A person.
    User,
    /// Somebody with a public credential.
    Guest,
}

// === impl Subject ===

impl Subject {
    /// A device, which belongs to no group and is good until the registry says otherwise.
    pub fn of_device(device: DeviceKey) -> Self {
        let id = device.identity().into();
        Self { kind: SubjectKind::Device(device), id, groups: Vec::new(), scopes: Vec::new(), expires_at: None }
    }

    /// Whether what was proved has ended.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }
}

// === impl SubjectKind ===

impl SubjectKind {
    /// As a policy file writes it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Device(_) => "device",
            Self::Service => "service",
            Self::User => "user",
            Self::Guest => "guest",
        }
    }
}
