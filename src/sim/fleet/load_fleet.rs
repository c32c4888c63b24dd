//! The simulated fleet: who is in it, what the registry should know of each, and which of them misbehave.
//!
//! It publishes nothing. Its tokens are made of a secret that lives as long as the process, and are written nowhere.

use sha2::{Digest, Sha256};

use super::payload::{PayloadProfile, PayloadWriter};
use crate::command::text::hex;
use crate::domain::device::{DeviceStatus, TokenHash};
use crate::domain::ids::{DeviceKey, IdError};
use crate::domain::refusal::Reason;
use crate::store::registry::bulk_enroll::DeviceToEnroll;

/// Where devices stand, dealt out in turn.
const SITES: [&str; 4] = ["north", "south", "harbour", "airport"];

/// What the names of its tenants begin with; no tenant of anybody's own is called that.
pub const TENANT_PREFIX: &str = "sluice-sim-";

/// The names of all tenants that a fleet may have, as a regular expression of Postgres.
pub const TENANTS: &str = "^sluice-sim-[0-9]{3}$";

/// Hex digits of a token.
const TOKEN_DIGITS: usize = 32;

/// The faults that are simulated when none are named: those that cost the publisher no more than a good message does.
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

/// Those that only a fleet with tokens can have.
pub const TOKEN_FAULTS: [Reason; 3] = [Reason::TokenNotSet, Reason::TokenMissing, Reason::TokenInvalid];

/// Those that are simulated only when they are named.
pub const DEAR_FAULTS: [Reason; 2] = [Reason::PayloadTooLarge, Reason::StoreRejected];

/// How devices prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Auth {
    /// By a provisioning token in each message
    Token,
    /// By a certificate in the registry; without --tls it only stands there, where the daemon looks
    Certificate,
    /// Not at all: for a daemon with `CERT_AUTH_ENABLED=0` and `REQUIRE_TOKEN=0`
    None,
}

/// What a fleet is made of.
#[derive(Clone, Debug)]
pub struct LoadFleetSpec {
    /// Devices that behave.
    pub devices: usize,
    /// Tenants they belong to.
    pub tenants: usize,
    /// What they measure; all profiles in turn when it is not said.
    pub profile: Option<PayloadProfile>,
    /// How they prove who they are.
    pub auth: Auth,
    /// Whether each holds a certificate that the authority signed, and connects with it.
    pub is_issued: bool,
    /// One device for each of these, in addition.
    pub faults: Vec<Reason>,
    /// The largest payload that is accepted.
    pub largest: usize,
    /// Whether they publish at QoS 1.
    pub at_least_once: bool,
}

/// The fleet.
pub struct LoadFleet {
    make_up: LoadFleetSpec,
    secret: [u8; 32],
}

/// One device.
#[derive(Clone, Debug)]
pub struct LoadDevice {
    tenant: String,
    device: String,
    site: &'static str,
    profile: PayloadProfile,
    fault: Option<Reason>,
}

// === impl Fleet ===

impl LoadFleet {
    /// The same make-up, the same devices; the same secret, the same tokens.
    pub fn new(make_up: LoadFleetSpec, secret: [u8; 32]) -> Self {
        Self { make_up, secret }
    }

    /// The names of its tenants.
    pub fn tenants(&self) -> Vec<String> {
        (0..self.make_up.tenants).map(tenant).collect()
    }

    /// Those that behave, in order.
    pub fn good(&self) -> impl Iterator<Item = LoadDevice> {
        let profiles = self.make_up.profile.map_or(PayloadProfile::ALL.to_vec(), |profile| vec![profile]);
        (0..self.make_up.devices).map(move |number| LoadDevice {
            tenant: tenant(number % self.make_up.tenants),
            device: format!("d-{number:06}"),
            site: SITES[number % SITES.len()],
            profile: profiles[number % profiles.len()],
            fault: None,
        })
    }

    /// Those that misbehave: one for each fault.
    pub fn bad(&self) -> impl Iterator<Item = LoadDevice> {
        self.make_up.faults.iter().enumerate().map(|(number, fault)| LoadDevice {
            tenant: tenant(number % self.make_up.tenants),
            device: format!("x-{}", fault.label().to_ascii_lowercase().replace('_', "-")),
            site: SITES[number % SITES.len()],
            profile: PayloadProfile::Climate,
            fault: Some(*fault),
        })
    }

    /// What the registry should know.
    pub fn registrations(&self) -> Vec<DeviceToEnroll> {
        let known = self.good().chain(self.bad()).filter(|member| member.fault != Some(Reason::UnregisteredDevice));
        known.map(|member| self.registration(member)).collect()
    }

    /// The member with all it takes to speak.
    pub fn speaker<'a>(&self, member: &'a LoadDevice) -> PayloadWriter<'a> {
        let token = match (self.make_up.auth, member.fault) {
            (Auth::Certificate | Auth::None, _) | (_, Some(Reason::TokenMissing)) => None,
            (Auth::Token, Some(Reason::TokenInvalid)) => Some("0".repeat(TOKEN_DIGITS)),
            (Auth::Token, _) => Some(self.token(member)),
        };
        let LoadDevice { tenant, device, site, profile, fault } = member;
        let LoadFleetSpec { largest, at_least_once, .. } = self.make_up;
        PayloadWriter { tenant, device, site, token, profile: *profile, fault: *fault, largest, at_least_once }
    }

    fn registration(&self, member: LoadDevice) -> DeviceToEnroll {
        let has_token = self.make_up.auth == Auth::Token && member.fault != Some(Reason::TokenNotSet);
        let token = has_token.then(|| TokenHash(Sha256::digest(self.token(&member)).into()));
        let status = match member.fault {
            Some(Reason::DeviceRevoked) => DeviceStatus::Revoked,
            Some(Reason::DeviceInactive) => DeviceStatus::Inactive,
            _ => DeviceStatus::Active,
        };
        let certificate = self.make_up.auth == Auth::Certificate && !self.make_up.is_issued;
        DeviceToEnroll { tenant: member.tenant, device: member.device, site: member.site, status, token, certificate }
    }

    fn token(&self, member: &LoadDevice) -> String {
        let made = Sha256::new().chain_update(self.secret).chain_update(&member.tenant).chain_update("/");
        hex(&made.chain_update(&member.device).finalize()[..TOKEN_DIGITS / 2])
    }
}

// === impl Member ===

impl LoadDevice {
    /// What it does wrong.
    pub fn fault(&self) -> Option<Reason> {
        self.fault
    }

    /// Who it is.
    pub fn key(&self) -> Result<DeviceKey, IdError> {
        DeviceKey::new(&self.tenant, self.device.as_str())
    }

    /// Whether the registry knows no certificate of it, because it knows no such device or issues none to it.
    pub fn is_stray(&self) -> bool {
        matches!(self.fault, Some(Reason::UnregisteredDevice | Reason::DeviceRevoked))
    }
}

/// [`TENANTS`] finds it again.
fn tenant(number: usize) -> String {
    format!("{TENANT_PREFIX}{number:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(auth: Auth) -> LoadFleet {
        let faults = [&USUAL_FAULTS[..], &TOKEN_FAULTS, &DEAR_FAULTS].concat();
        let make_up = LoadFleetSpec {
            devices: 10,
            tenants: 3,
            profile: None,
            auth,
            faults,
            largest: 500,
            at_least_once: true,
            is_issued: false,
        };
        LoadFleet::new(make_up, [1; 32])
    }

    #[test]
    fn the_registry_learns_of_all_but_the_unregistered_and_of_the_hash_of_the_token_that_is_sent() {
        let fleet = fleet(Auth::Token);
        let registered = fleet.registrations();
        assert_eq!(registered.len(), 10 + fleet.bad().count() - 1);
        for (member, known) in fleet.good().zip(&registered) {
            let sent = fleet.speaker(&member).token.unwrap();
            assert_eq!(known.token, Some(TokenHash(Sha256::digest(sent).into())));
        }
        assert_eq!(registered.iter().filter(|known| known.token.is_none()).count(), 1, "TOKEN_NOT_SET_IN_REGISTRY");
        assert_eq!(registered.iter().filter(|known| known.status != DeviceStatus::Active).count(), 2);
    }

    #[test]
    fn with_certificates_no_token_is_made() {
        let fleet = fleet(Auth::Certificate);
        assert!(fleet.registrations().iter().all(|known| known.certificate && known.token.is_none()));
        assert!(fleet.good().all(|member| fleet.speaker(&member).token.is_none()));
    }
}
