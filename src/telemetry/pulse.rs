//! The pulse of the daemon: what its counters and gauges showed in the last minute and in the last
//! hour, for the overview.
//!
//! One task samples once a second; two rings bound what is kept. It changes no metric, and needs no
//! Postgres.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus::core::Metric;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::ingest::SECONDS;
use super::metrics::Metrics;
use crate::domain::time::{Clock, Timestamp};

/// The interval between samples.
const PERIOD: Duration = Duration::from_secs(1);

/// The samples of the last minute, and one to subtract.
const RECENT: usize = 61;

/// Seconds between two points of the history.
pub const STEP_SECONDS: u32 = 30;

/// The points of the history: one hour.
pub const HISTORY: usize = 120;

/// The buckets of the latency, and the one above all of them.
const BUCKETS: usize = SECONDS.len() + 1;

/// The pulse. Clones share it.
#[derive(Clone, Debug)]
pub struct Pulse {
    metrics: Metrics,
    rings: Arc<Mutex<Rings>>,
    started_at: Timestamp,
}

/// What one look at the metrics showed. Counters count since the start of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct PulseSample {
    at: Timestamp,
    received: u64,
    stored: u64,
    refused: u64,
    duplicate: u64,
    /// Batches, by the bucket of the latency of their oldest message.
    latency: [u64; BUCKETS],
}

#[derive(Debug, Default)]
struct Rings {
    recent: VecDeque<PulseSample>,
    history: VecDeque<PulseSample>,
}

/// What the daemon does: rates over the last minute.
#[derive(Clone, Debug, PartialEq)]
pub struct PulseSummary {
    /// When the daemon started.
    pub started_at: DateTime<Utc>,
    /// Over how many seconds the rates are: up to 60.
    pub window_seconds: f64,
    /// Messages a second.
    pub rates: PulseRates,
    /// Messages that wait to be checked.
    pub queue: i64,
    /// Messages that the broker waits for acknowledgements of.
    pub unacknowledged: i64,
    /// Rates in steps of half a minute, the oldest first.
    pub history: Vec<PulsePoint>,
}

/// Messages a second, and their latency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PulseRates {
    pub received: f64,
    pub stored: f64,
    pub refused: f64,
    pub duplicate: f64,
    /// The median of the time from receipt to commit, in milliseconds.
    pub p50_ms: Option<f64>,
    /// Its 99th percentile.
    pub p99_ms: Option<f64>,
}

/// A point of the history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PulsePoint {
    /// The end of the step.
    pub at: DateTime<Utc>,
    pub rates: PulseRates,
}

/// What the gauges of the components show.
#[expect(clippy::struct_excessive_bools, reason = "each is one gauge")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PulseGauges {
    pub is_broker_connected: bool,
    pub is_database_up: bool,
    pub is_listening: bool,
    pub partitions_ahead: i64,
    pub is_crl_enforced: bool,
    /// When the published CRL expires; `None` without one.
    pub crl_ends_at: Option<DateTime<Utc>>,
}

// === impl Pulse ===

impl Pulse {
    /// The pulse of these metrics, from now on.
    pub fn new(metrics: Metrics, now: Timestamp) -> Self {
        let pulse = Self { metrics, rings: Arc::default(), started_at: now };
        pulse.sample(now);
        pulse
    }

    /// Samples until `stop`.
    pub async fn run(self, clock: Clock, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.sample(clock()),
            }
        }
    }

    /// The rates up to now.
    pub fn summary(&self) -> PulseSummary {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let between = rings.recent.front().zip(rings.recent.back());
        let history = rings.history.iter().zip(rings.history.iter().skip(1));
        PulseSummary {
            started_at: self.started_at.to_utc(),
            window_seconds: between.map_or(0.0, |(from, to)| to.at.seconds_since(from.at)),
            rates: between.map(|(from, to)| to.rates_since(from)).unwrap_or_default(),
            queue: self.metrics.broker.queue_depth.get(),
            unacknowledged: self.metrics.broker.unacked.get(),
            history: history
                .map(|(from, to)| PulsePoint { at: to.at.to_utc(), rates: to.rates_since(from) })
                .collect(),
        }
    }

    /// What the gauges show now.
    pub fn gauges(&self) -> PulseGauges {
        let Metrics { broker, store, revocation, .. } = &self.metrics;
        let ends = Some(revocation.next_update.get()).filter(|seconds| *seconds > 0);
        PulseGauges {
            is_broker_connected: broker.connected.get() == 1,
            is_database_up: store.up.get() == 1,
            is_listening: store.listening.get() == 1,
            partitions_ahead: store.partitions_ahead.get(),
            is_crl_enforced: revocation.enforced.get() == 1,
            crl_ends_at: ends.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
        }
    }

    fn sample(&self, now: Timestamp) {
        let sample = self.look(now);
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.add(sample);
    }

    fn look(&self, at: Timestamp) -> PulseSample {
        let ingest = &self.metrics.ingest;
        let metric = ingest.plain.store_latency_seconds.metric();
        let histogram = metric.get_histogram();
        let mut latency = [0; BUCKETS];
        let mut below = 0;
        for (count, bucket) in latency.iter_mut().zip(histogram.get_bucket()) {
            *count = bucket.cumulative_count().saturating_sub(below);
            below = bucket.cumulative_count();
        }
        latency[BUCKETS - 1] = histogram.get_sample_count().saturating_sub(below);
        PulseSample {
            at,
            received: self.metrics.broker.received.get(),
            stored: ingest.stored.get(),
            refused: ingest.quarantined.get(),
            duplicate: ingest.duplicate.get(),
            latency,
        }
    }
}

// === impl Rings ===

impl Rings {
    fn add(&mut self, sample: PulseSample) {
        // A clock that was set back would make rates of negative time.
        if self.recent.back().is_some_and(|last| sample.at <= last.at) {
            self.recent.clear();
        }
        push(&mut self.recent, sample, RECENT);
        let last = self.history.back().map(|last| sample.at.seconds_since(last.at));
        if last.is_some_and(|seconds| seconds < 0.0) {
            self.history.clear();
        }
        if last.is_none_or(|seconds| !(0.0..f64::from(STEP_SECONDS)).contains(&seconds)) {
            push(&mut self.history, sample, HISTORY + 1);
        }
    }
}

// === impl PulseSample ===

impl PulseSample {
    fn rates_since(&self, from: &Self) -> PulseRates {
        let seconds = self.at.seconds_since(from.at);
        let rate = |of: fn(&Self) -> u64| {
            if seconds > 0.0 { as_f64(of(self).saturating_sub(of(from))) / seconds } else { 0.0 }
        };
        let mut latency = [0; BUCKETS];
        for ((count, now), then) in latency.iter_mut().zip(self.latency).zip(from.latency) {
            *count = now.saturating_sub(then);
        }
        PulseRates {
            received: rate(|sample| sample.received),
            stored: rate(|sample| sample.stored),
            refused: rate(|sample| sample.refused),
            duplicate: rate(|sample| sample.duplicate),
            p50_ms: quantile(&latency, 0.5),
            p99_ms: quantile(&latency, 0.99),
        }
    }
}

// === private helpers ===

fn push(ring: &mut VecDeque<PulseSample>, sample: PulseSample, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(sample);
}

/// The quantile in milliseconds, linear within its bucket; `None` without samples.
fn quantile(counts: &[u64; BUCKETS], share: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = share * as_f64(total);
    let mut below = 0.0;
    let mut low = 0.0;
    for (count, high) in counts.iter().zip(SECONDS) {
        let count = as_f64(*count);
        if below + count >= rank && count > 0.0 {
            return Some((low + (high - low) * (rank - below) / count) * 1000.0);
        }
        below += count;
        low = high;
    }
    // Above the highest bound nothing more is known.
    Some(low * 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).plus_seconds(seconds)
    }

    #[test]
    fn rates_are_of_the_last_minute_and_the_rings_are_bounded() {
        let metrics = Metrics::new().unwrap();
        let pulse = Pulse::new(metrics.clone(), at(0));
        for second in 1..=8_000 {
            metrics.ingest.stored.inc_by(if second > 7_970 { 20 } else { 10 });
            metrics.ingest.plain.store_latency_seconds.observe(0.003);
            pulse.sample(at(second));
        }
        let summary = pulse.summary();
        assert!((summary.window_seconds - 60.0).abs() < 1e-9);
        assert!((summary.rates.stored - 15.0).abs() < 1e-9, "{:?}", summary.rates);
        assert_eq!(summary.history.len(), HISTORY);
        assert!((summary.history[0].rates.stored - 10.0).abs() < 1e-9);
        // All samples are in the bucket from 2 ms to 4 ms.
        assert_eq!(summary.rates.p50_ms, Some(3.0));
        assert!(summary.rates.p99_ms.is_some_and(|ms| (3.9..4.0).contains(&ms)));
    }

    #[test]
    fn a_clock_that_is_set_back_begins_the_rings_again() {
        let metrics = Metrics::new().unwrap();
        let pulse = Pulse::new(metrics.clone(), at(100));
        metrics.ingest.stored.inc_by(50);
        pulse.sample(at(10));
        metrics.ingest.stored.inc_by(5);
        pulse.sample(at(11));
        assert!((pulse.summary().rates.stored - 5.0).abs() < 1e-9);
        assert!(pulse.summary().rates.p99_ms.is_none());
    }
}
