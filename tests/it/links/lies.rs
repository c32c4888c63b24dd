//! Brokers that lie to a whole daemon, one behind each link: each loses its own connection, and the
//! messages that come after it are taken in.

use std::sync::Arc;
use std::thread;

use super::linked::{is_ready, linked, mqtt_link};
use crate::broker::peer::{CONNECT, Caller, DISCONNECT, PINGREQ, PUBACK, Peer, SUBSCRIBE, packet};
use crate::support::wait;

/// PUBLISH at QoS 1.
const PUBLISH: u8 = 0x32;
/// A CONNACK that accepts and has no session.
const ACCEPTED: &[u8] = &[0, 0, 0];
/// The answer of the canary message.
const CANARY: [u8; 2] = [0, 40];
/// The largest packet that MQTT can announce.
const LARGEST: usize = 268_435_455;

/// What a broker does on its first connection, with a topic of the link's rule.
type Lie = fn(&mut Caller, &str);

/// A PUBLISH at QoS 1.
fn message(topic: &[u8], id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(topic);
    body.extend_from_slice(&id.to_be_bytes());
    // The length of the properties is written as that of a packet.
    body.extend_from_slice(&packet(0, properties)[1..]);
    body.extend_from_slice(payload);
    packet(PUBLISH, &body)
}

/// Reads CONNECT and SUBSCRIBE, and accepts both.
fn welcome(caller: &mut Caller, connack: &[u8]) {
    caller.answer_connect(connack);
    let body = caller.expect(SUBSCRIBE);
    caller.send(&packet(0x90, &[body[0], body[1], 0, 1]));
}

/// Waits for the acknowledgement of this message.
fn wait_puback(caller: &mut Caller, id: [u8; 2]) {
    loop {
        match caller.packet() {
            (PUBACK, body) if body[..2] == id => return,
            (PINGREQ, _) => caller.send(&[0xd0, 0]),
            (first, body) => assert_eq!(first, PUBACK, "{body:?}"),
        }
    }
}

/// Sends messages with this topic, the last of them in order, and waits for its acknowledgement.
fn odd_topic(caller: &mut Caller, odd: &[u8], topic: &str) {
    welcome(caller, ACCEPTED);
    caller.send(&message(odd, 1, b"", b"{}"));
    caller.send(&message(topic.as_bytes(), 2, b"", b"{\"seq\":2}"));
    wait_puback(caller, [0, 2]);
}

const LIES: [(&str, Lie); 10] = [
    ("a topic with NUL", |caller, topic| odd_topic(caller, b"in/\0/x", topic)),
    ("a topic that is not UTF-8", |caller, topic| odd_topic(caller, b"in/\xff\xfe", topic)),
    ("a topic with wildcards", |caller, topic| odd_topic(caller, b"in/+/#", topic)),
    ("the longest topic", |caller, topic| odd_topic(caller, &[b'a'; 65_535], topic)),
    ("one packet identifier for all messages", |caller, topic| {
        welcome(caller, ACCEPTED);
        for number in 0..1500 {
            let payload = format!("{{\"seq\":{number}}}");
            caller.send(&message(topic.as_bytes(), 7, b"", payload.as_bytes()));
        }
        (0..1500).for_each(|_| wait_puback(caller, [0, 7]));
    }),
    ("thousands of properties", |caller, topic| {
        welcome(caller, ACCEPTED);
        let properties = b"\x26\0\x01a\0\x01b".repeat(5000);
        caller.send(&message(topic.as_bytes(), 1, &properties, b"{\"seq\":1}"));
        wait_puback(caller, [0, 1]);
    }),
    ("a message of 256 MiB", |caller, topic| {
        welcome(caller, ACCEPTED);
        let head = message(topic.as_bytes(), 3, b"", b"");
        caller.send(&[PUBLISH, 0xff, 0xff, 0xff, 0x7f]);
        caller.send(&head[2..]);
        let block = vec![b'x'; 1 << 20];
        let mut left = LARGEST - (head.len() - 2);
        while left > 0 {
            let part = left.min(block.len());
            caller.send(&block[..part]);
            left -= part;
        }
        wait_puback(caller, [0, 3]);
    }),
    ("a length of five bytes", |caller, _| {
        welcome(caller, ACCEPTED);
        caller.send(&[PUBLISH, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(caller.expect(DISCONNECT), [0x81]);
    }),
    ("another address, in CONNACK", |caller, _| {
        caller.expect(CONNECT);
        caller.send(&packet(0x20, b"\0\x9d\x09\x1c\0\x06evil:1"));
        caller.expect_end();
    }),
    ("another address, later", |caller, _| {
        welcome(caller, ACCEPTED);
        caller.send(&packet(DISCONNECT, b"\x9d\x09\x1c\0\x06evil:1"));
        caller.expect_end();
    }),
];

#[test]
fn a_broker_that_lies_harms_no_other_link_and_is_let_in_again() {
    let peers: Vec<Arc<Peer>> = LIES.iter().map(|_| Arc::new(Peer::listen())).collect();
    let rule = "ingest = [{ filter = \"in/+\", tenant = \"acme\", device = \"{2}\" }]";
    let link =
        |(number, peer): (usize, &Arc<Peer>)| mqtt_link(&format!("l{number}"), peer.port(), rule);
    let it = linked(&peers.iter().enumerate().map(link).collect::<String>());
    let played = LIES.into_iter().zip(peers).enumerate().map(|(number, ((_, lie), peer))| {
        thread::spawn(move || {
            let topic = format!("in/d{number}");
            lie(&mut peer.accept(), &topic);
            let mut caller = peer.accept();
            welcome(&mut caller, ACCEPTED);
            let id = u16::from_be_bytes(CANARY);
            caller.send(&message(topic.as_bytes(), id, b"", b"{\"seq\":424242}"));
            wait_puback(&mut caller, CANARY);
            caller
        })
    });
    let played: Vec<_> = played.collect();
    for ((lie, _), thread) in LIES.iter().zip(played) {
        assert!(thread.join().is_ok(), "{lie}{}", wait::log_tails());
    }
    is_ready(&it);
    let taken_in = "SELECT count(*) FROM telemetry WHERE seq = 424242";
    assert_eq!(it.database.value(taken_in), LIES.len().to_string());
    let of_one_identifier = "SELECT count(DISTINCT seq) FROM telemetry WHERE device_id = 'd4'";
    assert_eq!(it.database.value(of_one_identifier), "1501");
    let reasons =
        "SELECT string_agg(link || ' ' || reason, ', ' ORDER BY link) FROM quarantine_events";
    assert_eq!(
        it.database.value(reasons),
        "l0 BAD_TOPIC_FORMAT, l1 BAD_TOPIC_FORMAT, l2 BAD_TOPIC_FORMAT, l3 BAD_TOPIC_FORMAT, \
         l6 PAYLOAD_TOO_LARGE"
    );
    // The log names the settings of the link, and not those of the local broker.
    let log = it.daemon.log();
    assert!(log.contains("link.l7.transport") && !log.contains("MQTT_TLS, and"), "{log}");
    assert!(log.contains("change link.l8.host") && log.contains("change link.l9.host"), "{log}");
}
