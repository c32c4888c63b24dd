//! What the registry knows of a device, as the authorizer needs it.
//!
//! It holds no token, only its hash; of a device it judges no more than whether it may speak at all.

use std::sync::Arc;

use smallvec::SmallVec;

use super::refusal::{Reason, Refusal};
use super::time::Timestamp;

/// A device's status in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceStatus {
    /// It may speak.
    Active,
    /// Switched off for now.
    Inactive,
    /// Never again, unless an operator says so.
    Revoked,
}

/// SHA-256 of a provisioning token; the token itself is never kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateWindow {
    /// Good from this moment on.
    pub not_before: Timestamp,
    /// No longer good at this moment.
    pub not_after: Timestamp,
}

/// When the certificates of a device are good.
pub type Windows = SmallVec<[CertificateWindow; 1]>;

/// One registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its status.
    pub status: DeviceStatus,
    /// Where it stands, when the registry says so.
    pub site: Option<Arc<str>>,
    /// The hash of its provisioning token, when it has one.
    pub token: Option<TokenHash>,
    /// Its ACTIVE certificates that are not past yet (at most [`MAX_WINDOWS`]).
    pub certificates: Windows,
}

/// What the registry answered about one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryAnswer {
    /// The tenant is suspended: none of its devices may speak.
    pub tenant_suspended: bool,
    /// The device, when it is registered.
    pub device: Option<Device>,
}

/// How many certificates of one device the authorizer looks at: those that are good the longest.
pub const MAX_WINDOWS: usize = 8;

// === impl DeviceStatus ===

impl DeviceStatus {
    /// The name in the table.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Revoked => "REVOKED",
        }
    }

    /// The status of that name.
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Active, Self::Inactive, Self::Revoked].into_iter().find(|status| status.label() == label)
    }
}

// === impl TokenHash ===

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

// === impl Standing ===

impl RegistryAnswer {
    /// The device, if it may speak at all.
    pub fn active(&self) -> Result<&Device, Refusal> {
        if self.tenant_suspended {
            return Err(Refusal::new(Reason::TenantSuspended, "the tenant is suspended"));
        }
        let Some(device) = &self.device else {
            return Err(Refusal::new(Reason::UnregisteredDevice, "no such device in the registry"));
        };
        match device.status {
            DeviceStatus::Active => Ok(device),
            DeviceStatus::Revoked => Err(Refusal::new(Reason::DeviceRevoked, "the device is revoked")),
            DeviceStatus::Inactive => Err(Refusal::new(Reason::DeviceInactive, "the device is switched off")),
        }
    }
}

// === impl Device ===

impl Device {
    /// Whether one of its certificates is good at this moment.
    pub fn holds_certificate_at(&self, now: Timestamp) -> bool {
        self.certificates.iter().any(|window| window.not_before <= now && now < window.not_after)
    }

    /// The next moment at which [`Self::holds_certificate_at`] may change its answer.
    pub fn certificate_changes_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.certificates
            .iter()
            .flat_map(|window| [window.not_before, window.not_after])
            .filter(|&moment| moment > now)
            .min()
    }
}
