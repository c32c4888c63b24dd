//! A daemon whose hooks answer, an issuer of tokens it trusts, and one who asks on a connection
//! that stays open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use sluice::clock;
use sluice::domain::time::MICROS_PER_SECOND;

use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::port;
use crate::support::postgres::Postgres;
use crate::support::wait;

const ISSUER: &str = "https://id.example.org";

const ANSWER_TIME: Duration = Duration::from_mins(1);

/// Who may do what, in the tests: the shape of a policy people have.
pub const RULES: &str = r##"{
    "rules": [
        { "subjects": { "groups": ["admins"] }, "topics": ["#"], "actions": "*" },
        { "subjects": { "types": ["service"], "scopes": ["mqtt.write"] }, "topics": ["plant/events/#"],
          "actions": ["publish"] },
        { "subjects": { "types": ["user"], "groups": ["viewers"] }, "topics": ["plant/+/readings", "a/+/b", "a/x y/b"],
          "actions": ["subscribe", "read", "publish"] },
        { "subjects": { "groups": ["viewers"] }, "topics": ["plant/secret/#"], "actions": "*", "effect": "deny" }
    ],
    "group_permissions": { "admins": ["subscribe", "read", "publish", "superuser"],
                           "viewers": ["subscribe", "read", "publish"] },
    "scope_permissions": { "mqtt.write": ["publish"] }
}"##;

/// A daemon and what it trusts. No broker is there: the hooks need none.
pub struct House<'a> {
    pub daemon: Daemon,
    pub database: &'a Database<'a>,
    pub settings: Settings,
    port: u16,
    key: Ed25519KeyPair,
}

/// One who asks; the connection stays open over all questions, as the broker's does.
pub struct Asker {
    stream: BufReader<TcpStream>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A user of the realm, in these groups, for this long.
pub fn user(name: &str, groups: &[&str], seconds: i64) -> Value {
    json!({ "sub": name, "groups": groups, "exp": now() + seconds })
}

/// Seconds since 1970.
pub fn now() -> i64 {
    clock::now().micros() / MICROS_PER_SECOND
}

// === impl House ===

impl<'a> House<'a> {
    pub fn start(database: &'a Database<'a>, settings: &[(&str, &str)]) -> Self {
        let house = Self::unopened(database, settings);
        house.wait_open();
        house
    }

    /// One that answers only who knows its secret.
    pub fn start_secret(database: &'a Database<'a>, secret: &str) -> Self {
        let house = Self::unopened(database, &[("HOOKS_SECRET", secret)]);
        let path = format!("/mqtt/user?secret={secret}");
        let token = house.token(&user("probe", &[], 600));
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let probe = json_request("POST", &path, &bearer, "null");
        house.wait_listening();
        wait::until("the keys are read", || house.asker().send(probe.as_bytes()).status == 200);
        house
    }

    fn unopened(database: &'a Database<'a>, settings: &[(&str, &str)]) -> Self {
        let port = port::free();
        let start = Settings::empty();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let keys = start.dir().write("keys.json", key_set("k1", &key));
        let rules = start.dir().write("rules.json", RULES);
        let start = start
            .set("DATABASE_URL", &database.url())
            .set("MQTT_HOST", "127.0.0.1")
            .set("MQTT_PORT", &port::free().to_string())
            .set("HOOKS_BIND", &format!("127.0.0.1:{port}"))
            .set("JWT_ISSUER", ISSUER)
            .set("JWT_JWKS_PATH", keys.to_str().unwrap())
            .set("JWT_LEEWAY_SECONDS", "0")
            .set("ACL_RULES_PATH", rules.to_str().unwrap())
            .set("LOG_LEVEL", "trace");
        let settings = settings.iter().fold(start, |all, (name, value)| all.set(name, value));
        Self { daemon: settings.start(), database, settings, port, key }
    }

    /// Waits until it answers, and has read the issuer's keys.
    pub fn wait_open(&self) {
        self.wait_listening();
        // When it begins to hear of changes it forgets what it knew.
        self.daemon.wait_metric("sluice_db_listening", 1.0);
        let token = self.token(&user("probe", &[], 600));
        wait::until("the keys are read", || {
            self.asker().login("probe", &token, "probe").status == 200
        });
    }

    fn wait_listening(&self) {
        wait::until("the hooks answer", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    pub fn asker(&self) -> Asker {
        self.try_asker().unwrap()
    }

    /// None while nobody listens.
    pub fn try_asker(&self) -> Option<Asker> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(ANSWER_TIME)).unwrap();
        Some(Asker { stream: BufReader::new(stream) })
    }

    /// From now on the issuer has another key than the one that signs its tokens.
    pub fn withdraw_key(&self) {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let next = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        self.settings.dir().write("keys.json", key_set("k2", &next));
    }

    /// A token of the issuer with these claims.
    pub fn token(&self, claims: &Value) -> String {
        let mut claims = claims.clone();
        claims["iss"] = ISSUER.into();
        claims["iat"] = now().into();
        let header = json!({ "alg": "EdDSA", "kid": "k1", "typ": "JWT" });
        let signed =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Registers a device with this token; the daemon has heard of it, so that what it then knows
    /// stays.
    pub fn register(&self, tenant: &str, device: &str, token: Option<&str>) {
        let hash =
            token.map_or("NULL".to_owned(), |token| format!("encode(sha256('{token}'), 'hex')"));
        self.database.query(&format!(
            "INSERT INTO tenants (tenant_id, name) VALUES ('{tenant}', '{tenant}') ON CONFLICT DO NOTHING;
             INSERT INTO devices (tenant_id, device_id, provision_token_hash) VALUES ('{tenant}', '{device}', {hash})"
        ));
        // News come in the order in which they were told: when what follows the registration is
        // forgotten, that was heard.
        let (mut asker, marker) = (self.asker(), format!("nobody/device/{tenant}.{device}"));
        let mut is_known = || {
            let misses = self.daemon.metric("sluice_auth_cache_misses");
            asker.acl(&marker, "c", 2, "any").no("UNREGISTERED_DEVICE");
            (self.daemon.metric("sluice_auth_cache_misses") - misses).abs() < f64::EPSILON
        };
        is_known();
        self.database.query(&format!("SELECT pg_notify('sluice_invalidate', '{marker}')"));
        wait::until("the daemon has heard of the registration", || !is_known());
    }
}

// === impl Asker ===

impl Asker {
    /// Sends these bytes and reads one answer.
    pub fn send(&mut self, request: &[u8]) -> Answer {
        self.stream.get_mut().write_all(request).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(
                self.stream.read_line(&mut head).unwrap(),
                0,
                "the connection was closed after {head:?}"
            );
        }
        let head = head.to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        Answer {
            status: head[9..12].parse().unwrap(),
            body: String::from_utf8(body).unwrap(),
            head,
        }
    }

    /// Asks with a body in JSON, byte for byte as the plugin's http backend does. On a slow machine
    /// Postgres may be too late for one answer, which is a fault; then it asks again.
    pub fn ask(&mut self, path: &str, body: &str) -> Answer {
        wait::for_ok("there is an answer", || match self.ask_once(path, body) {
            answer if answer.body.contains("a fault here") => Err(answer.body),
            answer => Ok(answer),
        })
    }

    /// The same, where a fault is part of the test.
    pub fn ask_once(&mut self, path: &str, body: &str) -> Answer {
        self.send(json_request("POST", path, "", body).as_bytes())
    }

    pub fn login(&mut self, username: &str, password: &str, client_id: &str) -> Answer {
        self.ask(
            "/mqtt/user",
            &json!({ "clientid": client_id, "password": password, "username": username })
                .to_string(),
        )
    }

    pub fn acl(&mut self, username: &str, client_id: &str, acc: u8, topic: &str) -> Answer {
        self.ask("/mqtt/acl", &acl_body(username, client_id, acc, topic))
    }

    pub fn acl_once(&mut self, username: &str, client_id: &str, acc: u8, topic: &str) -> Answer {
        self.ask_once("/mqtt/acl", &acl_body(username, client_id, acc, topic))
    }
}

// === impl Answer ===

impl Answer {
    /// Panics unless it is the yes of all three response modes that read JSON.
    pub fn yes(&self) {
        assert_eq!((self.status, self.body.as_str()), (200, r#"{"ok":true}"#), "{self:?}");
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
    }

    /// Panics unless it is a no whose reason holds these words.
    pub fn no(&self, why: &str) {
        assert_eq!(self.status, 403, "{self:?}");
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["ok"], false, "{self:?}");
        assert!(body["reason"].as_str().unwrap().contains(why), "{why:?} is not in {self:?}");
    }
}

/// The key set of an issuer with this one key.
fn key_set(id: &str, key: &Ed25519KeyPair) -> String {
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": id, "x": x }] })
        .to_string()
}

fn acl_body(username: &str, client_id: &str, acc: u8, topic: &str) -> String {
    json!({ "acc": acc, "clientid": client_id, "topic": topic, "username": username }).to_string()
}

/// A request as the plugin writes it, in JSON; the headers are more lines.
pub fn json_request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:8009\r\nUser-Agent: mosquitto-2.0.11\r\nContent-Length: {}\r\n{headers}\
         Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n{body}",
        body.len()
    )
}

/// The same in a form.
pub fn form_request(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:8009\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n{headers}\
         Content-Type: application/x-www-form-urlencoded\r\nAccept-Encoding: gzip\r\n\r\n{body}",
        body.len()
    )
}

/// A database that lives as long as its server: a house borrows it.
pub fn database() -> Database<'static> {
    Postgres::shared().database()
}
