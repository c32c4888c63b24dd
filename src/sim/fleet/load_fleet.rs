//! The fleet of `sluice simulate`: its devices, their registrations, and their faults.
//!
//! It publishes nothing. It derives tokens from a secret that lives as long as the process, and
//! stores none.

use sha2::{Digest, Sha256};

use super::payload::{PayloadProfile, PayloadWriter};
use crate::domain::device::DeviceStatus;
use crate::domain::hex;
use crate::domain::ids::{DeviceKey, IdError};
use crate::domain::refusal::Reason;
use crate::domain::token::TokenHash;
use crate::store::registry::bulk_enroll::DeviceToEnroll;

/// The sites of the devices, in turn.
const SITES: [&str; 4] = ["north", "south", "harbour", "airport"];

/// Prefix of its tenants' names; no real tenant has it.
pub const TENANT_PREFIX: &str = "sluice-sim-";

/// All possible tenant names, as a Postgres regular expression.
pub const TENANTS: &str = "^sluice-sim-[0-9]{3}$";

/// Hex digits of a token.
const TOKEN_DIGITS: usize = 32;

/// Faults simulated by default: they cost the publisher no more than a good message.
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

/// Size and faults of a fleet.
#[derive(Clone, Debug)]
pub struct LoadFleetSpec {
    /// Good devices.
    pub devices: usize,
    /// Tenants they belong to.
    pub tenants: usize,
    /// What they measure; `None` means all profiles in turn.
    pub profile: Option<PayloadProfile>,
    /// How they authenticate.
    pub auth: Auth,
    /// Whether each device connects with a certificate that the registry issued.
    pub is_issued: bool,
    /// One more device for each of these.
    pub faults: Vec<Reason>,
    /// Largest accepted payload in bytes.
    pub largest: usize,
    /// Whether they publish at QoS 1.
    pub at_least_once: bool,
}

/// The fleet.
pub struct LoadFleet {
    spec: LoadFleetSpec,
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

// === impl LoadFleet ===

impl LoadFleet {
    /// The same `spec` gives the same devices; the same `secret` the same tokens.
    pub fn new(spec: LoadFleetSpec, secret: [u8; 32]) -> Self {
        Self { spec, secret }
    }

    /// The names of its tenants.
    pub fn tenants(&self) -> Vec<String> {
        (0..self.spec.tenants).map(tenant).collect()
    }

    /// The good devices, in order.
    pub fn good(&self) -> impl Iterator<Item = LoadDevice> {
        let profiles =
            self.spec.profile.map_or(PayloadProfile::ALL.to_vec(), |profile| vec![profile]);
        (0..self.spec.devices).map(move |number| LoadDevice {
            tenant: tenant(number % self.spec.tenants),
            device: format!("d-{number:06}"),
            site: SITES[number % SITES.len()],
            profile: profiles[number % profiles.len()],
            fault: None,
        })
    }

    /// The faulty devices: one for each fault.
    pub fn bad(&self) -> impl Iterator<Item = LoadDevice> {
        self.spec.faults.iter().enumerate().map(|(number, fault)| LoadDevice {
            tenant: tenant(number % self.spec.tenants),
            device: format!("x-{}", fault.label().to_ascii_lowercase().replace('_', "-")),
            site: SITES[number % SITES.len()],
            profile: PayloadProfile::Climate,
            fault: Some(*fault),
        })
    }

    /// The devices to register.
    pub fn registrations(&self) -> Vec<DeviceToEnroll> {
        let known = self
            .good()
            .chain(self.bad())
            .filter(|member| member.fault != Some(Reason::UnregisteredDevice));
        known.map(|member| self.registration(member)).collect()
    }

    /// The payload writer of a device, with its token.
    pub fn payload_writer<'a>(&self, member: &'a LoadDevice) -> PayloadWriter<'a> {
        let token = match (self.spec.auth, member.fault) {
            (Auth::Certificate | Auth::None, _) | (_, Some(Reason::TokenMissing)) => None,
            (Auth::Token, Some(Reason::TokenInvalid)) => Some("0".repeat(TOKEN_DIGITS)),
            (Auth::Token, _) => Some(self.token(member)),
        };
        let LoadDevice { tenant, device, site, profile, fault } = member;
        let LoadFleetSpec { largest, at_least_once, .. } = self.spec;
        PayloadWriter {
            tenant,
            device,
            site,
            token,
            profile: *profile,
            fault: *fault,
            largest,
            at_least_once,
        }
    }

    fn registration(&self, member: LoadDevice) -> DeviceToEnroll {
        let has_token = self.spec.auth == Auth::Token && member.fault != Some(Reason::TokenNotSet);
        let token = has_token.then(|| TokenHash::of(self.token(&member)));
        let status = match member.fault {
            Some(Reason::DeviceRevoked) => DeviceStatus::Revoked,
            Some(Reason::DeviceInactive) => DeviceStatus::Inactive,
            _ => DeviceStatus::Active,
        };
        let certificate = self.spec.auth == Auth::Certificate && !self.spec.is_issued;
        DeviceToEnroll {
            tenant: member.tenant,
            device: member.device,
            site: member.site,
            status,
            token,
            certificate,
        }
    }

    fn token(&self, member: &LoadDevice) -> String {
        let made =
            Sha256::new().chain_update(self.secret).chain_update(&member.tenant).chain_update("/");
        hex::encode(&made.chain_update(&member.device).finalize()[..TOKEN_DIGITS / 2])
    }
}

// === impl LoadDevice ===

impl LoadDevice {
    /// Its fault; `None` for a good device.
    pub fn fault(&self) -> Option<Reason> {
        self.fault
    }

    /// Its key in the registry.
    pub fn key(&self) -> Result<DeviceKey, IdError> {
        DeviceKey::new(&self.tenant, self.device.as_str())
    }

    /// Whether the registry does not know its certificate, because it knows no such device or
    /// issues it none.
    pub fn is_stray(&self) -> bool {
        matches!(self.fault, Some(Reason::UnregisteredDevice | Reason::DeviceRevoked))
    }
}

/// The name of tenant `number`; [`TENANTS`] matches it.
fn tenant(number: usize) -> String {
    format!("{TENANT_PREFIX}{number:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(auth: Auth) -> LoadFleet {
        let faults = [&USUAL_FAULTS[..], &TOKEN_FAULTS, &DEAR_FAULTS].concat();
        let spec = LoadFleetSpec {
            devices: 10,
            tenants: 3,
            profile: None,
            auth,
            faults,
            largest: 500,
            at_least_once: true,
            is_issued: false,
        };
        LoadFleet::new(spec, [1; 32])
    }

    #[test]
    fn the_registry_learns_of_all_but_the_unregistered_and_of_the_hash_of_the_token_that_is_sent() {
        let fleet = fleet(Auth::Token);
        let registered = fleet.registrations();
        assert_eq!(registered.len(), 10 + fleet.bad().count() - 1);
        for (member, known) in fleet.good().zip(&registered) {
            let sent = fleet.payload_writer(&member).token.unwrap();
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
    fn with_certificates_no_token_is_made() {
        let fleet = fleet(Auth::Certificate);
        assert!(
            fleet.registrations().iter().all(|known| known.certificate && known.token.is_none())
        );
        assert!(fleet.good().all(|member| fleet.payload_writer(&member).token.is_none()));
    }
}
