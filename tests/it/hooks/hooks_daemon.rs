//! A daemon whose hooks answer, an issuer of tokens it trusts, and a client whose connection stays
//! open.

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
use crate::support::postgres::Postgres;
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

const ISSUER: &str = "https://id.example.org";

const ANSWER_TIME: Duration = Duration::from_mins(1);

/// Who may do what in the tests: a policy as people write it.
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

/// A daemon and the issuer it trusts. It has no broker: the hooks need none.
pub struct HooksDaemon<'a> {
    pub daemon: Daemon,
    pub database: &'a Database<'a>,
    pub settings: Settings,
    port: u16,
    key: Ed25519KeyPair,
}

/// A client; its connection stays open over all requests, as the broker's does.
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

// === impl HooksDaemon ===

impl<'a> HooksDaemon<'a> {
    pub fn start(database: &'a Database<'a>, settings: &[(&str, &str)]) -> Self {
        let hooks = Self::unopened(database, settings);
        hooks.wait_open();
        hooks
    }

    /// A daemon that answers only requests with its secret.
    pub fn start_secret(database: &'a Database<'a>, secret: &str) -> Self {
        let hooks = Self::unopened(database, &[("HOOKS_SECRET", secret)]);
        let path = format!("/mqtt/user?secret={secret}");
        let token = hooks.token(&user("probe", &[], 600));
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let probe = json_request("POST", &path, &bearer, "null");
        hooks.wait_listening();
        wait::until("the keys are read", || hooks.asker().send(probe.as_bytes()).status == 200);
        hooks
    }

    fn unopened(database: &'a Database<'a>, settings: &[(&str, &str)]) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let start = TestDaemon::builder()
            .on_database(database)
            .set("JWT_ISSUER", ISSUER)
            .file("JWT_JWKS_PATH", "keys.json", key_set("k1", &key))
            .set("JWT_LEEWAY_SECONDS", "0")
            .file("ACL_RULES_PATH", "rules.json", RULES)
            .set("LOG_LEVEL", "trace");
        let TestDaemon { daemon, settings, .. } = start.with(settings).start();
        let port = settings.port("HOOKS_BIND");
        Self { daemon, database, settings, port, key }
    }

    /// Waits until it answers, and has read the issuer's keys.
    pub fn wait_open(&self) {
        self.wait_listening();
        // When it begins to listen for changes it clears its cache.
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

    /// `None` while the listener is down.
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

    /// Registers a device with this token, and waits until the daemon has received the change, so
    /// that what it caches from then on stays.
    pub fn register(&self, tenant: &str, device: &str, token: Option<&str>) {
        let hash =
            token.map_or("NULL".to_owned(), |token| format!("encode(sha256('{token}'), 'hex')"));
        self.database.query(&format!(
            "INSERT INTO tenants (tenant_id, name) VALUES ('{tenant}', '{tenant}') ON CONFLICT DO NOTHING;
             INSERT INTO devices (tenant_id, device_id, provision_token_hash) VALUES ('{tenant}', '{device}', {hash})"
        ));
        // Notifications arrive in the order in which they were sent: once the marker's entry is
        // gone, the registration has arrived too.
        let (mut asker, marker) = (self.asker(), format!("nobody/device/{tenant}.{device}"));
        let mut is_known = || {
            let misses = self.daemon.metric("sluice_auth_cache_misses");
            asker.acl(&marker, "c", 2, "any").no("UNREGISTERED_DEVICE");
            (self.daemon.metric("sluice_auth_cache_misses") - misses).abs() < f64::EPSILON
        };
        is_known();
        self.database.query(&format!("SELECT pg_notify('sluice_invalidate', '{marker}')"));
        wait::until("the daemon has received the registration", || !is_known());
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
    /// Postgres may be too late for one answer, which is a fault; then the client repeats the
    /// request.
    pub fn ask(&mut self, path: &str, body: &str) -> Answer {
        wait::for_ok("there is an answer", || match self.ask_once(path, body) {
            answer if answer.body.contains("a fault of Sluice") => Err(answer.body),
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
    /// Panics unless it is the positive answer of all three response modes that read JSON.
    pub fn yes(&self) {
        assert_eq!((self.status, self.body.as_str()), (200, r#"{"ok":true}"#), "{self:?}");
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
    }

    /// Panics unless it is a refusal whose reason contains `why`.
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

/// A database that lives as long as its server.
pub fn database() -> Database<'static> {
    Postgres::shared().database()
}
