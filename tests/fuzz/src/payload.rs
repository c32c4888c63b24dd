//! Any bytes as a payload, under each kind of topic: no panic, and no token survives redaction.

use std::sync::LazyLock;

use bytes::Bytes;
use sluice::config::{Config, Sources};
use sluice::domain::message::Delivery;
use sluice::domain::publisher::Publisher;
use sluice::domain::redact::redact;
use sluice::domain::time::Timestamp;
use sluice::ingest::parse::ParseLimits;
use sluice::ingest::parse::parsed::{ParseOutcome, TokenField};

/// One topic of each kind that is kept.
const TOPICS: [&str; 4] = [
    "tenant/t/device/d/telemetry",
    "tenant/t/device/d/event",
    "tenant/t/device/d/shadow/reported",
    "tenant/t/device/d/commands/ack",
];

static LIMITS: LazyLock<ParseLimits> = LazyLock::new(|| {
    let loaded = Config::load(&Sources::default()).expect("the defaults are allowed");
    ParseLimits::from(&loaded.config.ingest)
});

/// Panics if a property does not hold for these bytes.
pub fn check(bytes: &[u8]) {
    let payload = Bytes::copy_from_slice(bytes);
    let clean = redact(&payload);
    assert_eq!(redact(&clean), clean, "what is redacted stays as it is");
    for topic in TOPICS {
        let outcome = LIMITS.parse(&delivery(topic, payload.clone()));
        if let ParseOutcome::Parsed(parsed) = outcome
            && let TokenField::Given(_) = parsed.token
        {
            assert_redacted(topic, &clean);
        }
    }
}

/// The payload without its token is read as before, and the note stands where the token stood.
fn assert_redacted(topic: &'static str, clean: &Bytes) {
    match LIMITS.parse(&delivery(topic, clean.clone())) {
        ParseOutcome::Parsed(parsed) => match parsed.token {
            TokenField::Given(note) => assert_eq!(note, "[redacted]"),
            _ => panic!("redaction took more than the token"),
        },
        // The note may make a payload too large.
        ParseOutcome::Refused(..) => {}
        ParseOutcome::Ignored => unreachable!("no topic here is the platform's"),
    }
}

fn delivery(topic: &'static str, payload: Bytes) -> Delivery {
    Delivery {
        topic: Bytes::from_static(topic.as_bytes()),
        payload,
        cut_from: None,
        held_since: Timestamp::from_micros(1_750_000_000_000_000),
        received_at: Timestamp::from_micros(1_750_000_000_000_000),
        dup: false,
        redelivered: false,
        maybe_repeated: false,
        ack: None,
        correlation: None,
        publisher: Publisher::default(),
        replay: None,
        arrival: None,
    }
}
