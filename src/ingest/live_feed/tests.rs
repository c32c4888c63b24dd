//! Tests of the feed: bounds, lists, and that no listener costs nothing.

use bytes::Bytes;

use super::*;
use crate::domain::publisher::Publisher;
use crate::telemetry::metrics::Metrics;

fn feed() -> LiveFeed {
    LiveFeed::new(Metrics::new().unwrap().live)
}

fn all() -> LiveSearch {
    LiveSearch::default()
}

fn of(text: &str) -> LiveSearch {
    LiveSearch::read(text, None).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(0).plus_seconds(second)
}

fn delivery(device: u64) -> Delivery {
    Delivery {
        topic: Bytes::from(format!("tenant/acme/device/pump-{device}/telemetry")),
        payload: Bytes::from_static(b"{}"),
        cut_from: None,
        received_at: at(0),
        held_since: at(0),
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

fn show(feed: &LiveFeed, second: i64, devices: u64) {
    let mut round = feed.round(at(second));
    for device in 0..devices {
        round.decided(&delivery(device), LiveOutcome::Accepted, None);
    }
}

#[test]
fn a_listener_gets_what_it_wants_and_nothing_after_its_end() {
    let feed = feed();
    assert!(!feed.is_wanted());
    let (one, other) = (feed.listen(of("pump-1")), feed.listen(all()));
    assert!(feed.is_wanted());
    show(&feed, 1, 3);
    let devices: Vec<_> = one.take().into_iter().filter_map(|line| line.device_id).collect();
    assert_eq!((devices, other.take().len()), (vec!["pump-1".to_owned()], 3));
    assert_eq!(one.take().len(), 0);
    drop(one);
    assert!(feed.is_wanted());
    drop(other);
    assert!(!feed.is_wanted());
    let metrics = &feed.shared.metrics;
    assert_eq!((metrics.formatted.get(), metrics.listeners.get()), (4, 0));
}

#[test]
fn a_flood_is_sampled_before_it_is_formatted_and_a_slow_reader_loses_the_oldest() {
    let feed = feed();
    let listener = feed.listen(all());
    for second in 1..=10 {
        show(&feed, second, 1_000);
    }
    let counts = listener.counts();
    assert_eq!((counts.matched, counts.shown, counts.dropped), (10_000, 200, 100));
    assert_eq!(feed.shared.metrics.formatted.get(), 200);
    assert_eq!(feed.shared.metrics.dropped.get(), 100);
    assert_eq!(listener.take().len(), STREAM_LINES);
}

#[test]
fn a_list_is_kept_while_it_is_read() {
    let feed = feed();
    let first = feed.recent(all(), at(0));
    assert!(first.lines.is_empty() && first.since == at(0) && feed.is_wanted());
    for second in 1..=5 {
        show(&feed, second, 20);
    }
    let second = feed.recent(all(), at(200));
    assert_eq!((second.lines.len(), second.since), (RECENT_LINES, at(0)));
    assert_eq!(second.counts, LiveCounts { matched: 100, shown: 100, dropped: 0 });
    assert_eq!(second.lines[0].device_id.as_deref(), Some("pump-19"), "the newest first");
    show(&feed, 200 + LIST_SECONDS, 1);
    assert!(feed.is_wanted());
    show(&feed, 201 + LIST_SECONDS, 1);
    assert!(!feed.is_wanted(), "nobody has read it lately");
    assert!(feed.recent(all(), at(1_000)).lines.is_empty());
}

#[test]
fn lists_are_bounded_and_differ_by_tenant() {
    let feed = feed();
    let bound = |tenant: &str| LiveSearch::read("", Some(tenant.parse().unwrap())).unwrap();
    feed.recent(bound("zeta"), at(0));
    feed.recent(bound("acme"), at(1));
    show(&feed, 2, 1);
    assert_eq!(feed.recent(bound("zeta"), at(2)).lines.len(), 0);
    assert_eq!(feed.recent(bound("acme"), at(3)).lines.len(), 1);
    for number in 0..20 {
        feed.recent(of(&format!("pump-{number}")), at(4 + number));
    }
    assert_eq!(feed.lock().len(), LISTS_MAX);
    assert!(feed.recent(bound("acme"), at(50)).lines.is_empty(), "it made room");
}
