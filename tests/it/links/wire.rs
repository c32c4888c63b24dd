//! One connection to a real broker, over each transport: TCP, TLS, websockets, websockets over TLS.

use std::collections::BTreeSet;
use std::fs::{Permissions, set_permissions};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sluice::broker::error::BrokerError;
use sluice::broker::remote::connection::RemoteConnection;
use sluice::broker::remote::event::RemoteEvent;
use sluice::broker::remote::facts::RemoteFacts;
use sluice::broker::remote::target::{PACKET_PATIENCE, RemoteTarget, WebSocketRequest};
use sluice::broker::setting_names::SettingNames;
use sluice::config::secret::Secret;
use sluice::config::sections::broker::{BrokerConfig, BrokerJwt, BrokerTls, JwtPlace};
use sluice::domain::exchange::{OutgoingMessage, PublishTopic};
use sluice::domain::message::ConnectionId;
use sluice::domain::remote::RemoteMessage;

use super::cloud::{AUDIENCE, CloudBroker, ISSUER, TokenKeys};
use crate::broker::session_harness::config;
use crate::broker::tls::Authority;
use crate::support::dir::Scratch;
use crate::support::wait;

/// Generous: on a loaded machine a slow test is no failure.
const DEADLINE: Duration = Duration::from_mins(1);

/// The number of the connections of these tests.
pub const CONNECTION: ConnectionId = ConnectionId::of_link(0, 1);

/// How long a token of these tests is valid: it is renewed after 4.5 s.
const TOKEN_LIFETIME: Duration = Duration::from_secs(6);

/// Runs a test that waits.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Plain MQTT to this port, as the link `azure`.
pub fn target(port: u16) -> RemoteTarget {
    RemoteTarget {
        broker: BrokerConfig { session_expiry_seconds: 0, ..config(port) },
        names: SettingNames::Link("azure".parse().unwrap()),
        alpn: Vec::new(),
        websocket: None,
        clean_start: true,
        packet_patience: PACKET_PATIENCE,
    }
}

/// The same over TLS.
pub fn over_tls(port: u16, authority: &Authority) -> RemoteTarget {
    let mut target = target(port);
    target.broker.tls = Some(BrokerTls { ca_cert: Some(authority.path("ca.crt")), identity: None });
    target
}

/// The same over a websocket.
pub fn websocket(target: RemoteTarget) -> RemoteTarget {
    let host = format!("127.0.0.1:{}", target.broker.port);
    let path_and_query = Secret::new("/mqtt?x=1".to_owned());
    RemoteTarget { websocket: Some(WebSocketRequest { path_and_query, host }), ..target }
}

/// The broker's four transports.
pub fn transports(cloud: &CloudBroker) -> [(&'static str, RemoteTarget); 4] {
    [
        ("tcp", target(cloud.broker.port())),
        ("tls", over_tls(cloud.tls, &cloud.authority)),
        ("ws", websocket(target(cloud.ws))),
        ("wss", websocket(over_tls(cloud.wss, &cloud.authority))),
    ]
}

/// Connects, and what was seen on the way.
pub async fn open(target: &RemoteTarget) -> (Result<RemoteConnection, BrokerError>, RemoteFacts) {
    let mut facts = RemoteFacts::default();
    let opened = RemoteConnection::open(target, sluice::clock::now, CONNECTION, &mut facts).await;
    (opened, facts)
}

/// Connects, which must succeed.
pub async fn opened(target: &RemoteTarget) -> RemoteConnection {
    open(target).await.0.unwrap()
}

/// Connects, which must fail.
pub async fn refused(target: &RemoteTarget) -> BrokerError {
    open(target).await.0.err().expect("it connected")
}

/// The next event.
pub async fn next(connection: &mut RemoteConnection) -> Result<RemoteEvent, BrokerError> {
    tokio::time::timeout(DEADLINE, connection.next()).await.expect("no event")
}

/// The error that ends the connection; no event comes before it.
pub async fn ended(connection: &mut RemoteConnection) -> BrokerError {
    next(connection).await.expect_err("an event instead of the end")
}

/// A message with this payload.
pub fn message(topic: &str, payload: impl Into<Bytes>) -> OutgoingMessage {
    OutgoingMessage::json(PublishTopic::new(topic).unwrap(), payload)
}

/// Subscribes and waits for the answer.
async fn subscribed(connection: &mut RemoteConnection, filter: &str) -> Vec<u8> {
    let sent = connection.subscribe(&[(filter, 1)]).unwrap();
    match next(connection).await.unwrap() {
        RemoteEvent::Granted { packet_id, codes } if packet_id == sent => codes,
        other => panic!("{other:?}"),
    }
}

/// Publishes all messages with the broker's window, and returns those that came back, acknowledged.
async fn echoed(
    connection: &mut RemoteConnection,
    messages: &[OutgoingMessage],
) -> Vec<RemoteMessage> {
    let (mut waiting, mut echoes) = (messages.iter(), Vec::new());
    let mut unanswered = BTreeSet::new();
    loop {
        while connection.has_room()
            && let Some(message) = waiting.next()
        {
            assert!(unanswered.insert(connection.publish(message).unwrap()));
        }
        if echoes.len() == messages.len() && unanswered.is_empty() {
            return echoes;
        }
        match next(connection).await.unwrap() {
            RemoteEvent::Answered { packet_id, code: 0, .. } => {
                assert!(unanswered.remove(&packet_id));
            }
            RemoteEvent::Message(message) => {
                assert!(connection.acknowledge(message.ack.as_ref().unwrap()));
                echoes.push(message);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn each_transport_carries_messages_both_ways_with_their_properties() {
    let cloud = CloudBroker::open();
    for (name, target) in transports(&cloud) {
        let topic = format!("echo/{name}");
        run(async {
            let (connection, facts) = open(&target).await;
            let mut connection = connection.unwrap();
            assert_eq!(facts.peer.unwrap().port(), target.broker.port, "{name}");
            assert_eq!(facts.addresses.len(), 1);
            let tls = facts.tls.map(|tls| {
                let left = tls.not_after.unwrap().seconds_since(sluice::clock::now()) / 86_400.0;
                assert!((1.9..2.1).contains(&left), "{left} days");
                (tls.version, tls.alpn, tls.client_certificate_requested)
            });
            let is_encrypted = name.ends_with('s') && name != "ws";
            assert_eq!(tls, is_encrypted.then(|| ("TLSv1.3".to_owned(), None, false)));
            assert_eq!(
                facts.upgrade.map(|upgrade| upgrade.status),
                name.starts_with('w').then_some(101)
            );
            let granted = connection.granted();
            assert_eq!(
                (granted.receive_maximum, granted.session_present),
                (16_000, false),
                "{granted:?}"
            );

            assert_eq!(subscribed(&mut connection, &topic).await, [1]);
            let event = OutgoingMessage {
                expires_in: Some(60),
                correlation: Some(Bytes::from_static(b"\0\xff")),
                user_properties: vec![("id", "7".to_owned()), ("source", "/x".to_owned())],
                ..message(&topic, "{}")
            };
            // Mosquitto sends a large message over a websocket in pieces of 4 KiB, ten a second.
            let large = message(&topic, vec![b'x'; 30_000]);
            let numbered = (0..200).map(|number| message(&topic, number.to_string()));
            let sent: Vec<_> = [event, large].into_iter().chain(numbered).collect();
            let echoes = echoed(&mut connection, &sent).await;
            assert_eq!(echoes[0].content_type.as_deref(), Some("application/json"));
            assert_eq!(
                echoes[0].user_properties,
                [("id".to_owned(), "7".to_owned()), ("source".to_owned(), "/x".to_owned())]
            );
            assert_eq!(echoes[0].correlation.as_deref(), Some(&b"\0\xff"[..]));
            assert!(echoes[0].expires_in.unwrap() <= Duration::from_mins(1));
            for (sent, echo) in sent.iter().zip(&echoes) {
                assert!(sent.payload == echo.payload, "{name}");
            }
            assert!(echoes.is_sorted_by_key(|echo| echo.received_at), "each has its own time");
            assert_eq!(connection.unanswered(), 0);
            connection.close().await;
        });
    }
    let what = "each client says goodbye";
    wait::until(what, || cloud.count("Received DISCONNECT") == transports(&cloud).len());
}

#[test]
fn a_kept_session_delivers_again_and_tokens_of_an_earlier_connection_are_void() {
    let cloud = CloudBroker::open();
    for (name, mut target) in transports(&cloud) {
        target.clean_start = false;
        target.broker.session_expiry_seconds = 60;
        let topic = format!("kept/{name}");
        run(async {
            let mut first = opened(&target).await;
            assert!(!first.granted().session_present);
            subscribed(&mut first, &topic).await;
            first.publish(&message(&topic, "1")).unwrap();
            let mut token = None;
            for _ in 0..2 {
                match next(&mut first).await.unwrap() {
                    RemoteEvent::Message(message) => token = message.ack,
                    RemoteEvent::Answered { code: 0, .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            first.close().await;
            let mut other = opened(&super::wire::target(cloud.broker.port())).await;
            other.publish(&message(&topic, "2")).unwrap();
            assert!(matches!(next(&mut other).await, Ok(RemoteEvent::Answered { code: 0, .. })));

            let mut again = RemoteConnection::open(
                &target,
                sluice::clock::now,
                ConnectionId::of_link(0, 2),
                &mut RemoteFacts::default(),
            )
            .await
            .unwrap();
            assert!(again.granted().session_present);
            assert_eq!(again.granted().session_expiry, 60);
            assert!(!again.acknowledge(&token.unwrap()), "it is void");
            for (payload, dup) in [("1", true), ("2", false)] {
                let RemoteEvent::Message(message) = next(&mut again).await.unwrap() else {
                    panic!("no message")
                };
                assert_eq!((&message.payload[..], message.dup), (payload.as_bytes(), dup));
                assert!(again.acknowledge(&message.ack.unwrap()));
            }
            again.close().await;
        });
    }
}

#[test]
fn a_client_certificate_that_is_requested_is_seen_and_errors_name_the_fields_of_the_link() {
    let (authority, dir) = (Authority::new(), Scratch::new("wire"));
    let broker = authority.broker();
    let (certificate, key) = authority.sign("gate");
    let with = |identity| {
        let mut target = over_tls(broker.tls_port(), &authority);
        target.broker.tls.as_mut().unwrap().identity = identity;
        target
    };
    let (certified, facts) = run(open(&with(Some((certificate.clone(), key)))));
    assert!(facts.tls.unwrap().client_certificate_requested);
    run(certified.unwrap().close());
    let (bare, facts) = run(open(&with(None)));
    assert!(matches!(bare, Err(BrokerError::Tls { .. })), "{:?}", bare.err());
    assert!(facts.tls.unwrap().client_certificate_requested);

    let open_key = dir.write("open.key", "x");
    set_permissions(&open_key, Permissions::from_mode(0o644)).unwrap();
    let missing = dir.path().join("none");
    let mut no_authority = with(None);
    no_authority.broker.tls = Some(BrokerTls { ca_cert: Some(missing.clone()), identity: None });
    let mut token = target(broker.port());
    token.broker.jwt = Some(BrokerJwt {
        key: open_key,
        key_id: None,
        claims: serde_json::Map::new(),
        lifetime: TOKEN_LIFETIME,
        place: JwtPlace::Enhanced,
    });
    for (target, field) in [
        (with(Some((missing.clone(), missing.clone()))), "link.azure.cert"),
        (with(Some((certificate, missing))), "link.azure.key"),
        (no_authority, "link.azure.ca_cert"),
        (token, "link.azure.key"),
    ] {
        let error = run(refused(&target)).to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn a_login_with_custom_jwt_is_renewed_on_its_connection_and_a_refused_one_is_known() {
    let keys = TokenKeys::new();
    let cloud = CloudBroker::custom_jwt(&keys, &[]);
    let login = |target: RemoteTarget, audience: &str| {
        let claims = json!({ "iss": ISSUER, "sub": "gate", "aud": [audience] });
        let jwt = BrokerJwt {
            key: keys.private(),
            key_id: None,
            claims: claims.as_object().unwrap().clone(),
            lifetime: TOKEN_LIFETIME,
            place: JwtPlace::Enhanced,
        };
        RemoteTarget { broker: BrokerConfig { jwt: Some(jwt), ..target.broker.clone() }, ..target }
    };
    for (_, target) in transports(&cloud) {
        let refused = run(refused(&login(target, "elsewhere")));
        assert!(matches!(refused, BrokerError::Refused { code: 0x87, .. }), "{refused:?}");
    }
    let [_, (_, tls), _, (_, wss)] = transports(&cloud);
    run(async {
        let (tls, wss) = (login(tls, AUDIENCE), login(wss, AUDIENCE));
        let (mut first, mut second) = (opened(&tls).await, opened(&wss).await);
        let before = cloud.count("New client connected");
        // Each is driven all the time: a renewal that waits for its caller may come too late.
        tokio::join!(renewed_twice(&mut first), renewed_twice(&mut second));
        assert!(cloud.count("Received AUTH") >= 4);
        assert_eq!(cloud.count("New client connected"), before);
        keys.distrust();
        let errors: [BrokerError; 2] = tokio::join!(ended(&mut first), ended(&mut second)).into();
        for error in errors {
            assert!(matches!(error, BrokerError::RenewalRefused { code: 0x87 }), "{error:?}");
        }
    });
}

/// Waits for two renewals; the connection then publishes as before.
async fn renewed_twice(connection: &mut RemoteConnection) {
    for _ in 0..2 {
        let renewed = next(connection).await;
        assert!(matches!(renewed, Ok(RemoteEvent::Renewed)), "{renewed:?}");
    }
    connection.publish(&message("devices/gate/a", "{}")).unwrap();
    let answered = next(connection).await;
    // No client subscribes to it, which the broker may say.
    assert!(matches!(answered, Ok(RemoteEvent::Answered { code: 0 | 0x10, .. })), "{answered:?}");
}
