//! What a simulated device does beside publishing: it sends `request/time` at a rate and waits for
//! the responses, and acknowledges the commands it receives.
//!
//! It makes packets and counts; the connection sends them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::histogram::{Histogram, Quantiles};
use crate::broker::error::BrokerError;
use crate::broker::tools::fast_publisher::{Packet, ReceivedMessage};
use crate::domain::ids::DeviceKey;
use crate::sim::fleet::device_client::{self, ReceivedCommand};

/// Requests of one device that wait for a response; no further ones are sent.
const WAITING_MAX: usize = 100;

/// What each device of a run does.
#[derive(Clone, Copy, Debug)]
pub struct DeviceDuties {
    /// Requests a second of one device; 0: none.
    pub requests_per_second: f64,
    /// Whether it acknowledges commands.
    pub answers_commands: bool,
    /// Whether it publishes at QoS 1.
    pub at_least_once: bool,
}

/// Counts over all devices of a run.
#[derive(Clone, Debug, Default)]
pub struct RequestFigures(Arc<RequestCounters>);

#[derive(Debug, Default)]
struct RequestCounters {
    requests: AtomicU64,
    accepted: AtomicU64,
    rejected: AtomicU64,
    refused: AtomicU64,
    commands: AtomicU64,
    latency: Mutex<Histogram>,
}

/// What the devices asked and answered in a run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RequestSummary {
    /// Requests sent.
    pub requests: u64,
    /// Responses with a status below 300.
    pub accepted: u64,
    /// Other responses.
    pub rejected: u64,
    /// Requests without a response.
    pub unanswered: u64,
    /// Requests and acknowledgements that the broker refused.
    pub refused: u64,
    /// From a request to its response.
    pub latency: Option<Quantiles>,
    /// Commands that the devices received and acknowledged; a command that Sluice sends again
    /// counts again.
    pub commands: u64,
}

/// The requests of one device, and the commands that it answers.
#[derive(Debug)]
pub struct DeviceRequests {
    device: DeviceKey,
    duties: DeviceDuties,
    topic: String,
    /// Part of an interval by which its requests are later than those of the first device.
    phase: f64,
    sent: u64,
    /// When each request without a response was sent, in microseconds since the start.
    waiting: HashMap<u64, u64>,
    figures: RequestFigures,
}

// === impl RequestFigures ===

impl RequestFigures {
    /// The figures so far.
    pub fn summary(&self) -> RequestSummary {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (requests, accepted) = (read(&self.0.requests), read(&self.0.accepted));
        let rejected = read(&self.0.rejected);
        RequestSummary {
            requests,
            accepted,
            rejected,
            unanswered: requests.saturating_sub(accepted + rejected),
            refused: read(&self.0.refused),
            latency: self.latency().quantiles(),
            commands: read(&self.0.commands),
        }
    }

    /// Counts a message of these that the broker refused.
    pub fn count_refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn latency(&self) -> Histogram {
        self.0.latency.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count_response(&self, status: u64, after: u64) {
        let count = if status < 300 { &self.0.accepted } else { &self.0.rejected };
        count.fetch_add(1, Ordering::Relaxed);
        self.0.latency.lock().unwrap_or_else(PoisonError::into_inner).add(after);
    }
}

// === impl RequestSummary ===

impl RequestSummary {
    /// The summary as lines.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.requests > 0 {
            lines.push(format!(
                "responses    {} of {} requests, {} of them rejections",
                self.accepted + self.rejected,
                self.requests,
                self.rejected
            ));
        }
        lines.extend(
            self.latency.map(|latency| format!("             {latency}, from request to response")),
        );
        if self.commands > 0 {
            lines.push(format!("commands     {} received and acknowledged", self.commands));
        }
        if self.refused > 0 {
            lines.push(format!(
                "             the broker refused {} requests and acknowledgements of devices",
                self.refused
            ));
        }
        lines
    }

    /// Whether each request has a response and the broker refused nothing.
    pub fn is_complete(&self) -> bool {
        self.unanswered == 0 && self.refused == 0
    }
}

// === impl DeviceRequests ===

impl DeviceRequests {
    /// The requests of device `number` of `devices`; the devices take turns.
    pub fn new(
        device: DeviceKey,
        duties: DeviceDuties,
        (number, devices): (usize, usize),
        figures: RequestFigures,
    ) -> Self {
        let topic = device_client::topic(&device, "request/time");
        let share = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let phase = share(number) / share(devices.max(1));
        Self { device, duties, topic, phase, sent: 0, waiting: HashMap::new(), figures }
    }

    /// What the device subscribes to.
    pub fn filters(&self) -> Vec<String> {
        let [responses, commands] = device_client::filters(&self.device);
        let responses = (self.duties.requests_per_second > 0.0).then_some(responses);
        responses.into_iter().chain(self.duties.answers_commands.then_some(commands)).collect()
    }

    /// The request that is due at `now`, in microseconds since the start.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn due(&mut self, now: u64) -> Result<Option<Packet>, BrokerError> {
        let per_second = self.duties.requests_per_second;
        let is_due = now as f64 / 1e6 * per_second >= self.sent as f64 + self.phase;
        if per_second <= 0.0 || !is_due || self.waiting.len() >= WAITING_MAX {
            return Ok(None);
        }
        self.sent += 1;
        let payload = format!("{{\"id\":{}}}", self.sent);
        let packet = Packet::new(&self.topic, payload.as_bytes(), self.duties.at_least_once)?;
        self.waiting.insert(self.sent, now);
        self.figures.0.requests.fetch_add(1, Ordering::Relaxed);
        Ok(Some(packet))
    }

    /// Takes a message of the subscriptions; returns the acknowledgement of a command.
    pub fn take(
        &mut self,
        message: &ReceivedMessage,
        now: u64,
    ) -> Result<Option<Packet>, BrokerError> {
        if device_client::is_command(message) {
            let Some(command) = ReceivedCommand::read(message) else { return Ok(None) };
            self.figures.0.commands.fetch_add(1, Ordering::Relaxed);
            let at_least_once = self.duties.at_least_once;
            return device_client::acknowledgement(&self.device, &command.id, at_least_once)
                .map(Some);
        }
        let content: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let id = content["id"].as_u64();
        if let Some(sent) = id.and_then(|id| self.waiting.remove(&id)) {
            let status = content["status"].as_u64().unwrap_or(u64::MAX);
            self.figures.count_response(status, now.saturating_sub(sent));
        }
        Ok(None)
    }

    /// Whether a response is missing.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The figures it adds to.
    pub fn figures(&self) -> &RequestFigures {
        &self.figures
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn requests(per_second: f64, place: (usize, usize)) -> DeviceRequests {
        let duties = DeviceDuties {
            requests_per_second: per_second,
            answers_commands: true,
            at_least_once: true,
        };
        let device = DeviceKey::new("t", "d").unwrap();
        DeviceRequests::new(device, duties, place, RequestFigures::default())
    }

    fn message(topic: &str, payload: &str) -> ReceivedMessage {
        ReceivedMessage {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    #[test]
    fn a_device_asks_at_its_rate_and_the_devices_take_turns() {
        let mut second = requests(2.0, (1, 2));
        let due: Vec<u64> = (0..20)
            .map(|tenth| tenth * 100_000)
            .filter(|now| second.due(*now).unwrap().is_some())
            .collect();
        assert_eq!(due, [300_000, 800_000, 1_300_000, 1_800_000]);
        assert!(requests(0.0, (0, 1)).due(9_000_000).unwrap().is_none());
    }

    #[test]
    fn responses_are_counted_once_and_commands_acknowledged() {
        let mut device = requests(1.0, (0, 1));
        assert!(device.due(1_000).unwrap().is_some() && device.is_waiting());
        let accepted =
            message("tenant/t/device/d/response/time/accepted", r#"{"id":1,"status":200}"#);
        for _ in 0..2 {
            assert!(device.take(&accepted, 3_000).unwrap().is_none());
        }
        let command = r#"{"command_id":"0b0c","command_type":"reboot","params":{}}"#;
        let packet = device.take(&message("tenant/t/device/d/commands", command), 0).unwrap();
        let bytes = String::from_utf8_lossy(packet.unwrap().bytes()).into_owned();
        assert!(bytes.contains("tenant/t/device/d/commands/ack"), "{bytes}");
        assert!(bytes.contains(r#"{"command_id":"0b0c","status":"ok"}"#), "{bytes}");
        assert!(
            device.take(&message("tenant/t/device/d/commands", "no JSON"), 0).unwrap().is_none()
        );
        let summary = device.figures().summary();
        assert_eq!((summary.requests, summary.accepted, summary.commands), (1, 1, 1));
        assert!(summary.is_complete() && !device.is_waiting());
        assert!((summary.latency.unwrap().max_ms - 2.0).abs() < 0.01);
    }
}
