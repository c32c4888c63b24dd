//! The reporter with batches, and the publisher with the other end of an exchange.

use super::*;
use crate::broker::exchange::{ExchangeEnds, exchange};
use crate::domain::device::{Device, DeviceStatus, RegistryAnswer, Windows};
use crate::domain::message::ConnectionId;
use crate::domain::ports::{Newcomer, Outage};
use crate::domain::publisher::Publisher;
use crate::telemetry::metrics::Metrics;

fn delivery(topic: &'static str, payload: &'static str) -> Delivery {
    Delivery {
        topic: Bytes::from_static(topic.as_bytes()),
        payload: Bytes::from_static(payload.as_bytes()),
        cut_from: None,
        received_at: Timestamp::from_micros(1_800_000_000_000_000),
        held_since: Timestamp::default(),
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

/// A batch of refused messages.
fn batch(messages: Vec<(&'static str, &'static str, Reason)>) -> Batch {
    let mut batch = Batch { refused: Some(Vec::new()), ..Batch::default() };
    for (origin, (topic, payload, reason)) in messages.into_iter().enumerate() {
        batch.deliveries.push(delivery(topic, payload));
        batch.list_refusal(origin, &Refusal::new(reason, "why"));
    }
    batch
}

/// A registry with each device but `stranger`, which fails for `lost`.
struct Registry;

impl Directory for Registry {
    async fn find(&self, keys: &[DeviceKey]) -> Result<Vec<RegistryAnswer>, Outage> {
        let answer = |key: &DeviceKey| {
            let status = DeviceStatus::Inactive;
            let device = Device { status, site: None, token: None, certificates: Windows::new() };
            let device = (key.device() != "stranger").then_some(device);
            let is_lost = key.device() == "lost";
            let found = RegistryAnswer { tenant_suspended: false, device };
            if is_lost { Err(Outage("lost".to_owned())) } else { Ok(found) }
        };
        keys.iter().map(answer).collect()
    }

    async fn enroll(&self, _: &[Newcomer]) -> Result<(), Outage> {
        unreachable!("an error registers no device")
    }
}

struct Fixture {
    reporter: ErrorReporter,
    publisher: ErrorPublisher<Registry>,
    ends: ExchangeEnds,
    metrics: DeviceErrorMetrics,
}

fn fixture() -> Fixture {
    let (exchange, ends) = exchange();
    let metrics = Metrics::new().unwrap().device_errors;
    let (reporter, publisher) = device_errors(exchange, Registry, &metrics);
    Fixture { reporter, publisher, ends, metrics }
}

const OWN: &str = "tenant/acme/device/pump-1/telemetry/engine";

#[tokio::test]
async fn an_error_repeats_ts_and_seq_as_they_were_sent() {
    let mut fixture = fixture();
    let payload = r#"{"ts": 0.50, "seq":"7x","provision_token":"secret"}"#;
    let mut refused = batch(vec![(OWN, payload, Reason::TimestampOutOfRange)]);
    refused.deliveries[0].correlation = Some(Box::new(Bytes::from_static(b"c-1")));
    fixture.reporter.report(&refused);
    let message = fixture.publisher.errors.recv().await.unwrap().message();
    assert_eq!(message.topic.as_str(), "tenant/acme/device/pump-1/errors");
    assert_eq!((message.expires_in, message.is_retained), (Some(300), false));
    assert_eq!(message.correlation.as_deref(), Some(&b"c-1"[..]));
    assert_eq!(
        String::from_utf8(message.payload.to_vec()).unwrap(),
        concat!(
            r#"{"reason":"TIMESTAMP_OUT_OF_RANGE","detail":"why","type":"telemetry/engine","ts":0.50,"#,
            r#""seq":"7x","received_at":"2027-01-15T08:00:00.000000Z","suppressed":0}"#
        )
    );
}

#[tokio::test]
async fn what_is_no_short_value_is_not_repeated() {
    let mut fixture = fixture();
    let long: &'static str = format!(r#"{{"ts":"{}","seq":[1]}}"#, "x".repeat(64)).leak();
    let messages = vec![
        (OWN, long, Reason::BadTimestamp),
        (OWN, "not JSON", Reason::BadPayload),
        ("tenant/acme/device/pump-1/a b", r#"{"ts":1}"#, Reason::BadTopicFormat),
    ];
    fixture.reporter.report(&batch(messages));
    let mut texts = Vec::new();
    while let Ok(error) = fixture.publisher.errors.try_recv() {
        texts.push(String::from_utf8(error.message().payload.to_vec()).unwrap());
    }
    assert_eq!(texts.len(), 3);
    assert!(texts[..2].iter().all(|text| !text.contains(r#""ts""#) && !text.contains("seq")));
    assert!(texts[2].contains(r#""type":"a b","ts":1,"#), "{}", texts[2]);
}

#[tokio::test]
async fn foreign_topics_unknown_devices_and_requests_cause_no_error() {
    let mut fixture = fixture();
    fixture.reporter.report(&batch(vec![
        ("tenant/acme/dev/pump-1/x", "{}", Reason::BadTopicFormat),
        ("tenant/a+/device/pump-1/x", "{}", Reason::BadTopicFormat),
        (OWN, "{}", Reason::UnregisteredDevice),
        ("tenant/acme/device/pump-1/request", "{}", Reason::BadPayload),
        ("tenant/acme/device/pump-1/request/x", "{}", Reason::BadTopicFormat),
    ]));
    assert!(fixture.publisher.errors.try_recv().is_err());
    assert_eq!(fixture.metrics.suppressed.get(), 0);
}

#[tokio::test]
async fn a_full_queue_suppresses_and_the_next_error_counts_them() {
    let mut fixture = fixture();
    let names: Vec<&'static str> =
        (0..QUEUE).map(|n| &*format!("tenant/t/device/d{n}/telemetry").leak()).collect();
    let all = names.iter().map(|topic| (*topic, "{}", Reason::BadPayload)).collect();
    fixture.reporter.report(&batch(all));
    fixture.reporter.report(&batch(vec![(OWN, "{}", Reason::BadPayload)]));
    assert_eq!(fixture.metrics.suppressed.get(), 1);
    assert!(fixture.publisher.errors.recv().await.is_some(), "one place is free again");
    fixture.reporter.report(&batch(vec![(OWN, "{}", Reason::BadPayload)]));
    fixture.reporter.report(&batch(vec![(OWN, "{}", Reason::BadPayload)]));
    assert_eq!(fixture.metrics.suppressed.get(), 2, "the second one within a minute");
}

#[tokio::test]
async fn the_publisher_waits_for_the_connection_and_counts_what_the_broker_answers() {
    let Fixture { mut reporter, publisher, mut ends, metrics } = fixture();
    let stop = CancellationToken::new();
    let publishing = publisher.run(stop.clone());
    let broker = async {
        reporter.report(&batch(vec![(OWN, "{}", Reason::BadPayload)]));
        ends.wanted.wait_for(|wanted| *wanted).await.unwrap();
        tokio::task::yield_now().await;
        assert!(ends.outgoing.try_recv().is_err(), "it is not connected");
        let connected = ExchangeState::Connected { connection: ConnectionId(1), marker: None };
        ends.state.send_replace(connected);
        reporter.report(&batch(vec![(OWN, "{}", Reason::BadTimestamp)]));
        let outcomes = [ExchangeOutcome::Refused(0x87), ExchangeOutcome::Accepted];
        for outcome in outcomes {
            let queued = ends.outgoing.recv().await.unwrap();
            queued.outcome.send(outcome).unwrap();
        }
        while metrics.failed.get() + metrics.sent.get() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!((metrics.failed.get(), metrics.sent.get()), (1, 1));
        stop.cancel();
    };
    tokio::join!(publishing, broker);
}

#[tokio::test]
async fn a_device_that_is_not_registered_receives_no_error_for_a_message_that_is_none() {
    let Fixture { mut reporter, mut publisher, mut ends, metrics } = fixture();
    let messages = ["stranger", "lost", "pump-1"]
        .map(|name| (&*format!("tenant/t/device/{name}/x").leak(), "no JSON", Reason::BadPayload));
    reporter.report(&batch(messages.into()));
    while let Ok(error) = publisher.errors.try_recv() {
        publisher.publish(&error).await;
    }
    let sent = ends.outgoing.try_recv().unwrap().message;
    assert_eq!(sent.topic.as_str(), "tenant/t/device/pump-1/errors");
    assert!(ends.outgoing.try_recv().is_err());
    assert_eq!((metrics.failed.get(), metrics.suppressed.get()), (1, 0), "the lost one");
}
