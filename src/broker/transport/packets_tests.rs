//! For any bytes and any division of them, the packets are the same, and nothing panics.

use super::malformed::Malformed;
use super::packets::*;
use crate::domain::quarantine_sampling::QUARANTINE_PAYLOAD_MAX;
use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5 as codec;

const LIMIT: usize = 1 << 20;

fn split_all(limit: usize, stream: &[u8], chunk: usize) -> (Vec<Incoming>, Result<(), Malformed>) {
    let mut splitter = Splitter::new(limit);
    let mut inbox = BytesMut::new();
    let mut out = Vec::new();
    for part in stream.chunks(chunk.max(1)) {
        inbox.extend_from_slice(part);
        if let Err(error) = splitter.split(&mut inbox, &mut out) {
            return (out, Err(error));
        }
    }
    (out, Ok(()))
}

fn one(stream: &[u8]) -> Incoming {
    let (mut out, result) = split_all(LIMIT, stream, stream.len());
    assert_eq!((out.len(), result), (1, Ok(())));
    out.remove(0)
}

fn encoded(topic: &str, payload: &[u8], packet_id: u16, dup: bool) -> Vec<u8> {
    let mut publish = codec::Publish::new(topic, QoS::AtLeastOnce, payload.to_vec(), None);
    (publish.pkid, publish.dup) = (packet_id, dup);
    let mut buffer = BytesMut::new();
    publish.write(&mut buffer).unwrap();
    buffer.to_vec()
}

/// A packet with this first byte and body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    while left >= 0x80 {
        bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    bytes.push(u8::try_from(left).unwrap());
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn a_publish_of_the_codec_reads_back() {
    let Incoming::Publish(publish) = one(&encoded("a/b", b"{}", 7, true)) else {
        panic!("no PUBLISH")
    };
    assert_eq!((&publish.topic[..], &publish.payload[..]), (&b"a/b"[..], &b"{}"[..]));
    assert_eq!((publish.packet_id, publish.qos, publish.dup), (7, 1, true));
    assert_eq!((publish.cut_from, publish.malformed), (None, false));
}

#[test]
fn properties_are_stepped_over_even_when_they_make_no_sense() {
    // Property 0x7f does not exist; content type (3) with bytes that are not UTF-8.
    for properties in [&[0x7f, 1, 2][..], &[3, 0, 2, 0xff, 0xfe][..]] {
        let mut body = b"\0\x01t\0\x05".to_vec();
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend_from_slice(properties);
        body.extend_from_slice(b"payload");
        let Incoming::Publish(publish) = one(&packet(0x32, &body)) else { panic!("no PUBLISH") };
        assert_eq!(
            (&publish.payload[..], publish.packet_id, publish.malformed),
            (&b"payload"[..], 5, false)
        );
    }
}

#[test]
fn a_property_list_longer_than_the_packet_keeps_topic_and_packet_id() {
    let Incoming::Publish(publish) = one(&packet(0x32, b"\0\x01t\0\x05\x7frest")) else {
        panic!("no PUBLISH")
    };
    assert_eq!(
        (&publish.payload[..], publish.packet_id, publish.malformed),
        (&b"\x7frest"[..], 5, true)
    );
}

#[test]
fn a_publish_without_topic_or_packet_id_is_unreadable_and_the_next_packet_is_read() {
    for body in [&b""[..], b"\0", b"\0\x09abc", b"\0\x01t", b"\0\x01t\0"] {
        let mut stream = packet(0x32, body);
        stream.extend(encoded("t", b"good", 1, false));
        let (out, result) = split_all(LIMIT, &stream, stream.len());
        assert_eq!((out.len(), &out[0], result), (2, &Incoming::Unreadable, Ok(())), "{body:?}");
    }
    assert_eq!(one(&packet(0x36, b"\0\x01t\0\x05\0x")), Incoming::Unreadable);
}

#[test]
fn an_oversize_publish_is_cut_and_the_next_packet_is_read() {
    let size = CUT_KEEP + 5000;
    let mut stream = encoded("big", &vec![b'x'; size], 3, false);
    stream.extend(encoded("small", b"y", 4, false));
    for chunk in [1000, 4096, stream.len()] {
        let (out, result) = split_all(1000, &stream, chunk);
        assert_eq!(result, Ok(()));
        let [Incoming::Publish(big), Incoming::Publish(small)] = &out[..] else {
            panic!("{}", out.len())
        };
        assert_eq!((big.cut_from, big.packet_id, &big.topic[..]), (Some(size), 3, &b"big"[..]));
        assert!(big.payload.len() >= QUARANTINE_PAYLOAD_MAX && big.payload.len() < size);
        assert_eq!((small.cut_from, small.packet_id), (None, 4));
    }
}

#[test]
fn a_publish_over_a_small_limit_is_delivered_whole_but_marked() {
    let (out, _) = split_all(100, &encoded("t", &[b'x'; 200], 3, false), 7);
    let [Incoming::Publish(publish)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((publish.cut_from, publish.payload.len()), (Some(200), 200));
}

#[test]
fn properties_that_fill_all_that_is_kept_leave_an_empty_payload() {
    let mut body = b"\0\x01t\0\x05".to_vec();
    body.put_slice(&[0x80, 0x80, 0x40]);
    body.resize(body.len() + 0x0010_0000 + 10, b'p');
    let (out, _) = split_all(1000, &packet(0x32, &body), 65_536);
    let [Incoming::Publish(publish)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((publish.cut_from, publish.payload.len(), publish.malformed), (Some(10), 0, false));
}

#[test]
fn control_packets_read_with_and_without_their_properties() {
    let refused = |code| Incoming::ConnAck(ConnAck { code, ..ConnAck::default() });
    assert_eq!(one(&[0x20, 2, 0, 1]), refused(1));
    assert_eq!(one(&[0x20, 3, 0, 0x87, 0]), refused(0x87));
    let Incoming::ConnAck(full) = one(b"\x20\x0d\x01\x00\x0a\x13\0\x3c\x1f\0\x04why\n") else {
        panic!("no CONNACK")
    };
    assert_eq!(
        (full.session_present, full.server_keep_alive, full.reason.as_deref()),
        (true, Some(60), Some("why"))
    );
    let lacking = one(&[0x20, 11, 0, 0, 8, 0x24, 1, 0x25, 0, 0x28, 0, 0x2a, 0]);
    let Incoming::ConnAck(lacking) = lacking else { panic!("no CONNACK") };
    assert_eq!(
        lacking.abilities,
        Abilities { max_qos: 1, retained: false, wildcards: false, shared: false }
    );
    assert_eq!(
        one(&[0x90, 4, 0, 1, 0, 0x87]),
        Incoming::SubAck { packet_id: 1, codes: vec![0x87] }
    );
    assert_eq!(
        one(&[0xb0, 5, 0, 3, 0, 0, 0x11]),
        Incoming::UnsubAck { packet_id: 3, codes: vec![0, 0x11] }
    );
    assert_eq!(one(&[0x40, 2, 0, 9]), Incoming::PubAck { packet_id: 9, code: 0, reason: None });
    assert_eq!(
        one(&[0x40, 3, 0, 9, 0x87]),
        Incoming::PubAck { packet_id: 9, code: 0x87, reason: None }
    );
    assert_eq!(one(&[0x62, 2, 0, 9]), Incoming::PubRel { packet_id: 9 });
    assert_eq!(one(&[0xd0, 0]), Incoming::PingResp);
    assert_eq!(
        one(&[0xe0, 0]),
        Incoming::Disconnect(DisconnectReason { code: 0, reason: None, server: None })
    );
    assert_eq!(
        one(&[0xe0, 1, 0x8e]),
        Incoming::Disconnect(DisconnectReason { code: 0x8e, reason: None, server: None })
    );
    // A control character of the name is not shown.
    assert_eq!(
        one(&[0xe0, 7, 0x9d, 5, 0x1c, 0, 2, b's', b'\n']),
        Incoming::Disconnect(DisconnectReason {
            code: 0x9d,
            reason: None,
            server: Some("s".into())
        })
    );
}

#[test]
fn bytes_that_are_not_mqtt_are_an_error() {
    for (stream, error) in [
        (&[0x30, 0xff, 0xff, 0xff, 0xff][..], Malformed::Length),
        (&[0x50, 0], Malformed::Type(5)),
        (&[0x10, 0], Malformed::Type(1)),
        (&[0x20, 1, 0], Malformed::Body(2)),
        (&[0x90, 2, 0, 1], Malformed::Body(9)),
        (&[0x90, 0xff, 0xff, 0x7f], Malformed::Size(9)),
    ] {
        let (_, result) = split_all(LIMIT, stream, stream.len());
        assert_eq!(result, Err(error), "{stream:?}");
    }
}

#[test]
fn an_auth_without_a_code_means_success() {
    for (stream, code) in [(&[0xf0, 0][..], 0), (&[0xf0, 2, 0x18, 0], 0x18)] {
        let (packets, result) = split_all(LIMIT, stream, stream.len());
        assert_eq!((packets, result), (vec![Incoming::Auth { code }], Ok(())));
    }
}

fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        ("[a-z/]{0,20}", prop::collection::vec(any::<u8>(), 0..600), 1..u16::MAX, any::<bool>())
            .prop_map(|(topic, payload, packet_id, dup)| encoded(&topic, &payload, packet_id, dup)),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|body| packet(0x32, &body)),
        Just(vec![0xd0, 0]),
        Just(vec![0x90, 4, 0, 1, 0, 1]),
        Just(vec![0xe0, 1, 0x8b]),
    ]
}

proptest! {
    #[test]
    fn any_split_of_a_stream_yields_the_same_packets(
        packets in prop::collection::vec(any_packet(), 0..20), chunk in 1_usize..700, limit in 50_usize..1000,
    ) {
        let stream = packets.concat();
        let (whole, result) = split_all(limit, &stream, stream.len());
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(whole.len(), packets.len());
        prop_assert_eq!(split_all(limit, &stream, chunk), (whole, Ok(())));
    }

    #[test]
    fn no_bytes_make_it_panic_and_their_split_does_not_matter(
        stream in prop::collection::vec(any::<u8>(), 0..400), chunk in 1_usize..50, limit in 2_usize..300,
    ) {
        prop_assert_eq!(split_all(limit, &stream, chunk), split_all(limit, &stream, stream.len()));
    }

    #[test]
    fn no_body_of_a_known_type_makes_it_panic(first in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = split_all(LIMIT, &packet(first, &body), usize::MAX);
    }
}
