//! The arguments of `sluice demo`, and what follows from them: rate limit, fleet, revocations.
//!
//! It opens no connection and starts nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::revocation::RevocationPlan;
use crate::config::Config;
use crate::domain::rate_limit::RateLimit;
use crate::sim::fleet::demo_fleet::DemoFleetSpec;

/// Without `--seconds`: time from the start to the first revocation.
const FIRST_REVOCATION: Duration = Duration::from_secs(10);

/// Time from a revocation to the new certificate, and from there to the next revocation.
const AGAIN: Duration = Duration::from_secs(20);

/// Each device has its own connection, and a process, such as the broker, may have 1024 files open
/// by default.
const DEVICES_MAX: i64 = 500;

/// Size and speed of the demonstration.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Publish for this many seconds, then print the summary [default: until Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: Option<u64>,
    /// Messages per second, of all devices together
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) rate: u32,
    /// The number of valid devices, each with its own connection; the demo adds some faulty ones
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=DEVICES_MAX))]
    pub(super) devices: u16,
    /// File of the daemon's log; each run overwrites it
    #[arg(long, value_name = "FILE", default_value = ".sluice/sluice.log")]
    pub(super) log: PathBuf,
    /// Directory of the devices' certificates and keys, which the next run reuses
    #[arg(long, value_name = "DIR", default_value = ".sluice/devices")]
    pub(super) certificates: PathBuf,
}

// === impl DemoArgs ===

impl DemoArgs {
    /// Far above what a valid device sends, also after a pause.
    pub(super) fn rate_limit(&self) -> RateLimit {
        let per_device = (f64::from(self.rate) / f64::from(self.devices)).ceil();
        // The device to revoke publishes five times a second at any rate.
        RateLimit { per_second: (2.0 * per_device).max(10.0), burst: (5.0 * per_device).max(100.0) }
    }

    /// Leaves out the bursting device where its bursts would be most of the traffic.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number far below 2^31"
    )]
    pub(super) fn fleet_spec(&self, config: &Config, limit: RateLimit) -> DemoFleetSpec {
        // More than the rate limit admits during the burst.
        let messages = (limit.burst + limit.per_second / 5.0) as usize + 20;
        let is_minor = messages <= (self.rate as usize).max(150);
        DemoFleetSpec {
            devices: self.devices.into(),
            largest: config.ingest.max_payload_bytes,
            burst: is_minor.then_some(messages),
            has_way_back: has_way_back(config),
        }
    }

    /// How long to publish; `None` means until a signal.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs)
    }

    /// Revokes once at half of the time, or repeatedly without a limit.
    pub(super) fn revocation_plan(&self) -> RevocationPlan {
        let limit = self.limit();
        let first = limit.map_or(FIRST_REVOCATION, |limit| limit / 2);
        RevocationPlan { first, again: limit.is_none().then_some(AGAIN) }
    }
}

/// Whether the daemon of the demo lets devices send requests and renew their certificates.
fn has_way_back(config: &Config) -> bool {
    config.mqtt_api.device_api && config.certificates.renew_over_mqtt
}
