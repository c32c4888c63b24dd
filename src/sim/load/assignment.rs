//! Assigns simulated devices to connections, with their share of the rate.
//!
//! [`shared`]: a few connections of `MQTT_USERNAME` divide the devices. [`own`]: each device
//! connects as itself, which a broker with client certificates requires. It publishes nothing.

use std::time::Duration;

use super::args::SimulateArgs;
use super::connection::{LoadConnection, SendPace};
use super::figures::SharedFigures;
use super::requests::{DeviceRequests, RequestFigures};
use crate::broker::error::BrokerError;
use crate::broker::tools::fast_publisher::FastPublisher;
use crate::command::failure::{Exit, Failure};
use crate::config::sections::broker::BrokerConfig;
use crate::domain::ids::DeviceKey;
use crate::domain::refusal::Reason;
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};
use crate::sim::fleet::certificates::DeviceCertificate;
use crate::sim::fleet::device_listener::{DeviceListener, device_lost};
use crate::sim::fleet::payload::PayloadTemplate;
use crate::sim::fleet::simulated_fleet::SimulatedFleet;

/// Sequence numbers for each second of a run. A run starts at its time in nanoseconds, so two runs
/// share no number.
const NUMBERS_PER_SECOND: i64 = 1_000_000_000;

/// A run uses half of them, so that one that ends late shares none with the next.
const NUMBERS_USED: i64 = NUMBERS_PER_SECOND / 2;

/// Ranges of each connection: one for valid devices, one for faulty ones.
const KINDS: i64 = 2;

/// Upper bound for one range in a second, far more than a connection can send.
const NUMBERS_MAX: i64 = 3_000_000;

/// The plan of one connection.
pub struct DeviceSlot {
    /// The device; `None` means the connection is shared.
    device: Option<String>,
    config: BrokerConfig,
    valid: Vec<PayloadTemplate>,
    bad: Vec<(Reason, PayloadTemplate)>,
    requests: Option<DeviceRequests>,
    pace: SendPace,
}

/// A part of all messages, divided among `slots` connections.
#[derive(Clone, Copy)]
struct PaceShare {
    rate: f64,
    messages: Option<u64>,
    bad: f64,
    slots: usize,
}

/// Divides the valid devices among a few connections. Every connection publishes for every faulty
/// device, because there is one of each kind.
pub fn shared(
    args: &SimulateArgs,
    broker: &BrokerConfig,
    fleet: &SimulatedFleet,
    began: Timestamp,
) -> Result<Vec<DeviceSlot>, Failure> {
    let slots = usize::from(args.publishing.connections).min(fleet.valid().len());
    let share = PaceShare {
        rate: args.publishing.rate.into(),
        messages: args.publishing.messages,
        bad: args.publishing.bad,
        slots,
    };
    let mut all = Vec::new();
    for number in 0..slots {
        let own = fleet.valid().iter().skip(number).step_by(slots);
        let valid: Result<Vec<PayloadTemplate>, BrokerError> =
            own.map(|device| fleet.payload_writer(device).template(began)).collect();
        let mut bad = Vec::new();
        for device in fleet.faulty() {
            let template = fleet.payload_writer(device).template(began);
            bad.extend(device.refusal().zip(Some(template.map_err(encoding_failure)?)));
        }
        let config = BrokerConfig {
            client_id: format!("{}-sim-{number}", broker.client_id),
            ..broker.clone()
        };
        let valid = valid.map_err(encoding_failure)?;
        let (device, requests, pace) = (None, None, share.pace(args, number));
        all.push(DeviceSlot { device, config, valid, bad, requests, pace });
    }
    Ok(all)
}

/// One connection for each device; `certificates` are in the order of the fleet.
pub fn own(
    args: &SimulateArgs,
    listener: &DeviceListener,
    fleet: &SimulatedFleet,
    certificates: &[DeviceCertificate],
    began: Timestamp,
    requests: &RequestFigures,
) -> Result<Vec<DeviceSlot>, Failure> {
    let (valid, bad) = (fleet.valid().len(), fleet.faulty().len());
    let duties = args.duties.of_each(valid, args.publishing.qos == 1);
    let of_device = |device: &DeviceKey, number: usize| {
        let figures = requests.clone();
        Some(DeviceRequests::new(device.clone(), duties?, (number, valid), figures))
    };
    let of_bad = if bad > 0 { args.publishing.bad } else { 0.0 };
    let rate = f64::from(args.publishing.rate);
    let bad_messages = args.publishing.messages.map(|all| share_of(all, of_bad));
    let valid_messages = args.publishing.messages.zip(bad_messages).map(|(all, bad)| all - bad);
    let behaving =
        PaceShare { rate: rate * (1.0 - of_bad), messages: valid_messages, bad: 0.0, slots: valid };
    let faulty = PaceShare { rate: rate * of_bad, messages: bad_messages, bad: 1.0, slots: bad };
    let mut all = Vec::new();
    for (number, (device, certificate)) in fleet.devices().iter().zip(certificates).enumerate() {
        let config = listener.connection(&certificate.device, &certificate.pem);
        let template = fleet.payload_writer(device).template(began).map_err(encoding_failure)?;
        let refusal = device.refusal();
        let (device, config) = (Some(certificate.device.to_string()), config);
        all.push(match refusal {
            None => DeviceSlot {
                device,
                config,
                valid: vec![template],
                bad: Vec::new(),
                requests: of_device(&certificate.device, number),
                pace: behaving.pace(args, number),
            },
            Some(fault) => DeviceSlot {
                device,
                config,
                valid: Vec::new(),
                bad: vec![(fault, template)],
                requests: None,
                pace: faulty.pace(args, number - valid),
            },
        });
    }
    Ok(all)
}

/// Opens all connections.
pub async fn connect(
    args: &SimulateArgs,
    slots: Vec<DeviceSlot>,
    began: Timestamp,
    figures: &SharedFigures,
) -> Result<Vec<LoadConnection>, Failure> {
    let count = i64::try_from(slots.len()).unwrap_or(i64::MAX);
    let numbers = NUMBERS_MAX.min(NUMBERS_USED / KINDS / count.max(1))
        * i64::from(args.publishing.seconds + 1);
    let mut first = began.micros() * (NUMBERS_PER_SECOND / MICROS_PER_SECOND);
    let mut connections = Vec::new();
    for DeviceSlot { device, config, valid, bad, requests, pace } in slots {
        let at_least_once = args.publishing.qos == 1;
        let publisher =
            FastPublisher::connect(&config, args.publishing.window, at_least_once).await;
        let lost = |error: BrokerError| match &device {
            Some(device) => device_lost(device, &error),
            None => Failure::unavailable(error.to_string()),
        };
        let mut publisher = publisher.map_err(lost)?;
        if let Some(requests) = &requests {
            publisher.subscribe(&requests.filters()).await.map_err(lost)?;
        }
        let figures = figures.clone();
        connections.push(LoadConnection {
            publisher,
            valid,
            bad,
            requests,
            pace,
            first,
            first_bad: first + numbers,
            at_least_once,
            figures,
        });
        first += KINDS * numbers;
    }
    Ok(connections)
}

// === impl PaceShare ===

impl PaceShare {
    /// The pace of connection `number`.
    fn pace(&self, args: &SimulateArgs, number: usize) -> SendPace {
        let share = self.rate / f64::from(u32::try_from(self.slots).unwrap_or(u32::MAX));
        let messages = self.messages.map(|all| {
            let (each, rest) = (all / self.slots as u64, all % self.slots as u64);
            each + u64::from((number as u64) < rest)
        });
        SendPace {
            per_second: (args.publishing.rate > 0).then_some(share),
            burst: args.publishing.burst,
            bad: self.bad,
            messages,
            span: Duration::from_secs(args.publishing.seconds.into()),
        }
    }
}

// === private helpers ===

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a count"
)]
fn share_of(all: u64, share: f64) -> u64 {
    ((all as f64 * share).round() as u64).min(all)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes the value")]
fn encoding_failure(error: BrokerError) -> Failure {
    Failure::new(Exit::Internal, error.to_string())
}
