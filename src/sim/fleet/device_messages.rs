//! The messages of one demo device, in order: measurements, a heartbeat from time to time, and each
//! message twice for a device that repeats.
//!
//! It decides nothing about when to publish.

use super::device::DeviceFault;
use super::payload::{PayloadStamp, PayloadTemplate, PayloadWriter};
use super::payload_profile::{PayloadProfile, PayloadRng};
use crate::broker::error::BrokerError;
use crate::broker::tools::fast_publisher::Packet;
use crate::domain::time::Timestamp;

/// Every n-th message of a device is a heartbeat.
const HEARTBEAT_EVERY: u64 = 30;

/// Sequence numbers start at the time in nanoseconds, so that two runs share none.
const NUMBERS_PER_MICROSECOND: i64 = 1000;

/// The next messages of a device.
pub struct DeviceMessages {
    measurements: PayloadTemplate,
    heartbeats: PayloadTemplate,
    repeats: bool,
    turn: u64,
    seq: i64,
    rng: PayloadRng,
}

// === impl DeviceMessages ===

impl DeviceMessages {
    /// The messages of the device of `writer`, from `now` on.
    pub fn new(
        writer: PayloadWriter<'_>,
        fault: Option<DeviceFault>,
        number: u64,
        now: Timestamp,
    ) -> Result<Self, BrokerError> {
        let measurements = writer.template(now)?;
        let heartbeats =
            PayloadWriter { profile: PayloadProfile::Heartbeat, ..writer }.template(now)?;
        Ok(Self {
            measurements,
            heartbeats,
            repeats: fault == Some(DeviceFault::Repeats),
            turn: 0,
            seq: now.micros() * NUMBERS_PER_MICROSECOND,
            rng: PayloadRng::new(number),
        })
    }

    /// The next message, with the time of `stamp`.
    pub fn next(&mut self, stamp: &PayloadStamp) -> &mut Packet {
        self.turn += 1;
        if self.repeats && self.turn.is_multiple_of(2) {
            return self.measurements.repeat();
        }
        self.seq += 1;
        let is_heartbeat = !self.repeats && self.turn.is_multiple_of(HEARTBEAT_EVERY);
        let template = if is_heartbeat { &mut self.heartbeats } else { &mut self.measurements };
        template.render(stamp, self.seq, &mut self.rng)
    }
}
