//! Settings of ingest: authentication, limits and batches.

use std::time::Duration;

use super::plugin::ProofSettings;
use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind};
use crate::domain::rate_limit::RateLimit;

/// Settings of ingest.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own that users flip by name"
)]
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
    /// `WRITER_LANES`.
    pub writer_lanes: usize,
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
    /// `RATE_LIMIT_RPS` and `RATE_LIMIT_BURST`; `None` means no limit.
    pub rate_limit: Option<RateLimit>,
    /// `QUARANTINE_MAX_PER_MINUTE`.
    pub quarantine_max_per_minute: u64,
    /// `QUARANTINE_REPLAY_RPS`.
    pub quarantine_replay_rps: u32,
    /// `KEEP_EXTRA_FIELDS`.
    pub keep_extra_fields: bool,
    /// The settings of the proofs of publishers, which are in the section of the plugin.
    pub proofs: ProofSettings,
}

/// Batches in flight: one being written and one ready behind it. More would only wait longer, so it
/// is no setting.
pub const BATCHES_IN_FLIGHT: u32 = 2;

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::switch(
        "CERT_AUTH_ENABLED",
        "0",
        "Whether a valid certificate in the registry authenticates a device.",
    ),
    Setting::switch(
        "REQUIRE_TOKEN",
        "1",
        "Whether a device without a valid certificate must send its token.",
    ),
    Setting::switch(
        "AUTO_PROVISION",
        "0",
        "Whether an unknown device is registered when its first valid message arrives.",
    ),
    Setting::whole(
        "AUTH_CACHE_TTL_SECONDS",
        "300",
        (1, 86_400),
        "seconds",
        "How long a device's registry entry is cached. A change of the registry invalidates the entry at once; this time is the \
         fallback.",
    ),
    Setting::whole(
        "AUTH_CACHE_NEGATIVE_TTL_SECONDS",
        "30",
        (1, 86_400),
        "seconds",
        "How long Sluice caches that a device is not registered.",
    ),
    Setting::whole(
        "AUTH_CACHE_MAX_SIZE",
        "50000",
        (1, 10_000_000),
        "devices",
        "The maximum number of devices in the cache.",
    ),
    Setting::whole(
        "BATCH_SIZE",
        "1000",
        (1, 32_767),
        "messages",
        "The maximum number of messages in a batch. A full batch is written at once. While Postgres is busy a batch may grow to \
         twice this number.",
    ),
    Setting::whole(
        "WRITER_LANES",
        "1",
        (1, 8),
        "lanes",
        "Into how many lanes the devices are divided. Each lane has its own connection to Postgres and its own batches. The messages \
         of a device stay in order. More than one helps where one connection cannot store all messages and cores are free. Where Citus \
         has spread telemetry, a lane has the devices of its nodes.",
    ),
    Setting::whole(
        "FLUSH_INTERVAL_MS",
        "5",
        (0, 10_000),
        "milliseconds",
        "The maximum time that the oldest message of a batch waits for further messages.",
    ),
    Setting::whole(
        "MAX_PAYLOAD_BYTES",
        "16384",
        (64, 67_108_864),
        "bytes",
        "The largest payload. Sluice refuses a larger one without parsing it. It must be less than MQTT_MAX_PACKET_BYTES.",
    ),
    Setting::whole(
        "MAX_JSON_DEPTH",
        "16",
        (1, 100),
        "levels",
        "The maximum depth of a payload's JSON. A deeper payload is refused.",
    ),
    Setting::whole(
        "MAX_METRICS",
        "256",
        (1, 10_000),
        "keys",
        "The maximum number of metrics in a payload. A payload with more is refused.",
    ),
    Setting::whole(
        "MAX_CLOCK_SKEW_SECONDS",
        "300",
        (0, 86_400),
        "seconds",
        "How far a message's timestamp may be ahead of Sluice's clock.",
    ),
    Setting::whole(
        "MAX_AGE_DAYS",
        "30",
        (1, 36_500),
        "days",
        "The maximum age of a message, by its own timestamp.",
    ),
    Setting::with_default(
        "RATE_LIMIT_RPS",
        "0",
        SettingKind::Decimal { min: 0.0, max: 100_000.0 },
        "The maximum average rate of one device, in messages per second. 0 means no limit.",
    ),
    Setting::whole(
        "RATE_LIMIT_BURST",
        "50",
        (0, 1_000_000),
        "messages",
        "How many messages one device may send at once before RATE_LIMIT_RPS applies.",
    ),
    Setting::whole(
        "QUARANTINE_MAX_PER_MINUTE",
        "600",
        (0, 1_000_000),
        "messages",
        "How many refused messages of one tenant and reason are stored per minute. All of them are counted.",
    ),
    Setting::whole(
        "QUARANTINE_REPLAY_RPS",
        "500",
        (1, 100_000),
        "messages per second",
        "How many messages per second a daemon replays or dry-runs as jobs, over all tenants.",
    ),
    Setting::switch(
        "KEEP_EXTRA_FIELDS",
        "0",
        "Whether Sluice stores fields of the payload that it does not use.",
    ),
];

// === impl IngestConfig ===

impl IngestConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        Self {
            cert_auth_enabled: reader.switch("CERT_AUTH_ENABLED"),
            require_token: reader.switch("REQUIRE_TOKEN"),
            auto_provision: reader.switch("AUTO_PROVISION"),
            cache_ttl: reader.seconds("AUTH_CACHE_TTL_SECONDS"),
            cache_negative_ttl: reader.seconds("AUTH_CACHE_NEGATIVE_TTL_SECONDS"),
            cache_max_size: reader.whole("AUTH_CACHE_MAX_SIZE"),
            batch_size: reader.whole("BATCH_SIZE"),
            writer_lanes: reader.whole("WRITER_LANES"),
            flush_interval: reader.milliseconds("FLUSH_INTERVAL_MS"),
            max_payload_bytes: reader.whole("MAX_PAYLOAD_BYTES"),
            max_json_depth: reader.whole("MAX_JSON_DEPTH"),
            max_metrics: reader.whole("MAX_METRICS"),
            max_clock_skew_seconds: reader.whole("MAX_CLOCK_SKEW_SECONDS"),
            max_age_days: reader.whole("MAX_AGE_DAYS"),
            rate_limit: read_rate_limit(reader),
            quarantine_max_per_minute: reader.whole("QUARANTINE_MAX_PER_MINUTE"),
            quarantine_replay_rps: reader.whole("QUARANTINE_REPLAY_RPS"),
            keep_extra_fields: reader.switch("KEEP_EXTRA_FIELDS"),
            // Those of the plugin are read later.
            proofs: ProofSettings::off(),
        }
    }
}

// --- private helpers ---

fn read_rate_limit(reader: &mut SettingReader) -> Option<RateLimit> {
    let per_second = reader.decimal("RATE_LIMIT_RPS");
    let burst = f64::from(reader.whole::<u32>("RATE_LIMIT_BURST"));
    if per_second > 0.0 && burst < 1.0 {
        let why = "with a limit on, no message would ever pass: set RATE_LIMIT_BURST to 1 or more";
        reader.conflict(&["RATE_LIMIT_RPS", "RATE_LIMIT_BURST"], why);
    }
    (per_second > 0.0).then_some(RateLimit { per_second, burst })
}
