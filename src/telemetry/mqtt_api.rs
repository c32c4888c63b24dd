//! Metrics of requests over MQTT.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::declare::metrics;

/// Buckets in seconds, from a millisecond to the end of a request.
const SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 25.0];

/// Why a request gets no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestDrop {
    /// The broker had retained it.
    Retained,
    /// Its Message Expiry Interval had passed when its turn came.
    Expired,
    /// Its topic names no device and no route.
    Topic,
    /// Its sender got a refusal within the last second.
    Budget,
    /// Too many requests wait.
    Full,
    /// The connection that it arrived on has ended.
    Connection,
}

metrics! {
    /// The metrics with labels that only a response knows, and those without labels.
    pub struct MqttApiCounters {
        /// Requests over MQTT that got a response, by route and status.
        requests: IntCounterVec("sluice_api_requests_total", ["route", "status"]),
        /// Seconds from the receipt of a request over MQTT to its response.
        seconds: Histogram("sluice_api_request_seconds", SECONDS),
        /// Response Topics that Sluice did not use, because they are not below the sender's own.
        bad_response_topics: IntCounter("sluice_api_bad_response_topics_total"),
        /// 1 if the settings let devices or operators send requests over MQTT.
        enabled: IntGauge("sluice_api_enabled"),
        /// Requests over MQTT that wait for their turn.
        waiting: IntGauge("sluice_api_requests_waiting"),
    }
}

/// Updated by the code that answers requests over MQTT.
#[derive(Clone, Debug)]
pub struct MqttApiMetrics {
    /// The metrics without labels known in advance.
    pub plain: MqttApiCounters,
    dropped: Vec<IntCounter>,
}

// === impl RequestDrop ===

impl RequestDrop {
    const ALL: [Self; 6] =
        [Self::Retained, Self::Expired, Self::Topic, Self::Budget, Self::Full, Self::Connection];

    const fn label(self) -> &'static str {
        match self {
            Self::Retained => "retained",
            Self::Expired => "expired",
            Self::Topic => "topic",
            Self::Budget => "budget",
            Self::Full => "full",
            Self::Connection => "connection",
        }
    }
}

// === impl MqttApiMetrics ===

impl MqttApiMetrics {
    /// Creates and registers all of them; each known label starts at zero.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Requests over MQTT without a response, by cause.";
        let dropped =
            IntCounterVec::new(Opts::new("sluice_api_requests_dropped_total", help), &["why"])?;
        registry.register(Box::new(dropped.clone()))?;
        let dropped = RequestDrop::ALL.map(|why| dropped.with_label_values(&[why.label()]));
        Ok(Self { plain: MqttApiCounters::register(registry)?, dropped: dropped.to_vec() })
    }

    /// The counter of requests without a response.
    pub fn dropped(&self, why: RequestDrop) -> &IntCounter {
        &self.dropped[why as usize]
    }

    /// Counts a response.
    pub fn responded(&self, route: &str, status: u16) {
        self.plain.requests.with_label_values(&[route, &status.to_string()]).inc();
    }
}
