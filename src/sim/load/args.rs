//! The arguments of `sluice simulate`, and the fleet they describe.
//!
//! It opens no connection.

use std::path::PathBuf;

use clap::Args;

use super::requests::DeviceDuties;
use crate::command::failure::Failure;
use crate::config::Config;
use crate::domain::refusal::Reason;
use crate::sim::fleet::load_fleet::{COSTLY_FAULTS, LoadFleetSpec, TOKEN_FAULTS, USUAL_FAULTS};
use crate::sim::fleet::payload_profile::PayloadProfile;
use crate::sim::fleet::simulated_fleet::{Auth, FleetOptions};

/// Most shared connections; more of them help no broker.
pub const CONNECTIONS_MAX: u16 = 64;

/// Default of `--devices`.
const DEVICES: u32 = 1000;

/// Default of `--devices` with `--tls`.
const TLS_DEVICES: u32 = 100;

/// Most devices with `--tls`: each has its own connection, and a process may have 1024 files open
/// by default.
const TLS_DEVICES_MAX: u32 = 500;

/// The arguments, in the groups that `--help` shows.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    #[command(flatten)]
    pub(super) publishing: PublishingArgs,
    #[command(flatten)]
    pub(super) duties: DutyArgs,
    #[command(flatten)]
    pub(super) check: ResultArgs,
}

/// What the devices do beside publishing.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Requests, commands and renewals (with --tls)")]
pub(super) struct DutyArgs {
    /// Requests per second (request/time), of all devices together; the summary shows how fast
    /// Sluice responds. The daemon needs `DEVICE_API=1`
    #[arg(long, value_name = "RATE", default_value_t = 0, requires = "tls", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    ask: u32,
    /// Acknowledge the commands that the devices receive
    #[arg(long, requires = "tls")]
    answer_commands: bool,
    /// After publishing, so many devices renew their certificates. The daemon needs
    /// `CERT_RENEW_OVER_MQTT=1`
    #[arg(long, value_name = "N", default_value_t = 0, requires = "tls", value_parser = clap::value_parser!(u32).range(0..=i64::from(TLS_DEVICES_MAX)))]
    pub(super) renew: u32,
}

/// Which devices there are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Fleet")]
pub(super) struct FleetArgs {
    /// The number of valid devices [default: 1000; with --tls 100, at most 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    devices: Option<u32>,
    /// The number of tenants: sluice-sim-000 and following
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    tenants: u16,
    /// What the devices measure [default: all profiles in turn]
    #[arg(long, value_enum, value_name = "PROFILE")]
    profile: Option<PayloadProfile>,
    /// How the devices authenticate [default: token; with --tls certificate]
    #[arg(long, value_enum, value_name = "HOW")]
    auth: Option<Auth>,
    /// Connect each device by mutual TLS to `BROKER_PROBE_ADDR`, with a certificate that the
    /// registry issues
    #[arg(long)]
    pub(super) tls: bool,
    /// Directory of the devices' certificates and keys with --tls, which the next run reuses
    #[arg(long, value_name = "DIR", default_value = "sluice-simulate")]
    pub(super) certificates: PathBuf,
    /// Leave the registry unchanged: an earlier run registered the same fleet. Not for tokens,
    /// because each run creates new ones
    #[arg(long)]
    pub(super) keep: bool,
    /// Publish nothing: remove all tenants sluice-sim-... with their devices, and revoke their
    /// certificates. Stored messages stay
    #[arg(long, conflicts_with = "verify")]
    pub(super) disband: bool,
}

/// How fast the devices publish, and what.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Publishing")]
pub(super) struct PublishingArgs {
    /// Messages per second, of all devices together; 0: as many as the broker accepts
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(super) rate: u32,
    /// Publish for this many seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) seconds: u32,
    /// Stop after this many messages, if that is earlier
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) messages: Option<u64>,
    /// Publish the messages of each second at once
    #[arg(long)]
    pub(super) burst: bool,
    /// QoS of the messages
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(super) qos: u8,
    /// Connections that the devices share; with --tls each device has its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub(super) connections: u16,
    /// How many QoS 1 messages of one connection may wait for their PUBACK
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) window: u16,
    /// Share of messages that Sluice must refuse, 0 to 1
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0, value_parser = read_fraction)]
    pub(super) bad: f64,
    /// Reasons of these refusals, as in quarantine [default: all that are as cheap for the broker
    /// as a valid message]
    #[arg(long, value_name = "REASON,..", value_delimiter = ',', value_parser = read_reason)]
    reasons: Vec<Reason>,
}

/// What happens after publishing.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Result")]
pub(super) struct ResultArgs {
    /// Read the tables afterwards; fail when a message is missing or doubled
    #[arg(long)]
    pub(super) verify: bool,
    /// With --verify: publish nothing, and verify an earlier run by its summary, a file that --json
    /// wrote
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub(super) of: Option<PathBuf>,
    /// Print the summary as JSON; the same as --output json
    #[arg(long)]
    pub(super) json: bool,
}

// === impl SimulateArgs ===

impl SimulateArgs {
    /// The fleet the arguments describe; fails when they contradict each other.
    pub(super) fn spec(&self, config: &Config) -> Result<LoadFleetSpec, Failure> {
        let Self { fleet, publishing, .. } = self;
        let auth = fleet.auth()?;
        if fleet.keep && auth == Auth::Token {
            return Err(Failure::usage(
                "--keep cannot be used with --auth token: each run creates new tokens, \
                 and the registry must store them",
            ));
        }
        let devices = fleet.devices()?;
        if fleet.tls
            && publishing.rate == 0
            && publishing.bad > 0.0
            && publishing.messages.is_none()
        {
            return Err(Failure::usage(
                "--tls with --bad and --rate 0 needs --messages: \
                 devices with their own connections have no common rate to divide",
            ));
        }
        Ok(LoadFleetSpec {
            devices: devices as usize,
            tenants: usize::from(fleet.tenants),
            profile: fleet.profile,
            faults: publishing.faults(auth)?,
            options: FleetOptions {
                auth,
                is_issued: fleet.tls,
                largest: config.ingest.max_payload_bytes,
                at_least_once: publishing.qos == 1,
            },
        })
    }
}

// === impl DutyArgs ===

impl DutyArgs {
    /// What each of `devices` valid devices does; `None`: it only publishes.
    pub(super) fn of_each(self, devices: usize, at_least_once: bool) -> Option<DeviceDuties> {
        let devices = f64::from(u32::try_from(devices.max(1)).unwrap_or(u32::MAX));
        let requests_per_second = f64::from(self.ask) / devices;
        (self.ask > 0 || self.answer_commands).then_some(DeviceDuties {
            requests_per_second,
            answers_commands: self.answer_commands,
            at_least_once,
        })
    }
}

// === impl FleetArgs ===

impl FleetArgs {
    fn devices(&self) -> Result<u32, Failure> {
        let devices = self.devices.unwrap_or(if self.tls { TLS_DEVICES } else { DEVICES });
        if self.tls && devices > TLS_DEVICES_MAX {
            return Err(Failure::usage(format!(
                "--tls opens a connection for each device: \
                 --devices may be at most {TLS_DEVICES_MAX}, not {devices}"
            )));
        }
        Ok(devices)
    }

    fn auth(&self) -> Result<Auth, Failure> {
        match (self.tls, self.auth) {
            (false, auth) => Ok(auth.unwrap_or(Auth::Token)),
            (true, None | Some(Auth::Certificate)) => Ok(Auth::Certificate),
            (true, Some(Auth::Token | Auth::None)) => Err(Failure::usage(
                "--tls authenticates devices by their certificates: remove --auth",
            )),
        }
    }
}

// === impl PublishingArgs ===

impl PublishingArgs {
    fn faults(&self, auth: Auth) -> Result<Vec<Reason>, Failure> {
        let mut faults = self.reasons.clone();
        if faults.is_empty() && self.bad > 0.0 {
            faults.extend(USUAL_FAULTS);
            faults.extend(TOKEN_FAULTS.iter().filter(|_| auth == Auth::Token));
        }
        let needs_tokens = |fault: &&Reason| TOKEN_FAULTS.contains(fault);
        match faults.iter().find(needs_tokens) {
            Some(fault) if auth != Auth::Token => {
                Err(Failure::usage(format!("the reason {fault} needs --auth token")))
            }
            _ => Ok(faults),
        }
    }
}

// === private helpers ===

fn read_fraction(text: &str) -> Result<f64, &'static str> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or("expected a number from 0 to 1")
}

fn read_reason(text: &str) -> Result<Reason, String> {
    let known: Vec<_> = [&USUAL_FAULTS[..], &TOKEN_FAULTS, &COSTLY_FAULTS].concat();
    let found =
        Reason::from_label(&text.to_ascii_uppercase()).filter(|reason| known.contains(reason));
    found.ok_or_else(|| {
        format!(
            "expected one of {}",
            known.iter().map(|reason| reason.label()).collect::<Vec<_>>().join(", ")
        )
    })
}
