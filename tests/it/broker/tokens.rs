//! Logins with tokens of our own making: `PyJWT` accepts them, and they are renewed before they
//! end.

use std::collections::BTreeSet;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{Connect, Login, Packet};
use serde_json::json;
use sluice::config::secret::Secret;
use sluice::config::sections::broker::{BrokerConfig, BrokerJwt, JwtPlace};

use super::peer::{CONNECT, Caller, DISCONNECT, Peer, packet};
use super::session_harness::{SessionHarness, config, numbered};
use crate::support::dir::Scratch;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::process::run_to_end;
use crate::support::time_bounds::BROKER_TOKEN;
use crate::tokens::pyjwt;

pub const AUTH: u8 = 0xf0;

/// A key pair of OpenSSL's.
pub struct Signer {
    dir: Scratch,
    private: PathBuf,
    public: PathBuf,
}

// === impl Signer ===

impl Signer {
    pub fn new() -> Self {
        let dir = Scratch::new("signer");
        let (private, public) = (dir.path().join("mqtt.key"), dir.path().join("mqtt.pub"));
        let openssl = |line: &str| {
            run_to_end(Command::new("openssl").args(line.split(' ')).current_dir(dir.path()))
        };
        openssl("genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out mqtt.key");
        openssl("pkey -in mqtt.key -pubout -out mqtt.pub");
        set_permissions(&private, Permissions::from_mode(0o600)).unwrap();
        Self { dir, private, public }
    }

    /// Settings for a broker that wants such tokens.
    pub fn config(&self, port: u16, place: JwtPlace) -> BrokerConfig {
        let claims =
            json!({ "iss": "sluice", "sub": "gate", "aud": ["mqtt", "web"], "site": "north" });
        let jwt = BrokerJwt {
            key: self.private.clone(),
            key_id: Some("k1".into()),
            claims: claims.as_object().unwrap().clone(),
            lifetime: BROKER_TOKEN,
            place,
        };
        BrokerConfig { jwt: Some(jwt), ..config(port) }
    }

    /// The token is good, and says what it should; when it ends.
    pub fn checks(&self, token: &str) -> i64 {
        let said = pyjwt::checked(&self.dir, &self.public, token, "mqtt");
        assert_eq!(said["header"], json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
        let claims = &said["claims"];
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["site"]),
            (&json!("sluice"), &json!("gate"), &json!("north"))
        );
        assert_eq!(claims["nbf"], claims["iat"]);
        // Backdated by a minute, for a broker whose clock is behind.
        let (from, end) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert_eq!(end - from, 60 + i64::try_from(BROKER_TOKEN.as_secs()).unwrap());
        end
    }
}

/// The CONNECT that comes, as another codec reads it.
pub fn connect(caller: &mut Caller) -> (Connect, Option<Login>) {
    let body = caller.expect(CONNECT);
    let read = Packet::read(&mut BytesMut::from(&packet(CONNECT, &body)[..]), None).unwrap();
    let Packet::Connect(connect, None, login) = read else { panic!("{read:?}") };
    (connect, login)
}

/// Lets it in.
fn welcome(caller: &mut Caller) {
    caller.send(&packet(0x20, &[1, 0, 0]));
    caller.answer_subscribe(1);
}

/// The method and the token of an AUTH that asks for re-authentication.
pub fn reauthentication(caller: &mut Caller) -> (String, String) {
    let body = caller.expect(AUTH);
    let [0x19, low, high, properties @ ..] = &body[..] else { panic!("{body:?}") };
    assert_eq!(properties.len(), usize::from(low & 0x7f) + (usize::from(*high) << 7));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let [0x15, 0, length, rest @ ..] = properties else { panic!("no method: {body:?}") };
    let (method, rest) = rest.split_at(usize::from(*length));
    let [0x16, high, low, token @ ..] = rest else { panic!("no data: {body:?}") };
    assert_eq!(token.len(), usize::from(u16::from_be_bytes([*high, *low])));
    (text(method), text(token))
}

#[test]
fn a_token_is_the_password_and_a_new_connection_brings_a_new_one_in_time() {
    let (signer, peer) = (Signer::new(), Peer::listen());
    let settings = BrokerConfig {
        username: Some("gate".into()),
        ..signer.config(peer.port(), JwtPlace::Password)
    };
    let session = SessionHarness::start(settings);
    let mut caller = peer.accept();
    let (first, login) = connect(&mut caller);
    assert!(!first.clean_start);
    let login = login.unwrap();
    assert_eq!(login.username, "gate");
    welcome(&mut caller);
    session.wait_until_well();
    // It disconnects properly, so that its will is not published, and returns with another token.
    caller.expect(DISCONNECT);
    let mut caller = peer.accept();
    let (again, renewed) = connect(&mut caller);
    assert_eq!((again.client_id, again.clean_start), (first.client_id, false));
    assert!(session.readiness.troubles().is_empty(), "a renewal is no trouble");
    assert!(signer.checks(&renewed.unwrap().password) > signer.checks(&login.password));
}

#[test]
fn a_token_that_is_the_user_name_has_a_password_beside_it() {
    let signer = Signer::new();
    for (given, sent) in [(None, "jwt"), (Some("extra"), "extra")] {
        let peer = Peer::listen();
        let password = given.map(|text: &str| Secret::new(text.to_owned()));
        let _bench = SessionHarness::start(BrokerConfig {
            password,
            ..signer.config(peer.port(), JwtPlace::Username)
        });
        let login = connect(&mut peer.accept()).1.unwrap();
        assert_eq!(login.password, sent);
        signer.checks(&login.username);
    }
}

#[test]
fn enhanced_authentication_renews_the_token_without_a_new_connection() {
    let (signer, peer) = (Signer::new(), Peer::listen());
    let mut session = SessionHarness::start(signer.config(peer.port(), JwtPlace::Enhanced));
    let mut caller = peer.accept();
    let (first, login) = connect(&mut caller);
    assert_eq!(login, None);
    let properties = first.properties.unwrap();
    assert_eq!(properties.authentication_method.as_deref(), Some("CUSTOM-JWT"));
    welcome(&mut caller);
    session.wait_until_well();
    let mut tokens =
        vec![String::from_utf8(properties.authentication_data.unwrap().to_vec()).unwrap()];
    for _ in 0..2 {
        let (method, token) = reauthentication(&mut caller);
        caller.send(&packet(AUTH, &[0, 0]));
        assert_eq!(method, "CUSTOM-JWT");
        tokens.push(token);
    }
    caller.publish(7, b"still here");
    assert_eq!(session.next().payload, "still here");
    // A broker that wants more than a token, and one that does not answer, are left for a new
    // connection.
    reauthentication(&mut caller);
    caller.send(&packet(AUTH, &[0x18, 0]));
    caller.expect_end();
    let mut caller = peer.accept();
    connect(&mut caller);
    welcome(&mut caller);
    reauthentication(&mut caller);
    caller.expect(DISCONNECT);
    connect(&mut peer.accept());
    assert!(tokens.iter().map(|token| signer.checks(token)).is_sorted_by(|one, next| one < next));
}

#[test]
fn at_a_real_broker_a_renewal_loses_nothing() {
    let (signer, broker) = (Signer::new(), Mosquitto::start(MosquittoOptions::default()));
    let settings = BrokerConfig {
        username: Some("gate".into()),
        ..signer.config(broker.port(), JwtPlace::Password)
    };
    let mut session = SessionHarness::start_well(settings);
    let mut missing = BTreeSet::new();
    while session.metrics.broker.reconnects.get() < 2 || !missing.is_empty() {
        if missing.is_empty() {
            session.publish(&config(broker.port()), &numbered(20));
            missing.extend((0..20).map(|number: usize| number.to_string()));
        }
        let delivery = session.next();
        missing.remove(str::from_utf8(&delivery.payload).unwrap());
        session.acknowledge(delivery);
    }
    assert_eq!(session.metrics.broker.session_lost.get(), 0);
}

#[test]
fn a_broker_without_that_authentication_and_an_open_key_are_named() {
    let (signer, broker) = (Signer::new(), Mosquitto::start(MosquittoOptions::default()));
    let session = SessionHarness::start(signer.config(broker.port(), JwtPlace::Enhanced));
    session.wait_for_trouble(&["0x8C", "CUSTOM-JWT", "MQTT_JWT_AS"]);
    set_permissions(&signer.private, Permissions::from_mode(0o644)).unwrap();
    let session = SessionHarness::start(signer.config(broker.port(), JwtPlace::Username));
    session.wait_for_trouble(&["MQTT_JWT_KEY", "0644", "chmod 600"]);
}
