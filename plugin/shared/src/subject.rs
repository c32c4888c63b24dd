//! The authenticated sender of a request: a device, a service, a user or a guest.
//!
//! It contains no secret and no token, and does not know which proof authenticated it.

use crate::ids::DeviceKey;
use crate::time::Timestamp;

/// An authenticated subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The kind of subject.
    pub kind: SubjectKind,
    /// The id: a device's identity, a service's client id, a user's `sub`.
    pub id: Box<str>,
    /// The groups of the subject, without leading slashes.
    pub groups: Vec<Box<str>>,
    /// The granted scopes.
    pub scopes: Vec<Box<str>>,
    /// When the proof expires. `None` means it has no end of its own.
    pub expires_at: Option<Timestamp>,
}

/// The kinds of subject that a policy distinguishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// A device of the registry.
    Device(DeviceKey),
    /// A program with credentials of its own.
    Service,
    /// A person.
    User,
    /// An anonymous client with a public credential.
    Guest,
}

// === impl Subject ===

impl Subject {
    /// The subject of a device, which has no groups and no expiry.
    pub fn of_device(device: DeviceKey) -> Self {
        let id = device.identity().into();
        Self {
            kind: SubjectKind::Device(device),
            id,
            groups: Vec::new(),
            scopes: Vec::new(),
            expires_at: None,
        }
    }

    /// Whether the proof has expired.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }
}

// === impl SubjectKind ===

impl SubjectKind {
    /// The name in a policy file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Device(_) => "device",
            Self::Service => "service",
            Self::User => "user",
            Self::Guest => "guest",
        }
    }
}
