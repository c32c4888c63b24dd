//! `RATE_LIMIT_RPS` by the time a message was sent or first held by the broker: a backlog is no
//! flood, and no `ts` buys more.

use std::time::Instant;

use crate::pipeline::fixture::{Pipeline, TRUSTING, to};
use crate::support::device::{Fate, Message};
use crate::support::time_bounds::BACKLOG_AWAY;
use crate::support::wait;

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); \
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'p1'), ('acme', 'p2')";

/// Messages of the backlog, and what a device earns within [`BACKLOG_AWAY`] at the least.
const BACKLOG: usize = 300;
const LIMIT: [(&str, &str); 3] =
    [TRUSTING[0], ("RATE_LIMIT_RPS", "100"), ("RATE_LIMIT_BURST", "5")];

/// Publishes at the broker, while the daemon may be away.
fn publish(pipeline: &mut Pipeline, messages: &[Message]) {
    let fates = pipeline.device.publish_all(messages);
    assert!(fates.iter().all(|fate| *fate == Fate::Accepted), "{fates:?}");
}

/// Kills the daemon, publishes all of these, and starts it after [`BACKLOG_AWAY`].
fn backlog(pipeline: &mut Pipeline, messages: &[Message]) {
    pipeline.daemon.kill9();
    let since = Instant::now();
    publish(pipeline, messages);
    wait::until("the daemon was away long enough", || since.elapsed() >= BACKLOG_AWAY);
    pipeline.daemon.start_again();
    let ends = "SELECT (SELECT count(*) FROM telemetry) + (SELECT count(*) FROM quarantine_events)";
    let expected = messages.len() + 1;
    pipeline.database.wait_until(ends, &expected.to_string());
}

#[test]
fn a_backlog_of_a_device_that_keeps_to_the_rate_is_stored_whole() {
    let now = sluice::clock::now();
    for is_timed in [true, false] {
        let mut pipeline = Pipeline::new(&LIMIT, REGISTRY);
        pipeline.publish("acme/device/p1/telemetry", "{}");
        pipeline.settle();
        let payload = |seq: usize| {
            let ts = now.plus_seconds(i64::try_from(seq / 100).unwrap()).to_utc().to_rfc3339();
            if is_timed {
                format!(r#"{{"seq":{seq},"ts":"{ts}"}}"#)
            } else {
                format!(r#"{{"seq":{seq}}}"#)
            }
        };
        let messages: Vec<_> =
            (0..BACKLOG).map(|seq| to("acme/device/p1/telemetry", payload(seq))).collect();
        backlog(&mut pipeline, &messages);
        assert_eq!(
            pipeline.value("SELECT count(*) FROM telemetry"),
            (BACKLOG + 1).to_string(),
            "timed: {is_timed}"
        );
    }
}

#[test]
fn a_flood_in_a_backlog_is_refused_beyond_the_rate() {
    let limit = [TRUSTING[0], ("RATE_LIMIT_RPS", "1"), ("RATE_LIMIT_BURST", "5")];
    let mut pipeline = Pipeline::new(&limit, REGISTRY);
    pipeline.publish("acme/device/p1/telemetry", "{}");
    pipeline.settle();
    let messages: Vec<_> = (0..BACKLOG)
        .map(|seq| to("acme/device/p1/telemetry", format!(r#"{{"seq":{seq}}}"#)))
        .collect();
    let began = Instant::now();
    backlog(&mut pipeline, &messages);
    let stored: u64 = pipeline.value("SELECT count(*) FROM telemetry").parse().unwrap();
    // The first message and the burst at the least; one a second more at the most.
    let most = 5 + 1 + began.elapsed().as_secs() + 2;
    assert!((6..=most).contains(&stored), "{stored} of {BACKLOG}");
}

#[test]
fn a_device_gains_nothing_by_the_times_it_writes() {
    let limit = [TRUSTING[0], ("RATE_LIMIT_RPS", "0.01"), ("RATE_LIMIT_BURST", "5")];
    let mut pipeline = Pipeline::new(&limit, REGISTRY);
    let now = sluice::clock::now();
    for device in ["p1", "p2"] {
        let spread = |number: i64| {
            let ts = now.plus_seconds(-20_000 + number * 200).to_utc().to_rfc3339();
            to(&format!("acme/device/{device}/telemetry"), format!(r#"{{"ts":"{ts}"}}"#))
        };
        // Forwards, backwards, and all of one moment.
        pipeline.send(&(0..100).map(spread).collect::<Vec<_>>());
        pipeline.send(&(0..100).rev().map(|number| spread(number + 100)).collect::<Vec<_>>());
        pipeline.send(&(0..100).map(|_| spread(0)).collect::<Vec<_>>());
    }
    pipeline.settle();
    let most = "SELECT max(count) FROM (SELECT count(*) FROM telemetry GROUP BY device_id) c";
    let most: u64 = pipeline.value(most).parse().unwrap();
    assert!((5..=7).contains(&most), "{most} messages of a device passed");
}
