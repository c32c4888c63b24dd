//! The arguments of `sluice simulate`, and the fleet they describe.
//!
//! It opens no connection.

use std::path::PathBuf;

use clap::Args;

use crate::command::failure::Failure;
use crate::config::Config;
use crate::domain::refusal::Reason;
use crate::sim::fleet::load_fleet::{Auth, DEAR_FAULTS, LoadFleetSpec, TOKEN_FAULTS, USUAL_FAULTS};
use crate::sim::fleet::payload::PayloadProfile;

/// Most shared connections; more of them help no broker.
pub const CONNECTIONS_MAX: u16 = 64;

/// Default of `--devices`.
const DEVICES: u32 = 1000;

/// Default of `--devices` with `--tls`.
const TLS_DEVICES: u32 = 100;

/// Most devices with `--tls`: each has its own connection, and a process may have 1024 files open
/// by default.
const TLS_DEVICES_MAX: u32 = 500;

/// How large the fleet is, how it publishes, and what is looked at afterwards.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct SimulateArgs {
    /// Devices that behave; 1000 when not given, with --tls 100, and at most 500
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) devices: Option<u32>,
    /// Tenants they belong to: sluice-sim-000 and on
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    tenants: u16,
    /// Messages a second, of all devices together; 0: as many as the broker takes
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(super) rate: u32,
    /// Publish for so many seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) seconds: u32,
    /// Stop after so many messages, when that is earlier
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) messages: Option<u64>,
    /// The QoS they publish at
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(super) qos: u8,
    /// Connections they share; with --tls each device has its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub(super) connections: u16,
    /// QoS 1 messages of a connection that wait for their PUBACK at once
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) window: u16,
    /// Each device connects by TLS as itself, with a certificate that the registry issues, at
    /// `BROKER_PROBE_ADDR`
    #[arg(long)]
    pub(super) tls: bool,
    /// With --tls: where the devices' certificates and keys are kept, for the next run too
    #[arg(long, value_name = "DIR", default_value = "sluice-simulate")]
    pub(super) certificates: PathBuf,
    /// How devices prove who they are; token when not given, with --tls certificate, and nothing
    /// else
    #[arg(long, value_enum, value_name = "HOW")]
    auth: Option<Auth>,
    /// Leave the registry as it is: an earlier run with the same fleet has registered it; not with
    /// tokens, which each run makes anew
    #[arg(long)]
    pub(super) keep: bool,
    /// What devices measure; all kinds in turn when not given
    #[arg(long, value_enum, value_name = "PROFILE")]
    profile: Option<PayloadProfile>,
    /// The share of messages that must be refused, 0 to 1
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0, value_parser = read_fraction)]
    pub(super) bad: f64,
    /// Why they must be refused, as quarantine names it; when not given, all reasons that cost the
    /// broker no more than a good message
    #[arg(long, value_name = "REASON,..", value_delimiter = ',', value_parser = read_reason)]
    reasons: Vec<Reason>,
    /// Send each second's messages at once
    #[arg(long)]
    pub(super) burst: bool,
    /// Read the tables back afterwards, and fail when a message is missing or doubled
    #[arg(long)]
    pub(super) verify: bool,
    /// With --verify: publish nothing, and look for what this summary of an earlier run says (a
    /// file that --json wrote)
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub(super) of: Option<PathBuf>,
    /// Publish nothing: remove all tenants sluice-sim-..., with their devices, and revoke their
    /// certificates; what they sent stays
    #[arg(long, conflicts_with = "verify")]
    pub(super) disband: bool,
    /// Print the summary as JSON; the same as --output json
    #[arg(long)]
    pub(super) json: bool,
}

// === impl SimulateArgs ===

impl SimulateArgs {
    /// The fleet the arguments describe; fails when they contradict each other.
    pub(super) fn spec(&self, config: &Config) -> Result<LoadFleetSpec, Failure> {
        let auth = self.auth()?;
        if self.keep && auth == Auth::Token {
            return Err(Failure::usage(
                "--keep does not go with --auth token: tokens are made anew by each run, and the registry must learn of them",
            ));
        }
        let devices = self.devices.unwrap_or(if self.tls { TLS_DEVICES } else { DEVICES });
        if self.tls && devices > TLS_DEVICES_MAX {
            return Err(Failure::usage(format!(
                "--tls gives each device a connection of its own, and takes at most {TLS_DEVICES_MAX} --devices, not {devices}"
            )));
        }
        if self.tls && self.rate == 0 && self.bad > 0.0 && self.messages.is_none() {
            return Err(Failure::usage(
                "--tls with --bad and --rate 0 needs --messages: with a connection each, devices have no pace to share",
            ));
        }
        let mut faults = self.reasons.clone();
        if faults.is_empty() && self.bad > 0.0 {
            faults.extend(USUAL_FAULTS);
            faults.extend(TOKEN_FAULTS.iter().filter(|_| auth == Auth::Token));
        }
        if let Some(fault) =
            faults.iter().find(|fault| TOKEN_FAULTS.contains(fault) && auth != Auth::Token)
        {
            return Err(Failure::usage(format!("{fault} can only be provoked with --auth token")));
        }
        Ok(LoadFleetSpec {
            devices: devices as usize,
            tenants: usize::from(self.tenants),
            profile: self.profile,
            auth,
            is_issued: self.tls,
            faults,
            largest: config.ingest.max_payload_bytes,
            at_least_once: self.qos == 1,
        })
    }

    fn auth(&self) -> Result<Auth, Failure> {
        match (self.tls, self.auth) {
            (false, auth) => Ok(auth.unwrap_or(Auth::Token)),
            (true, None | Some(Auth::Certificate)) => Ok(Auth::Certificate),
            (true, Some(Auth::Token | Auth::None)) => {
                Err(Failure::usage("--tls proves devices by their certificates: leave --auth out"))
            }
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
    let known: Vec<_> = [&USUAL_FAULTS[..], &TOKEN_FAULTS, &DEAR_FAULTS].concat();
    let found =
        Reason::from_label(&text.to_ascii_uppercase()).filter(|reason| known.contains(reason));
    found.ok_or_else(|| {
        format!(
            "expected one of {}",
            known.iter().map(|reason| reason.label()).collect::<Vec<_>>().join(", ")
        )
    })
}
