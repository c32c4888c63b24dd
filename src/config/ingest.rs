//! What is believed, how much is taken, and how it is batched.

use std::time::Duration;

/// The spine's settings.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own that users flip by name")]
pub struct IngestConfig {
    /// `CERT_AUTH_ENABLED`.
    pub cert_auth_enabled: bool,
    /// `REQUIRE_TOKEN`.
    pub require_token: bool,
    /// `AUTO_PROVISION`.
    pub auto_provision: bool,
    /// `AUTH_CACHE_TTL_SECONDS`.
    pub cache_ttl: Duration,
    /// `AUTH_CACHE_NEGATIVE_TTL_SECONDS`.
    pub cache_negative_ttl: Duration,
    /// `AUTH_CACHE_MAX_SIZE`.
    pub cache_max_size: u64,
    /// `BATCH_SIZE`.
    pub batch_size: usize,
    /// `FLUSH_INTERVAL_MS`.
    pub flush_interval: Duration,
    /// `MAX_PAYLOAD_BYTES`.
    pub max_payload_bytes: usize,
    /// `MAX_JSON_DEPTH`.
    pub max_json_depth: usize,
    /// `MAX_METRICS`.
    pub max_metrics: usize,
    /// `MAX_CLOCK_SKEW_SECONDS`.
    pub max_clock_skew_seconds: i64,
    /// `MAX_AGE_DAYS`.
    pub max_age_days: i64,
    /// `RATE_LIMIT_RPS` and `RATE_LIMIT_BURST`; none when off.
    pub rate_limit: Option<RateLimit>,
    /// `QUARANTINE_MAX_PER_MINUTE`.
    pub quarantine_max_per_minute: u64,
    /// `KEEP_EXTRA_FIELDS`.
    pub keep_extra_fields: bool,
}

/// How fast one device may send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Messages per second in the long run.
    pub per_second: f64,
    /// Messages at once.
    pub burst: f64,
}
