//! A fleet of simulated devices: their registrations, tokens and payloads.
//!
//! It publishes nothing. It derives tokens from a secret that lives as long as the process, and
//! stores none.

use sha2::{Digest, Sha256};

use super::device::SimulatedDevice;
use super::payload::PayloadWriter;
use crate::domain::hex;
use crate::domain::refusal::Reason;
use crate::domain::token::TokenHash;
use crate::store::registry::bulk_enroll::DeviceToEnroll;

/// Hex digits of a token.
const TOKEN_DIGITS: usize = 32;

/// How devices authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Auth {
    /// By a provisioning token in each message
    Token,
    /// By a certificate in the registry; without --tls it is a row without a key
    Certificate,
    /// Not at all: for a daemon with `CERT_AUTH_ENABLED=0` and `REQUIRE_TOKEN=0`
    None,
}

/// What all devices of a fleet have in common.
#[derive(Clone, Copy, Debug)]
pub struct FleetOptions {
    /// How they authenticate.
    pub auth: Auth,
    /// Whether each device connects with a certificate that the registry issued.
    pub is_issued: bool,
    /// Largest accepted payload in bytes.
    pub largest: usize,
    /// Whether they publish at QoS 1.
    pub at_least_once: bool,
}

/// The fleet: valid devices, then faulty ones.
pub struct SimulatedFleet {
    devices: Vec<SimulatedDevice>,
    valid: usize,
    options: FleetOptions,
    secret: [u8; 32],
}

// === impl SimulatedFleet ===

impl SimulatedFleet {
    /// The same `secret` gives the same tokens.
    pub fn new(
        valid: Vec<SimulatedDevice>,
        faulty: Vec<SimulatedDevice>,
        options: FleetOptions,
        secret: [u8; 32],
    ) -> Self {
        let (count, mut devices) = (valid.len(), valid);
        devices.extend(faulty);
        Self { devices, valid: count, options, secret }
    }

    /// All devices, in order.
    pub fn devices(&self) -> &[SimulatedDevice] {
        &self.devices
    }

    /// The devices without a fault.
    pub fn valid(&self) -> &[SimulatedDevice] {
        &self.devices[..self.valid]
    }

    /// The devices with a fault.
    pub fn faulty(&self) -> &[SimulatedDevice] {
        &self.devices[self.valid..]
    }

    /// The devices to register.
    pub fn registrations(&self) -> Vec<DeviceToEnroll> {
        let known = self.devices.iter().filter(|device| device.is_registered());
        known.map(|device| self.registration(device)).collect()
    }

    /// The payload writer of a device, with its token.
    pub fn payload_writer<'a>(&self, device: &'a SimulatedDevice) -> PayloadWriter<'a> {
        let token = match device.refusal() {
            Some(Reason::TokenMissing) => None,
            Some(Reason::TokenInvalid) => Some("0".repeat(TOKEN_DIGITS)),
            _ if self.options.auth == Auth::Token => Some(self.token(device)),
            _ => None,
        };
        PayloadWriter {
            tenant: &device.tenant,
            device: device.topic_device(),
            site: device.site,
            token,
            profile: device.profile,
            fault: device.refusal(),
            largest: self.options.largest,
            at_least_once: self.options.at_least_once,
        }
    }

    fn registration(&self, device: &SimulatedDevice) -> DeviceToEnroll {
        let has_token = device.has_token_fault()
            || self.options.auth == Auth::Token && device.refusal() != Some(Reason::TokenNotSet);
        DeviceToEnroll {
            tenant: device.tenant.clone(),
            device: device.device.clone(),
            site: device.site,
            status: device.status(),
            token: has_token.then(|| TokenHash::of(self.token(device))),
            certificate: self.options.auth == Auth::Certificate && !self.options.is_issued,
        }
    }

    fn token(&self, device: &SimulatedDevice) -> String {
        let made =
            Sha256::new().chain_update(self.secret).chain_update(&device.tenant).chain_update("/");
        hex::encode(&made.chain_update(&device.device).finalize()[..TOKEN_DIGITS / 2])
    }
}
