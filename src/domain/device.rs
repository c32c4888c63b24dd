//! What the registry knows of a device, as the authorizer needs it.
//!
//! It contains no token, only its hash. It decides only whether a device may publish at all.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluice_shared::proof::ShortFingerprint;
use smallvec::SmallVec;
use uuid::Uuid;

use super::refusal::{Reason, Refusal};
use super::time::Timestamp;
use super::token::TokenHash;

/// A device's status in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeviceStatus {
    /// It may publish.
    Active,
    /// Switched off for now.
    Inactive,
    /// Permanently refused, unless an operator activates it.
    Revoked,
}

/// A certificate, and when it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateWindow {
    /// Its row in the registry.
    pub id: Uuid,
    /// The first half of its fingerprint.
    pub fingerprint: ShortFingerprint,
    /// Valid from this time on.
    pub not_before: Timestamp,
    /// Invalid from this time on.
    pub not_after: Timestamp,
}

/// Validity of each certificate of a device.
pub type Windows = SmallVec<[CertificateWindow; 1]>;

/// One registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its status.
    pub status: DeviceStatus,
    /// Its site, if the registry names one.
    pub site: Option<Arc<str>>,
    /// Hash of its provisioning token, if it has one.
    pub token: Option<TokenHash>,
    /// Its certificates that are not revoked and ended less than a week ago or have not ended, at most
    /// [`MAX_WINDOWS`].
    pub certificates: Windows,
}

/// The registry's answer for one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryAnswer {
    /// Whether the tenant is suspended: none of its devices may publish.
    pub tenant_suspended: bool,
    /// The device, if it is registered.
    pub device: Option<Device>,
}

/// Most certificates of one device that the authorizer uses: those that expire last.
pub const MAX_WINDOWS: usize = 32;

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
        [Self::Active, Self::Inactive, Self::Revoked]
            .into_iter()
            .find(|status| status.label() == label)
    }
}

impl std::fmt::Display for DeviceStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

// === impl RegistryAnswer ===

impl RegistryAnswer {
    /// The device, if it may publish at all.
    pub fn active(&self) -> Result<&Device, Refusal> {
        if self.tenant_suspended {
            return Err(Refusal::new(Reason::TenantSuspended, "the tenant is suspended"));
        }
        let Some(device) = &self.device else {
            return Err(Refusal::new(
                Reason::UnregisteredDevice,
                "the device is not in the registry",
            ));
        };
        match device.status {
            DeviceStatus::Active => Ok(device),
            DeviceStatus::Revoked => {
                Err(Refusal::new(Reason::DeviceRevoked, "the device is revoked"))
            }
            DeviceStatus::Inactive => {
                Err(Refusal::new(Reason::DeviceInactive, "the device is deactivated"))
            }
        }
    }
}

// === impl Device ===

impl Device {
    /// Whether one of its certificates is valid at `now`.
    pub fn holds_certificate_at(&self, now: Timestamp) -> bool {
        self.certificates.iter().any(|window| window.not_before <= now && now < window.not_after)
    }

    /// Its certificate with this fingerprint, if it was valid at `at`.
    pub fn certificate_at(&self, fingerprint: ShortFingerprint, at: Timestamp) -> Option<Uuid> {
        let is_it = |window: &&CertificateWindow| {
            window.fingerprint == fingerprint && window.not_before <= at && at < window.not_after
        };
        self.certificates.iter().find(is_it).map(|window| window.id)
    }

    /// The next time at which the result of [`Self::holds_certificate_at`] may change.
    pub fn certificate_changes_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.certificates
            .iter()
            .flat_map(|window| [window.not_before, window.not_after])
            .filter(|&moment| moment > now)
            .min()
    }
}
