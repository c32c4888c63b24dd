//! Which simulated device speaks on which connection, and with what share of the pace.
//!
//! Shared: a few connections of the settings' own user, the devices dealt out among them. Own: each device connects as itself,
//! as a broker that asks for certificates demands.

use std::time::Duration;

use super::SimulateArgs;
use super::connection::{LoadConnection, SendPace, SharedFigures};
use crate::broker::error::BrokerError;
use crate::broker::tools::fast_publisher::FastPublisher;
use crate::command::failure::{Exit, Failure};
use crate::config::sections::broker::BrokerConfig;
use crate::domain::refusal::Reason;
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};
use crate::sim::fleet::certificates::DeviceCertificate;
use crate::sim::fleet::device_listener::{DeviceListener, device_lost};
use crate::sim::fleet::load_fleet::LoadFleet;
use crate::sim::fleet::payload::PayloadTemplate;

/// Numbers there are for each second of a run: its first number is the time it begins, in nanoseconds, so two runs never
/// share one.
const NUMBERS_PER_SECOND: i64 = 1_000_000_000;

/// The connections of a run use half of them, so that a run that ends late shares none with the next: ...
const NUMBERS_USED: i64 = NUMBERS_PER_SECOND / 2;

/// ... each has as many for its devices that behave as for those that do not, ...
const KINDS: i64 = 2;

/// ... and one connection alone no more than this, far more than it can send.
const NUMBERS_MAX: i64 = 3_000_000;

/// One connection to be.
pub struct DeviceSlot {
    /// Whose it is; none: it is shared.
    device: Option<String>,
    config: BrokerConfig,
    good: Vec<PayloadTemplate>,
    bad: Vec<(Reason, PayloadTemplate)>,
    pace: SendPace,
}

/// A part of all messages, and among how many connections it is shared out.
#[derive(Clone, Copy)]
struct PaceShare {
    rate: f64,
    messages: Option<u64>,
    bad: f64,
    seats: usize,
}

/// The fleet on a few connections. Each connection speaks for each device that misbehaves: there is one of a kind, and all have
/// their share of nonsense.
pub fn shared(
    args: &SimulateArgs,
    broker: &BrokerConfig,
    fleet: &LoadFleet,
    began: Timestamp,
) -> Result<Vec<DeviceSlot>, Failure> {
    let members: Vec<_> = fleet.good().collect();
    let seats = usize::from(args.connections).min(members.len());
    let share = PaceShare { rate: args.rate.into(), messages: args.messages, bad: args.bad, seats };
    let mut all = Vec::new();
    for number in 0..seats {
        let own = members.iter().skip(number).step_by(seats);
        let good: Result<Vec<PayloadTemplate>, BrokerError> =
            own.map(|member| fleet.speaker(member).speech(began)).collect();
        let mut bad = Vec::new();
        for member in fleet.bad() {
            bad.extend(member.fault().zip(Some(fleet.speaker(&member).speech(began).map_err(unspeakable)?)));
        }
        let config = BrokerConfig { client_id: format!("{}-sim-{number}", broker.client_id), ..broker.clone() };
        let good = good.map_err(unspeakable)?;
        all.push(DeviceSlot { device: None, config, good, bad, pace: share.pace(args, number) });
    }
    Ok(all)
}

/// A connection for each device; `papers` are theirs, in the order of the fleet.
pub fn own(
    args: &SimulateArgs,
    gate: &DeviceListener,
    fleet: &LoadFleet,
    papers: &[DeviceCertificate],
    began: Timestamp,
) -> Result<Vec<DeviceSlot>, Failure> {
    let (good, bad) = (fleet.good().count(), fleet.bad().count());
    let of_bad = if bad > 0 { args.bad } else { 0.0 };
    let rate = f64::from(args.rate);
    let bad_messages = args.messages.map(|all| part(all, of_bad));
    let good_messages = args.messages.zip(bad_messages).map(|(all, bad)| all - bad);
    let behaving = PaceShare { rate: rate * (1.0 - of_bad), messages: good_messages, bad: 0.0, seats: good };
    let faulty = PaceShare { rate: rate * of_bad, messages: bad_messages, bad: 1.0, seats: bad };
    let mut all = Vec::new();
    for (number, (member, papers)) in fleet.good().chain(fleet.bad()).zip(papers).enumerate() {
        let (device, config) = (Some(papers.device.to_string()), gate.connection(&papers.device, &papers.pem));
        let speech = fleet.speaker(&member).speech(began).map_err(unspeakable)?;
        let seat = match member.fault() {
            None => (vec![speech], Vec::new(), behaving.pace(args, number)),
            Some(fault) => (Vec::new(), vec![(fault, speech)], faulty.pace(args, number - good)),
        };
        let (good, bad, pace) = seat;
        all.push(DeviceSlot { device, config, good, bad, pace });
    }
    Ok(all)
}

/// Connects them all.
pub async fn connect(
    args: &SimulateArgs,
    seats: Vec<DeviceSlot>,
    began: Timestamp,
    board: &SharedFigures,
) -> Result<Vec<LoadConnection>, Failure> {
    let count = i64::try_from(seats.len()).unwrap_or(i64::MAX);
    let numbers = NUMBERS_MAX.min(NUMBERS_USED / KINDS / count.max(1)) * i64::from(args.seconds + 1);
    let mut first = began.micros() * (NUMBERS_PER_SECOND / MICROS_PER_SECOND);
    let mut crews = Vec::new();
    for DeviceSlot { device, config, good, bad, pace } in seats {
        let at_least_once = args.qos == 1;
        let volley = FastPublisher::connect(&config, args.window, at_least_once).await;
        let volley = volley.map_err(|trouble| match &device {
            Some(device) => device_lost(device, &trouble),
            None => Failure::unavailable(trouble.to_string()),
        })?;
        let board = board.clone();
        crews.push(LoadConnection { volley, good, bad, pace, first, first_bad: first + numbers, at_least_once, board });
        first += KINDS * numbers;
    }
    Ok(crews)
}

// === impl Share ===

impl PaceShare {
    /// What a connection has of it.
    fn pace(&self, args: &SimulateArgs, number: usize) -> SendPace {
        let share = self.rate / f64::from(u32::try_from(self.seats).unwrap_or(u32::MAX));
        let messages = self.messages.map(|all| {
            let (each, rest) = (all / self.seats as u64, all % self.seats as u64);
            each + u64::from((number as u64) < rest)
        });
        SendPace {
            per_second: (args.rate > 0).then_some(share),
            burst: args.burst,
            bad: self.bad,
            messages,
            span: Duration::from_secs(args.seconds.into()),
        }
    }
}

// === private helpers ===

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a count")]
fn part(all: u64, share: f64) -> u64 {
    ((all as f64 * share).round() as u64).min(all)
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where map_err wants a function of the value")]
fn unspeakable(trouble: BrokerError) -> Failure {
    Failure::new(Exit::Internal, trouble.to_string())
}
