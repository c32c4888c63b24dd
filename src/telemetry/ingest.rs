//! Metrics of ingest.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::declare::metrics;
use super::link_ingest::LinkIngestMetrics;
use crate::domain::refusal::Reason;

/// Buckets in seconds, from half a millisecond to ten seconds.
pub const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 2.0, 10.0];

/// Buckets in rows of a batch.
pub const ROWS: [f64; 12] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2000.0, 5000.0];

metrics! {
    /// The metrics without labels.
    pub struct IngestCounters {
        /// Messages in each committed batch.
        batch_rows: Histogram("sluice_batch_rows", ROWS),
        /// Seconds from the start of a batch's transaction to its commit, including retries.
        batch_write_seconds: Histogram("sluice_batch_write_seconds", SECONDS),
        /// Seconds from the receipt of the oldest message of a batch to its commit.
        store_latency_seconds: Histogram("sluice_store_latency_seconds", SECONDS),
        /// Devices found in the authorization cache.
        cache_hits: IntCounter("sluice_auth_cache_hits"),
        /// Devices not found in the authorization cache; each causes a query of the registry.
        cache_misses: IntCounter("sluice_auth_cache_misses"),
        /// Devices in the authorization cache.
        cache_entries: IntGauge("sluice_auth_cache_entries"),
        /// Cache entries dropped because the registry changed.
        invalidations: IntCounter("sluice_auth_invalidations_total"),
        /// Refused messages that were counted but not stored, because of the limit per minute.
        quarantine_sampled_out: IntCounter("sluice_quarantine_sampled_out_total"),
    }
}

metrics! {
    /// Updated by the lanes of ingest.
    pub struct LaneMetrics {
        /// Stored messages that wait for the acknowledgement of an earlier message in another lane.
        early_acks: IntGauge("sluice_early_acks"),
        /// Messages that wait for their lane (`WRITER_LANES`).
        waiting: IntGaugeVec("sluice_lane_queue_depth", ["lane"]),
    }
}

/// The examined proofs of publishers.
#[derive(Clone, Debug)]
pub struct ProofMetrics {
    /// Valid.
    pub valid: IntCounter,
    /// Messages without one.
    pub missing: IntCounter,
    /// Not valid.
    pub invalid: IntCounter,
}

/// A gauge of one lane.
pub type LaneGauge = prometheus::IntGauge;

/// Updated by ingest, after the commit.
#[derive(Clone, Debug)]
pub struct IngestMetrics {
    /// The metrics without labels.
    pub plain: IngestCounters,
    /// Messages stored.
    pub stored: IntCounter,
    /// Messages that were stored already.
    pub duplicate: IntCounter,
    /// Messages refused.
    pub quarantined: IntCounter,
    /// Messages of the platform itself.
    pub ignored: IntCounter,
    /// Messages from links.
    pub links: LinkIngestMetrics,
    /// The lanes, if there are several.
    pub lanes: LaneMetrics,
    /// The proofs of publishers.
    pub proofs: ProofMetrics,
    by_reason: Vec<IntCounter>,
}

// === impl LaneMetrics ===

impl LaneMetrics {
    /// The gauge of the messages that wait for this lane, counted from 0.
    pub fn waiting_in(&self, lane: usize) -> LaneGauge {
        self.waiting.with_label_values(&[(lane + 1).to_string()])
    }
}

// === impl ProofMetrics ===

impl ProofMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let results = IntCounterVec::new(
            Opts::new("sluice_proofs_total", "Examined proofs of publishers, by result."),
            &["result"],
        )?;
        registry.register(Box::new(results.clone()))?;
        Ok(Self {
            valid: results.with_label_values(&["valid"]),
            missing: results.with_label_values(&["missing"]),
            invalid: results.with_label_values(&["invalid"]),
        })
    }
}

// === impl IngestMetrics ===

impl IngestMetrics {
    /// Creates and registers all of them; each known label starts at zero.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let results = IntCounterVec::new(
            Opts::new("sluice_messages_total", "Decided messages, by result."),
            &["result"],
        )?;
        let reasons = IntCounterVec::new(
            Opts::new("sluice_quarantined_total", "Refused messages, by reason."),
            &["reason"],
        )?;
        registry.register(Box::new(results.clone()))?;
        registry.register(Box::new(reasons.clone()))?;
        Ok(Self {
            plain: IngestCounters::register(registry)?,
            stored: results.with_label_values(&["stored"]),
            duplicate: results.with_label_values(&["duplicate"]),
            quarantined: results.with_label_values(&["quarantined"]),
            ignored: results.with_label_values(&["ignored"]),
            links: LinkIngestMetrics::new(registry)?,
            lanes: LaneMetrics::register(registry)?,
            proofs: ProofMetrics::new(registry)?,
            by_reason: Reason::ALL
                .iter()
                .map(|reason| reasons.with_label_values(&[reason.label()]))
                .collect(),
        })
    }

    /// Metrics for a replay. It shares the counters of messages with the daemon. Its metrics
    /// without labels, such as those of its short-lived cache, are its own and are not exported.
    pub fn for_replay(&self) -> Result<Self, prometheus::Error> {
        Ok(Self { plain: IngestCounters::register(&Registry::new())?, ..self.clone() })
    }

    /// Returns the counter of one reason.
    pub fn refused(&self, reason: Reason) -> &IntCounter {
        &self.by_reason[reason.index()]
    }
}
