//! One simulated device: its place in the registry, what it measures, and its fault.
//!
//! It publishes nothing and knows no connection.

use super::payload_profile::PayloadProfile;
use crate::domain::device::DeviceStatus;
use crate::domain::ids::{DeviceKey, IdError};
use crate::domain::refusal::Reason;

/// The sites of the devices, in turn.
const SITES: [&str; 4] = ["north", "south", "harbour", "airport"];

/// A device.
#[derive(Clone, Debug)]
pub struct SimulatedDevice {
    /// Its tenant.
    pub tenant: String,
    /// Its name.
    pub device: String,
    /// Its site in the registry.
    pub site: &'static str,
    /// What it measures.
    pub profile: PayloadProfile,
    /// Its fault; `None` for a valid device.
    pub fault: Option<DeviceFault>,
}

/// A fault of a device. It changes messages only: the broker accepts the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFault {
    /// Sluice refuses each message for this reason.
    Refused(Reason),
    /// Sends every message twice.
    Repeats,
    /// Publishes nothing, then this many messages at once.
    Bursts(usize),
    /// Publishes on the topics of this device.
    Impostor(&'static str),
}

/// What the broker's access rules should allow a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// It publishes on its own topics, which is allowed.
    Own,
    /// The registry does not let it publish: the broker may refuse its messages or leave that to
    /// Sluice.
    Unclear,
    /// It publishes on another device's topics, which is forbidden.
    Foreign,
}

// === impl SimulatedDevice ===

impl SimulatedDevice {
    /// The device with this number in its fleet, which determines its site.
    pub fn new(
        tenant: String,
        device: String,
        number: usize,
        profile: PayloadProfile,
        fault: Option<DeviceFault>,
    ) -> Self {
        Self { tenant, device, site: SITES[number % SITES.len()], profile, fault }
    }

    /// Its key in the registry.
    pub fn key(&self) -> Result<DeviceKey, IdError> {
        DeviceKey::new(&self.tenant, self.device.as_str())
    }

    /// The reason for which Sluice refuses its messages.
    pub fn refusal(&self) -> Option<Reason> {
        match self.fault {
            Some(DeviceFault::Refused(reason)) => Some(reason),
            _ => None,
        }
    }

    /// Messages of one burst; 0 for a device that publishes in turn.
    pub fn burst(&self) -> usize {
        match self.fault {
            Some(DeviceFault::Bursts(messages)) => messages,
            _ => 0,
        }
    }

    /// Whether the registry knows it.
    pub fn is_registered(&self) -> bool {
        self.refusal() != Some(Reason::UnregisteredDevice)
    }

    /// Its status in the registry.
    pub fn status(&self) -> DeviceStatus {
        match self.refusal() {
            Some(Reason::DeviceRevoked) => DeviceStatus::Revoked,
            Some(Reason::DeviceInactive) => DeviceStatus::Inactive,
            _ => DeviceStatus::Active,
        }
    }

    /// Whether the registry does not know its certificate, which the authority signed. The broker
    /// accepts the device; Sluice authenticates it by its token, if it has one.
    pub fn is_stray(&self) -> bool {
        matches!(self.refusal(), Some(Reason::UnregisteredDevice | Reason::DeviceRevoked))
            || self.has_token_fault()
    }

    /// Whether its fault is in its token.
    pub fn has_token_fault(&self) -> bool {
        matches!(self.refusal(), Some(Reason::TokenInvalid | Reason::TokenMissing))
    }

    /// What the broker's access rules should allow. Rows exist for ACTIVE devices only; patterns
    /// apply to every certificate.
    pub fn rights(&self) -> Rights {
        match self.fault {
            Some(DeviceFault::Impostor(_)) => Rights::Foreign,
            Some(DeviceFault::Refused(Reason::UnregisteredDevice | Reason::DeviceRevoked)) => {
                Rights::Unclear
            }
            _ => Rights::Own,
        }
    }

    /// The device named in its topics: itself, unless it is an impostor.
    pub fn topic_device(&self) -> &str {
        match self.fault {
            Some(DeviceFault::Impostor(other)) => other,
            _ => &self.device,
        }
    }
}
