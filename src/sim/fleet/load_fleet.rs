//! The fleet of `sluice simulate`: any number of devices in tenants of its own, and one more device
//! for each fault.
//!
//! It names and counts; [`SimulatedFleet`] registers and authenticates.

use super::device::{DeviceFault, SimulatedDevice};
use super::payload_profile::PayloadProfile;
use super::simulated_fleet::{FleetOptions, SimulatedFleet};
use crate::domain::refusal::Reason;

/// Prefix of its tenants' names; no real tenant has it.
pub const TENANT_PREFIX: &str = "sluice-sim-";

/// All possible tenant names, as a Postgres regular expression.
pub const TENANTS: &str = "^sluice-sim-[0-9]{3}$";

/// Faults simulated by default: they cost the publisher no more than a valid message.
pub const USUAL_FAULTS: [Reason; 11] = [
    Reason::BadTopicFormat,
    Reason::BadPayload,
    Reason::UnsupportedVersion,
    Reason::TenantMismatch,
    Reason::DeviceMismatch,
    Reason::BadTimestamp,
    Reason::TimestampOutOfRange,
    Reason::UnregisteredDevice,
    Reason::DeviceRevoked,
    Reason::DeviceInactive,
    Reason::SiteMismatch,
];

/// Faults that need a fleet with tokens.
pub const TOKEN_FAULTS: [Reason; 3] =
    [Reason::TokenNotSet, Reason::TokenMissing, Reason::TokenInvalid];

/// Faults simulated only on request.
pub const COSTLY_FAULTS: [Reason; 2] = [Reason::PayloadTooLarge, Reason::StoreRejected];

/// Size and faults of a fleet.
#[derive(Clone, Debug)]
pub struct LoadFleetSpec {
    /// Valid devices.
    pub devices: usize,
    /// Tenants they belong to.
    pub tenants: usize,
    /// What they measure; `None` means all profiles in turn.
    pub profile: Option<PayloadProfile>,
    /// One more device for each of these.
    pub faults: Vec<Reason>,
    /// What they have in common.
    pub options: FleetOptions,
}

// === impl LoadFleetSpec ===

impl LoadFleetSpec {
    /// The names of its tenants.
    pub fn tenants(&self) -> Vec<String> {
        (0..self.tenants).map(tenant).collect()
    }

    /// The devices. The same specification gives the same devices.
    pub fn fleet(&self, secret: [u8; 32]) -> SimulatedFleet {
        let profiles = self.profile.map_or(PayloadProfile::ALL.to_vec(), |profile| vec![profile]);
        let valid = (0..self.devices).map(|number| {
            let profile = profiles[number % profiles.len()];
            self.device(number, format!("d-{number:06}"), profile, None)
        });
        let faulty = self.faults.iter().enumerate().map(|(number, fault)| {
            let name = format!("x-{}", fault.label().to_ascii_lowercase().replace('_', "-"));
            let fault = Some(DeviceFault::Refused(*fault));
            self.device(number, name, PayloadProfile::Climate, fault)
        });
        SimulatedFleet::new(valid.collect(), faulty.collect(), self.options, secret)
    }

    fn device(
        &self,
        number: usize,
        name: String,
        profile: PayloadProfile,
        fault: Option<DeviceFault>,
    ) -> SimulatedDevice {
        SimulatedDevice::new(tenant(number % self.tenants), name, number, profile, fault)
    }
}

/// The name of tenant `number`; [`TENANTS`] matches it.
fn tenant(number: usize) -> String {
    format!("{TENANT_PREFIX}{number:03}")
}

#[cfg(test)]
mod tests {
    use super::super::simulated_fleet::Auth;
    use super::*;
    use crate::domain::device::DeviceStatus;
    use crate::domain::token::TokenHash;

    fn fleet(auth: Auth) -> SimulatedFleet {
        let faults = [&USUAL_FAULTS[..], &TOKEN_FAULTS, &COSTLY_FAULTS].concat();
        let options = FleetOptions { auth, is_issued: false, largest: 500, at_least_once: true };
        let spec = LoadFleetSpec { devices: 10, tenants: 3, profile: None, faults, options };
        spec.fleet([1; 32])
    }

    #[test]
    fn all_but_the_unregistered_device_are_registered_with_the_hash_of_the_token_they_send() {
        let fleet = fleet(Auth::Token);
        let registered = fleet.registrations();
        assert_eq!(registered.len(), 10 + fleet.faulty().len() - 1);
        for (device, known) in fleet.valid().iter().zip(&registered) {
            let sent = fleet.payload_writer(device).token.unwrap();
            assert_eq!(known.token, Some(TokenHash::of(sent)));
        }
        assert_eq!(
            registered.iter().filter(|known| known.token.is_none()).count(),
            1,
            "TOKEN_NOT_SET_IN_REGISTRY"
        );
        assert_eq!(
            registered.iter().filter(|known| known.status != DeviceStatus::Active).count(),
            2
        );
    }

    #[test]
    fn with_certificates_valid_devices_have_no_token() {
        let fleet = fleet(Auth::Certificate);
        let registered = fleet.registrations();
        assert!(registered.iter().all(|known| known.certificate));
        assert!(registered.iter().take(10).all(|known| known.token.is_none()));
        assert!(fleet.valid().iter().all(|device| fleet.payload_writer(device).token.is_none()));
    }
}
