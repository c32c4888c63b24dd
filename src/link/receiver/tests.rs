//! What a receiver hands to the spine, and when it stops reading.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::domain::message::ConnectionId;
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::link::settings::{IngestName, IngestNamePart};
use crate::telemetry::metrics::Metrics;

/// The value of one series in the exposition text.
fn counted(metrics: &Metrics, series: &str) -> Option<String> {
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit_once(' ').map(|(_, value)| value.to_owned())
}

struct Rig {
    receiver: LinkReceiver,
    spine: mpsc::Receiver<Vec<Delivery>>,
    metrics: Metrics,
}

fn rig() -> Rig {
    let metrics = Metrics::new().unwrap();
    let (deliveries, spine) = mpsc::channel(1);
    let context = ReceiverContext {
        node: "here".into(),
        deliveries,
        broker_metrics: metrics.broker.clone(),
        metrics: metrics.link_ingest.clone(),
        clock: || Timestamp::from_micros(1_000_000),
    };
    let rule = IngestRule {
        filter: "devices/+/events".to_owned(),
        tenant: IngestName(vec![IngestNamePart::Text("acme".to_owned())]),
        device: IngestName(vec![IngestNamePart::Level(2)]),
        msg_type: IngestName(vec![IngestNamePart::Text("telemetry".to_owned())]),
        lenient: false,
    };
    let link = "cloud".parse().unwrap();
    let mut receiver = LinkReceiver::new(link, &[rule.clone(), rule], context);
    receiver.connecting();
    receiver.connected(false);
    Rig { receiver, spine, metrics }
}

fn message(topic: &str, packet_id: u16, payload: &str) -> RemoteMessage {
    let connection = ConnectionId::of_link(0, 1);
    RemoteMessage {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        cut_from: None,
        content_type: None,
        user_properties: Vec::new(),
        correlation: None,
        expires_in: None,
        is_retained: false,
        dup: false,
        received_at: Timestamp::from_micros(1_000_000),
        ack: (packet_id > 0).then_some(AckToken { connection, packet_id, exactly_once: false }),
    }
}

fn with(name: &str, value: &str, message: RemoteMessage) -> RemoteMessage {
    RemoteMessage { user_properties: vec![(name.to_owned(), value.to_owned())], ..message }
}

async fn handed(rig: &mut Rig) -> Vec<Delivery> {
    rig.receiver.hand_over().await.unwrap();
    rig.spine.recv().await.unwrap()
}

#[tokio::test]
async fn a_message_becomes_a_delivery_of_its_device() {
    let mut rig = rig();
    assert_eq!(rig.receiver.filters(), ["devices/+/events"]);
    rig.receiver.take(message("devices/p1/events", 7, "{}"));
    let delivery = handed(&mut rig).await.pop().unwrap();
    assert_eq!(delivery.topic, "tenant/acme/device/p1/telemetry");
    assert_eq!(delivery.ack.as_ref().map(|ack| ack.packet_id), Some(7));
    let arrival = delivery.arrival.unwrap();
    assert_eq!(
        (arrival.link.as_str(), arrival.refusal, arrival.is_ignored),
        ("cloud", None, false)
    );
    assert_eq!(counted(&rig.metrics, "sluice_queue_depth "), Some("1".to_owned()));
}

#[tokio::test]
async fn a_message_that_no_rule_fits_is_refused_with_its_topic_and_kept_whole() {
    let mut rig = rig();
    rig.receiver.take(message("other/p1", 1, "{}"));
    rig.receiver.take(message("devices/a b/events", 2, "{}"));
    let event = with("specversion", "1.0", message("devices/p1/events", 3, "{}"));
    rig.receiver.take(event);
    let refusals = handed(&mut rig).await.into_iter().map(|delivery| {
        let refusal = delivery.arrival.unwrap().refusal.unwrap();
        (delivery.topic, refusal.reason, refusal.detail.into_owned())
    });
    let refusals: Vec<_> = refusals.collect();
    assert_eq!(
        refusals[0],
        (
            Bytes::from_static(b"other/p1"),
            Reason::BadTopicFormat,
            "link cloud: no ingest rule matches the topic other/p1".to_owned()
        )
    );
    assert_eq!(refusals[1].1, Reason::BadTopicFormat);
    assert!(
        refusals[1].2.contains("devices/a b/events gives tenant/acme/device/a b/"),
        "{refusals:?}"
    );
    assert_eq!(
        (refusals[2].1, &*refusals[2].2),
        (Reason::BadPayload, "link cloud: the attribute id is missing")
    );
}

#[tokio::test]
async fn own_messages_and_topics_of_the_broker_are_ignored_in_their_order() {
    let mut rig = rig();
    rig.receiver.take(with("sluicenode", "there,here", message("devices/p1/events", 1, "{}")));
    rig.receiver.take(message("$SYS/broker/uptime", 2, "5"));
    rig.receiver.take(with("sluicenode", "there", message("devices/p1/events", 3, "{}")));
    let chunk = handed(&mut rig).await;
    let ignored: Vec<bool> =
        chunk.iter().map(|delivery| delivery.arrival.as_ref().unwrap().is_ignored).collect();
    assert_eq!(ignored, [true, true, false]);
    assert_eq!(chunk[2].arrival.as_ref().unwrap().via, ["there".into()] as [Box<str>; 1]);
    assert!(chunk.iter().all(|delivery| delivery.ack.is_some()));
}

#[tokio::test]
async fn a_full_spine_stops_reading_and_a_cancelled_hand_over_keeps_the_messages() {
    let mut rig = rig();
    rig.receiver.take(message("devices/p1/events", 1, "{}"));
    rig.receiver.hand_over().await.unwrap();
    for packet_id in 2..=u16::try_from(MOST_WAITING).unwrap() + 1 {
        assert!(rig.receiver.has_room());
        rig.receiver.take(message("devices/p1/events", packet_id, "{}"));
    }
    assert!(!rig.receiver.has_room());
    tokio::select! {
        biased;
        handed = rig.receiver.hand_over() => panic!("the queue is full: {handed:?}"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(rig.spine.recv().await.unwrap().len(), 1);
    assert_eq!(handed(&mut rig).await.len(), CHUNK);
    assert!(rig.receiver.has_room());
    for _ in 1..MOST_WAITING / CHUNK {
        assert_eq!(handed(&mut rig).await.len(), CHUNK);
    }
    assert!(rig.receiver.waiting.is_empty() && rig.receiver.at_most_once == 0);
}

#[tokio::test]
async fn messages_that_consist_of_properties_stop_reading_as_those_with_large_payloads_do() {
    let mut rig = rig();
    let value = "x".repeat(500_000);
    let mut taken = 0;
    for packet_id in 1..=1000 {
        if !rig.receiver.has_room() {
            break;
        }
        rig.receiver.take(with("a", &value, message("devices/p1/events", packet_id, "{}")));
        taken = packet_id;
    }
    assert!((130..=140).contains(&taken), "{taken} messages of half a megabyte");
}

#[tokio::test]
async fn a_message_that_was_handed_over_and_not_acknowledged_is_recognized_once() {
    let mut rig = rig();
    for packet_id in [1, 2] {
        rig.receiver.take(message("devices/p1/events", packet_id, "{}"));
    }
    let tokens: Vec<AckToken> =
        handed(&mut rig).await.into_iter().filter_map(|delivery| delivery.ack).collect();
    rig.receiver.acknowledged(&tokens[..1]);
    rig.receiver.take(message("devices/p1/events", 3, "{}"));
    rig.receiver.connection_ended();
    rig.receiver.connecting();
    rig.receiver.connected(true);
    for packet_id in [1, 2, 3] {
        let message = message("devices/p1/events", packet_id, "{}");
        rig.receiver.take(RemoteMessage { dup: true, ..message });
    }
    let redelivered: Vec<bool> =
        handed(&mut rig).await.iter().map(|delivery| delivery.redelivered).collect();
    assert_eq!(redelivered, [false, true, false], "1 is acknowledged, 3 was never handed over");
}

#[tokio::test]
async fn a_large_event_of_which_only_the_head_is_here_is_left_to_the_size_check() {
    let mut rig = rig();
    let message = message("devices/p1/events", 1, r#"{"specversion":"#);
    let content_type = Some("application/cloudevents+json".to_owned());
    rig.receiver.take(RemoteMessage { cut_from: Some(9_000_000), content_type, ..message });
    let delivery = handed(&mut rig).await.pop().unwrap();
    assert_eq!(delivery.cut_from, Some(9_000_000));
    assert_eq!(delivery.arrival.unwrap().refusal, None);
}

#[tokio::test]
async fn without_a_spine_nothing_is_taken() {
    let Rig { mut receiver, spine, .. } = rig();
    drop(spine);
    receiver.take(message("devices/p1/events", 0, "{}"));
    assert_eq!(receiver.hand_over().await, Err(SpineEnded));
}
