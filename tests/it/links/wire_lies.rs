//! One connection to a broker that lies about its limits, answers what was never sent, or breaks MQTT.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Map, json};
use sluice::broker::error::BrokerError;
use sluice::broker::remote::connection::RemoteConnection;
use sluice::broker::remote::event::RemoteEvent;
use sluice::broker::remote::target::RemoteTarget;
use sluice::config::sections::broker::{BrokerConfig, BrokerJwt, JwtPlace};

use super::cloud::TokenKeys;
use super::wire::{ended, message, next, opened, refused, run, target};
use crate::broker::peer::{
    CONNECT, Caller, PINGREQ, PUBACK, PUBCOMP, PUBREC, Peer, SUBSCRIBE, packet, publish,
};
use crate::broker::tokens::AUTH;

/// PUBLISH at QoS 1.
pub const PUBLISH: u8 = 0x32;
/// DISCONNECT with a body.
const DISCONNECT: u8 = 0xe0;

/// A CONNACK that accepts, with these properties.
fn connack(properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, u8::try_from(properties.len()).unwrap()];
    body.extend_from_slice(properties);
    body
}

/// A peer that plays a script on its first connection, in a thread of its own.
fn play(script: impl FnOnce(&mut Caller) + Send + 'static) -> (RemoteTarget, JoinHandle<()>) {
    let peer = Peer::listen();
    let target = target(peer.port());
    (target, thread::spawn(move || script(&mut peer.accept())))
}

/// A connection to a peer whose CONNACK has these properties, and what the peer does then.
pub fn granted(
    properties: &'static [u8],
    script: impl FnOnce(&mut Caller) + Send + 'static,
) -> (RemoteTarget, JoinHandle<()>) {
    play(move |caller| {
        caller.answer_connect(&connack(properties));
        script(caller);
    })
}

fn answered(event: Result<RemoteEvent, BrokerError>) -> (u16, u8, Option<String>) {
    match event {
        Ok(RemoteEvent::Answered { packet_id, code, reason }) => (packet_id, code, reason),
        other => panic!("{other:?}"),
    }
}

fn packet_id(body: &[u8]) -> u16 {
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    u16::from_be_bytes([body[2 + topic], body[3 + topic]])
}

#[test]
fn what_connack_grants_is_taken_over_whatever_else_it_says() {
    // Session expiry 9, assigned id "given", topic aliases 7, reason "hm", a user property, wildcards and
    // shares denied, response information, server reference, method and data of authentication.
    let properties = b"\x11\0\0\0\x09\x12\0\x05given\x22\0\x07\x1f\0\x02hm\x26\0\x01a\0\x01b\x28\0\x2a\0\x1a\0\x01r\x1c\0\x01s\x15\0\x01m\x16\0\x01d\x25\0";
    let (target, peer) = granted(properties, |_| {});
    run(async {
        let connection = opened(&target).await;
        let granted = connection.granted();
        assert_eq!((granted.session_expiry, granted.topic_alias_maximum), (9, 7));
        assert_eq!(granted.assigned_client_id.as_deref(), Some("given"));
        assert_eq!(granted.reason.as_deref(), Some("hm"));
        assert!(!granted.wildcard && !granted.shared && !granted.retain);
        assert_eq!((granted.receive_maximum, granted.maximum_packet), (u16::MAX, None));
    });
    peer.join().unwrap();
}

#[test]
fn the_window_is_the_brokers_and_one_if_it_says_zero() {
    for (properties, window) in [(b"\x21\0\0", 1_u16), (b"\x21\0\x01", 1), (b"\x21\0\x02", 2)] {
        let (target, peer) = granted(properties, move |caller| {
            for _ in 0..3 {
                let ids: Vec<u16> =
                    (0..window).map(|_| packet_id(&caller.expect(PUBLISH))).collect();
                // An answer to a message that was never sent makes no room.
                caller.send(&packet(PUBACK, &[0xff, 0xf0]));
                ids.iter().rev().for_each(|id| caller.send(&packet(PUBACK, &id.to_be_bytes())));
            }
        });
        run(async {
            let mut connection = opened(&target).await;
            for _ in 0..3 {
                for _ in 0..window {
                    connection.publish(&message("a", "x")).unwrap();
                }
                assert!(!connection.has_room());
                assert_eq!(connection.publish(&message("a", "x")).unwrap_err().0, 0x93);
                for _ in 0..window {
                    assert_eq!(answered(next(&mut connection).await).1, 0);
                }
                assert_eq!(connection.unanswered(), 0);
            }
        });
        peer.join().unwrap();
    }
}

#[test]
fn a_message_that_the_broker_cannot_take_is_not_sent_and_the_next_one_is() {
    // Largest packet 1024; no retained messages.
    let (target, peer) = granted(b"\x27\0\0\x04\0\x25\0", |caller| {
        let body = caller.expect(PUBLISH);
        assert!(body.len() <= 1024 && body.ends_with(b"small"));
        let [high, low] = packet_id(&body).to_be_bytes();
        caller.send(&packet(PUBACK, &[high, low, 0x87, 6, 0x1f, 0, 3, b'n', b'o', b'\n']));
    });
    run(async {
        let mut connection = opened(&target).await;
        let refused = |connection: &mut RemoteConnection, message| {
            connection.publish(&message).unwrap_err().0
        };
        assert_eq!(refused(&mut connection, message("a", vec![b'x'; 1024])), 0x95);
        assert_eq!(refused(&mut connection, message("a", "x").retained()), 0x9a);
        connection.publish(&message("a", "small")).unwrap();
        let (_, code, reason) = answered(next(&mut connection).await);
        assert_eq!((code, reason.as_deref()), (0x87, Some("no")));
    });
    peer.join().unwrap();

    let (lossy, peer) = granted(b"\x24\0", |_| {});
    run(async {
        let code = opened(&lossy).await.publish(&message("a", "x")).unwrap_err().0;
        assert_eq!(code, 0x9b, "a link needs PUBACK");
    });
    peer.join().unwrap();
}

#[test]
fn a_connack_that_is_none_or_refuses_is_an_error_with_what_the_broker_said() {
    type Is = fn(&BrokerError) -> bool;
    let cases: [(Vec<u8>, Is); 8] = [
        (packet(0x20, &[0, 0x87, 9, 0x1f, 0, 2, b'n', b'o', 0x1c, 0, 1, b's']), |error| {
            let BrokerError::Refused { code: 0x87, reason, server } = error else { return false };
            reason.as_deref() == Some("no") && server.as_deref() == Some("s")
        }),
        // MQTT 3.1.1's.
        (packet(0x20, &[0, 5]), |error| matches!(error, BrokerError::Refused { code: 5, .. })),
        (packet(DISCONNECT, &[0x8b]), |error| matches!(error, BrokerError::Dismissed(_))),
        (packet(AUTH, &[0x18, 0]), |error| {
            matches!(error, BrokerError::AuthContinued { code: 0x18 })
        }),
        (packet(0x90, &[0, 1, 0, 1]), |error| matches!(error, BrokerError::Protocol(_))),
        // A largest packet of no bytes.
        (packet(0x20, &connack(b"\x27\0\0\0\0")), |error| {
            matches!(error, BrokerError::Protocol(_))
        }),
        (format!("HTTP/1.1 400 Bad Request\r\nX: {}\r\n\r\n", "x".repeat(90)).into(), |error| {
            matches!(error, BrokerError::Protocol(_))
        }),
        (Vec::new(), |error| matches!(error, BrokerError::ClosedEarly)),
    ];
    for (answer, is_right) in cases {
        let (target, peer) = play(move |caller| {
            caller.expect(CONNECT);
            caller.send(&answer);
        });
        let error = run(refused(&target));
        assert!(is_right(&error), "{error:?}");
        peer.join().unwrap();
    }
}

#[test]
fn a_broker_that_breaks_mqtt_gets_a_disconnect_with_the_reason() {
    let alias = packet(PUBLISH, b"\0\0\0\x07\x03\x23\0\x01x");
    for (lie, farewell) in [
        (packet(0x90, &[0, 1, 0, 1]), 0x81),
        (packet(0x90, &[0, 1, 0, 1, 1, 1]), 0x81),
        // A second CONNACK, and AUTH for which nothing was sent: packets out of turn.
        (packet(0x20, &[0, 0, 0]), 0x82),
        (packet(0xf0, &[0, 0]), 0x82),
        (packet(0xf0, &[0x18, 0]), 0x82),
        (packet(0x30, &[0xff; 4])[..1].iter().copied().chain([0xff; 5]).collect(), 0x81),
        (alias, 0x94),
    ] {
        let (target, peer) = granted(b"", move |caller| {
            assert!(caller.expect(SUBSCRIBE).ends_with(b"b/#\x11"));
            caller.send(&packet(PUBACK, &[0, 1]));
            // It never subscribed with this identifier.
            caller.send(&packet(0x90, &[1, 0, 0, 1]));
            caller.send(&lie);
            assert_eq!(caller.expect(DISCONNECT), [farewell]);
            caller.expect_end();
        });
        run(async {
            let mut connection = opened(&target).await;
            assert_eq!(connection.subscribe(&[("a", 0), ("b/#", 1)]).unwrap(), 1);
            let error = ended(&mut connection).await;
            assert!(matches!(error, BrokerError::Protocol(_)), "{error:?}");
            drop(connection);
        });
        peer.join().unwrap();
    }
}

#[test]
fn what_came_before_the_end_is_reported_before_it() {
    let (target, peer) = granted(b"", |caller| {
        let [high, low] = packet_id(&caller.expect(PUBLISH)).to_be_bytes();
        let bytes = [packet(PUBACK, &[high, low]), packet(DISCONNECT, &[0x8e])].concat();
        caller.send(&bytes);
    });
    run(async {
        let mut connection = opened(&target).await;
        let sent = connection.publish(&message("a", "x")).unwrap();
        assert_eq!(answered(next(&mut connection).await), (sent, 0, None));
        let error = ended(&mut connection).await;
        assert!(error.is_takeover(), "{error:?}");
        assert!(matches!(ended(&mut connection).await, BrokerError::Closed), "the end stays");
    });
    peer.join().unwrap();
}

#[test]
fn messages_are_acknowledged_as_their_quality_requires_and_the_largest_are_cut() {
    let (mut target, peer) = granted(b"", |caller| {
        caller.send(&publish(0x30 | 4, 7, b"", b"twice"));
        caller.expect_answer(PUBREC, 7);
        caller.send(&packet(0x62, &[0, 7]));
        caller.expect_answer(PUBCOMP, 7);
        // An invalid property list: the message is delivered without properties.
        caller.send(&publish(PUBLISH, 8, &[0x7f], b"odd"));
        caller.expect_answer(PUBACK, 8);
        caller.send(&publish(PUBLISH | 8, 9, b"", &vec![b'x'; 500_000]));
        caller.expect_answer(PUBACK, 9);
        // Without a packet identifier: it cannot be acknowledged, and is skipped.
        caller.send(&packet(PUBLISH, b"\0\x01a"));
        caller.send(&publish(PUBLISH, 10, b"", b"last"));
        caller.expect_answer(PUBACK, 10);
    });
    target.broker.max_packet_bytes = 100_000;
    run(async {
        let mut connection = opened(&target).await;
        for (payload, cut_from, dup) in [
            (&b"twice"[..], None, false),
            (b"odd", None, false),
            (b"x", Some(500_000), true),
            (b"last", None, false),
        ] {
            let RemoteEvent::Message(message) = next(&mut connection).await.unwrap() else {
                panic!("no message")
            };
            assert!(message.payload.starts_with(payload), "{:?}", message.payload);
            assert_eq!((message.cut_from, message.dup), (cut_from, dup));
            connection.acknowledge(&message.ack.unwrap());
        }
        assert!(matches!(ended(&mut connection).await, BrokerError::Closed));
    });
    peer.join().unwrap();
}

#[test]
fn pings_follow_the_brokers_keepalive_and_a_silent_broker_is_noticed() {
    let (target, peer) = granted(b"\x13\0\x01", |caller| {
        for _ in 0..2 {
            caller.expect(PINGREQ);
            caller.send(&[0xd0, 0]);
        }
        caller.expect(PINGREQ);
        caller.expect_end();
    });
    run(async {
        let mut connection = opened(&target).await;
        let error = ended(&mut connection).await;
        assert!(matches!(error, BrokerError::Silent { seconds: 1 }), "{error:?}");
        drop(connection);
    });
    peer.join().unwrap();
}

#[test]
fn a_refused_renewal_is_one_error_and_any_other_end_is_itself() {
    type Is = fn(&BrokerError) -> bool;
    let keys = TokenKeys::new();
    let is_refused: Is = |error| matches!(error, BrokerError::RenewalRefused { code: 0x87 });
    let cases: [(Vec<u8>, Is); 4] = [
        (packet(0x20, &[0, 0x87, 0]), is_refused),
        (packet(DISCONNECT, &[0x87]), is_refused),
        (packet(DISCONNECT, &[0x8b]), |error| matches!(error, BrokerError::Dismissed(_))),
        (packet(AUTH, &[0x18, 0]), |error| matches!(error, BrokerError::AuthContinued { .. })),
    ];
    let play_one = |(answer, is_right): (Vec<u8>, Is)| {
        let (target, peer) = granted(b"", move |caller| {
            // The first renewal is accepted.
            assert_eq!(caller.expect(AUTH)[0], 0x19);
            caller.send(&packet(AUTH, &[]));
            caller.expect(AUTH);
            caller.send(&answer);
        });
        let claims = json!({ "iss": "i", "sub": "s" });
        let jwt = BrokerJwt {
            key: keys.private(),
            key_id: None,
            claims: claims.as_object().cloned().unwrap_or_else(Map::new),
            lifetime: Duration::from_secs(2),
            place: JwtPlace::Enhanced,
        };
        let broker = BrokerConfig { jwt: Some(jwt), ..target.broker.clone() };
        (RemoteTarget { broker, ..target }, peer, is_right)
    };
    let played = cases.map(play_one);
    run(async {
        for (target, peer, is_right) in played {
            let mut connection = opened(&target).await;
            assert!(connection.token_expires_at().is_some());
            assert!(matches!(next(&mut connection).await, Ok(RemoteEvent::Renewed)));
            let error = ended(&mut connection).await;
            assert!(is_right(&error), "{error:?}");
            peer.join().unwrap();
        }
    });
}

/// A caller may give up waiting at any moment: nothing is lost and nothing is sent twice.
#[test]
fn an_event_that_is_not_awaited_to_the_end_is_not_lost() {
    const MESSAGES: u16 = 60;
    let payload = |number: u16| vec![u8::try_from(number).unwrap(); 50_000];
    let (target, peer) = granted(b"", move |caller| {
        for number in 0..MESSAGES {
            let body = caller.expect(PUBLISH);
            assert!(body.ends_with(&payload(number)), "{number}");
            caller.send(&packet(PUBACK, &packet_id(&body).to_be_bytes()));
            caller.send(&publish(PUBLISH, number + 1, b"", &payload(number)));
        }
        for number in 0..MESSAGES {
            caller.expect_answer(PUBACK, number + 1);
        }
    });
    run(async {
        let mut connection = opened(&target).await;
        let sent: Vec<u16> = (0..MESSAGES)
            .map(|number| connection.publish(&message("a", payload(number))).unwrap())
            .collect();
        let (mut answers, mut messages) = (Vec::new(), Vec::new());
        while answers.len() + messages.len() < 2 * usize::from(MESSAGES) {
            let impatient = tokio::time::timeout(Duration::from_micros(50), connection.next());
            match impatient.await {
                Err(_) => {}
                Ok(Ok(RemoteEvent::Answered { packet_id, .. })) => answers.push(packet_id),
                Ok(Ok(RemoteEvent::Message(message))) => {
                    connection.acknowledge(message.ack.as_ref().unwrap());
                    messages.push(message.payload);
                }
                Ok(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(answers, sent);
        assert!(messages.iter().zip(0..).all(|(found, number)| *found == payload(number)));
        connection.close().await;
    });
    peer.join().unwrap();
}
