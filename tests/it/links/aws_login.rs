//! Signatures, credentials of a guest, and one connection with them, at the gate that botocore judges.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::timeout;

use sluice::broker::remote::connection::RemoteConnection;
use sluice::broker::remote::event::RemoteEvent;
use sluice::broker::remote::facts::RemoteFacts;
use sluice::broker::remote::target::{PACKET_PATIENCE, RemoteTarget, WebSocketRequest};
use sluice::broker::setting_names::SettingNames;
use sluice::clock;
use sluice::config::secret::Secret;
use sluice::config::sections::broker::{BrokerConfig, BrokerTls};
use sluice::domain::exchange::{OutgoingMessage, PublishTopic};
use sluice::domain::message::ConnectionId;
use sluice::link::aws::credentials::CredentialSource;
use sluice::link::aws::identity::IdentityKeeper;
use sluice::link::aws::server_date::ClockDifference;
use sluice::link::aws::sigv4::host_header;
use sluice::link::aws::{AwsCredentials, presign};
use sluice::link::settings::LinkAuth;

use super::aws::{ACCESS_KEY, AwsGate, CognitoStand, SECRET_KEY, amazon_listener};
use crate::broker::session_harness::config;
use crate::support::database::block_on;

/// A peer that does not answer within this is hung.
const PATIENCE: Duration = Duration::from_secs(20);

fn fixed(secret: &str) -> AwsCredentials {
    AwsCredentials {
        access_key_id: ACCESS_KEY.into(),
        secret: Secret::new(secret.into()),
        session_token: Some(Secret::new("any/token==".into())),
        obtained: clock::now(),
        expires: None,
    }
}

fn guest(cognito: &CognitoStand) -> CredentialSource {
    let auth = LinkAuth::Cognito {
        region: "us-east-1".into(),
        identity_pool_id: cognito.pool.clone(),
        endpoint: Some(format!("http://127.0.0.1:{}", cognito.port)),
        public_prefix: None,
    };
    let identities = IdentityKeeper::in_memory();
    CredentialSource::of_link(&auth, None, identities, clock::now).unwrap()
}

/// A target at the gate, signed with these credentials.
fn target(aws: &AwsGate, client_id: &str, credentials: &AwsCredentials) -> RemoteTarget {
    let host = host_header("127.0.0.1", aws.port, 443);
    let path_and_query = presign(&host, "us-east-1", credentials, clock::now());
    let tls = Some(BrokerTls { ca_cert: Some(aws.ca()), identity: None });
    let broker = BrokerConfig { client_id: client_id.into(), tls, ..config(aws.port) };
    RemoteTarget {
        broker,
        names: SettingNames::Link("aws".parse().unwrap()),
        alpn: vec![b"http/1.1".to_vec()],
        websocket: Some(WebSocketRequest { path_and_query, host }),
        clean_start: true,
        packet_patience: PACKET_PATIENCE,
    }
}

/// What the connect saw, and the connection or why there is none.
fn open(target: RemoteTarget) -> (RemoteFacts, Result<RemoteConnection, String>) {
    block_on(async move {
        let mut facts = RemoteFacts::default();
        let id = ConnectionId::of_link(0, 1);
        let opened = RemoteConnection::open(&target, clock::now, id, &mut facts);
        let opened = timeout(PATIENCE, opened).await.unwrap();
        (facts, opened.map_err(|error| format!("{error:?}")))
    })
}

/// Subscribes to one topic and publishes to it: the code of SUBACK, and that of PUBACK.
fn codes(mut connection: RemoteConnection, topic: &'static str) -> (u8, u8) {
    block_on(async move {
        connection.subscribe(&[(topic, 1)]).unwrap();
        let (mut suback, mut puback) = (None, None);
        let message = OutgoingMessage {
            payload: Bytes::from_static(b"from sluice"),
            ..OutgoingMessage::clear(PublishTopic::at_other_broker(topic).unwrap())
        };
        connection.publish(&OutgoingMessage { is_retained: false, ..message }).unwrap();
        while suback.is_none() || puback.is_none() {
            match timeout(PATIENCE, connection.next()).await.unwrap().unwrap() {
                RemoteEvent::Granted { codes, .. } => suback = Some(codes[0]),
                RemoteEvent::Answered { code, .. } => puback = Some(code),
                RemoteEvent::Unsubscribed { .. }
                | RemoteEvent::Message(_)
                | RemoteEvent::Renewed => {}
            }
        }
        connection.close().await;
        (suback.unwrap(), puback.unwrap())
    })
}

#[test]
fn a_guest_is_let_in_and_amazons_client_receives_what_it_publishes() {
    let (aws, cognito) = AwsGate::with_cognito(&[]);
    let source = guest(&cognito);
    let credentials = block_on(async move { source.current().await.unwrap() });
    assert!((60.0..91.0).contains(&credentials.seconds_left(clock::now())));
    let token = credentials.session_token.as_ref().unwrap().expose().to_owned();
    let wish = json!({ "subscribe": ["public/a"], "token": token });
    let mut listener = amazon_listener(aws.client("public-amazon", &wish));

    let (facts, opened) = open(target(&aws, "public-sluice", &credentials));
    assert_eq!(codes(opened.unwrap(), "public/a"), (1, 0));
    assert_eq!(facts.tls.unwrap().alpn.as_deref(), Some("http/1.1"));
    listener.wait_for("from sluice");
    let calls: Vec<Value> = cognito.relay.json().into_iter().skip(1).collect();
    assert_eq!((calls.len(), cognito.count("GetId")), (2, 1), "{calls:?}");
    let host = format!("127.0.0.1:{}", aws.port);
    let upgrades = aws.upgrades();
    assert!(upgrades.iter().any(|line| line["host"] == host && line["upgrade"] == 101));
}

#[test]
fn the_policy_of_a_public_broadcast_refuses_each_part_with_its_code() {
    let aws = AwsGate::start();
    let credentials = fixed(SECRET_KEY);
    let (_, opened) = open(target(&aws, "public-1", &credentials));
    assert_eq!(codes(opened.unwrap(), "secret/x"), (0x87, 0x87));
    let (_, refused) = open(target(&aws, "private-1", &credentials));
    let refused = refused.err().expect("the client id is refused");
    assert!(refused.starts_with("Refused { code: 135"), "{refused}");
}

#[test]
fn a_refused_signature_comes_with_the_clock_of_the_server() {
    let aws = AwsGate::with(&["--skew", "600"]);
    let (facts, opened) = open(target(&aws, "public-1", &fixed(SECRET_KEY)));
    assert!(opened.is_err());
    let upgrade = facts.upgrade.unwrap();
    assert_eq!((upgrade.status, upgrade.error_type.as_deref()), (403, Some("ForbiddenException")));
    let date = upgrade.date.unwrap();
    let found = ClockDifference::find(&date, clock::now()).unwrap();
    assert!(found.spoils_signatures() && (-602.0..-598.0).contains(&found.seconds()), "{found}");

    let aws = AwsGate::start();
    let (facts, opened) = open(target(&aws, "public-1", &fixed("other")));
    assert!(opened.is_err() && facts.upgrade.unwrap().status == 403);
    assert_eq!(aws.upgrades().pop().unwrap()["why"], "wrong signature");
}
