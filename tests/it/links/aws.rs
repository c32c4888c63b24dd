//! Stand-ins of AWS: a gate that judges signatures with botocore in front of a Mosquitto, and moto as
//! Cognito behind a relay that makes its credentials end.
//!
//! They know AWS from its documents and from Amazon's own clients; AWS itself is not asked.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::rig::{Peer, python_program, run_peer};
use crate::broker::tls::Authority;
use crate::support::daemon;
use crate::support::dir::Scratch;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::{port, wait};

/// What moto gives every guest; the session token of each differs.
pub const ACCESS_KEY: &str = "TESTACCESSKEY12345";
pub const SECRET_KEY: &str = "ABCSECRETKEY";
pub const TOKEN_START: &str = "ABC12345/";

/// The gate, with a Mosquitto behind it.
#[derive(Debug)]
pub struct AwsGate {
    pub gate: Peer,
    pub broker: Mosquitto,
    pub port: u16,
    pub dir: Scratch,
    authority: Authority,
    more: Vec<String>,
}

/// Cognito.
#[derive(Debug)]
pub struct CognitoStand {
    pub relay: Peer,
    pub port: u16,
    pub pool: String,
    moto: Option<Peer>,
    moto_port: u16,
}

// === impl AwsGate ===

impl AwsGate {
    /// A gate that admits every session token.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// One with these options, such as `--skew 600`.
    pub fn with(more: &[&str]) -> Self {
        let authority = Authority::new();
        let broker = Mosquitto::start(MosquittoOptions::default());
        let (dir, port) = (Scratch::new("aws"), port::free());
        let (certificate, key) = authority.sign("server");
        let mut all: Vec<String> = [
            ("--listen", port.to_string()),
            ("--broker", broker.port().to_string()),
            ("--certificate", certificate.to_str().unwrap().to_owned()),
            ("--key", key.to_str().unwrap().to_owned()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        all.extend(more.iter().map(|text| (*text).to_owned()));
        let gate = start_gate(&all);
        Self { gate, broker, port, dir, authority, more: all }
    }

    /// A gate that knows the tokens of this Cognito, and their end.
    pub fn with_cognito(relay: &[&str]) -> (Self, CognitoStand) {
        let dir = Scratch::new("tokens");
        let tokens = dir.write("tokens", "");
        let path = tokens.to_str().unwrap();
        let mut started = Self::with(&["--tokens", path]);
        started.dir = dir;
        let cognito = CognitoStand::start(path, relay);
        (started, cognito)
    }

    /// The gate goes, with all its connections, and comes back.
    pub fn cut(&mut self) {
        self.gate.signal("KILL");
        self.gate.wait();
        self.gate = start_gate(&self.more);
    }

    /// Another session token that is good for as long as the test runs.
    pub fn admit(&self, token: &str) {
        let path = self.dir.path().join("tokens");
        let mut file = File::options().append(true).open(path).unwrap();
        writeln!(file, "{token} 9999999999").unwrap();
    }

    /// The authority of its certificate.
    pub fn ca(&self) -> PathBuf {
        self.authority.path("ca.crt")
    }

    /// A certificate for a client, and its key.
    pub fn client_certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        self.authority.sign(name)
    }

    /// A table of the links file that leads here. `more` has the keys of the login and the rules.
    pub fn link(&self, name: &str, client_id: &str, more: &str) -> String {
        let (port, ca) = (self.port, self.ca());
        let ca = ca.display();
        format!(
            "[link.{name}]\nkind = \"aws-iot\"\nhost = \"127.0.0.1\"\nport = {port}\n\
             transport = \"wss\"\nca_cert = \"{ca}\"\nclient_id = \"{client_id}\"\n{more}\n"
        )
    }

    /// What Amazon's client does here: `wish` as in `aws_client.py`.
    pub fn client(&self, client_id: &str, wish: &Value) -> Value {
        let mut all = json!({
            "host": "127.0.0.1", "port": self.port, "ca": self.ca(), "client_id": client_id,
            "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "token": "any",
        });
        all.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        all
    }

    /// The upgrades that it has judged, in order.
    pub fn upgrades(&self) -> Vec<Value> {
        self.gate.json().into_iter().filter(|line| line.get("upgrade").is_some()).collect()
    }
}

/// What Amazon's client reports of one run.
pub fn amazon(wish: &Value) -> Vec<Value> {
    let printed = run_peer("aws_client.py", &[&wish.to_string()]);
    let lines = printed.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Amazon's client, subscribed; it stays.
pub fn amazon_listener(mut wish: Value) -> Peer {
    wish["stay"] = json!(true);
    let filters = wish["subscribe"].as_array().unwrap().len();
    let mut peer = Peer::start("aws_client.py", &[&wish.to_string()]);
    peer.wait_json(1 + filters);
    peer
}

fn start_gate(all: &[String]) -> Peer {
    let args: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut gate = Peer::start("sigv4_gate.py", &args);
    gate.wait_for("listening");
    gate
}

// === impl CognitoStand ===

impl CognitoStand {
    /// moto with a pool for guests. `tokens` is the file in which the gate looks tokens up.
    fn start(tokens: &str, more: &[&str]) -> Self {
        let (port, moto_port) = (port::free(), port::free());
        let moto = start_moto(moto_port);
        let pool = run_peer("cognito_pool.py", &[&moto_port.to_string()]).trim().to_owned();
        let (listen, behind) = (port.to_string(), moto_port.to_string());
        let mut all = vec!["--listen", &listen, "--moto", &behind, "--tokens", tokens];
        all.extend(more);
        let mut relay = Peer::start("cognito_relay.py", &all);
        relay.wait_for("listening");
        Self { relay, port, pool, moto: Some(moto), moto_port }
    }

    /// The keys of the login in the links file.
    pub fn login(&self) -> String {
        let (pool, port) = (&self.pool, self.port);
        format!(
            "auth = \"cognito\"\nregion = \"us-east-1\"\nidentity_pool_id = \"{pool}\"\n\
             cognito_endpoint = \"http://127.0.0.1:{port}\"\n"
        )
    }

    /// moto ends: the relay hangs up on each call.
    pub fn stop(&mut self) {
        self.moto = None;
    }

    /// moto comes back. It has forgotten its pools, so an identity that was kept is worth something.
    pub fn start_again(&mut self) {
        self.moto = Some(start_moto(self.moto_port));
    }

    /// How often a call was answered with 200.
    pub fn count(&self, call: &str) -> usize {
        let is_call = |line: &Value| line["call"] == call && line["status"] == 200;
        self.relay.json().iter().filter(|line| is_call(line)).count()
    }
}

fn start_moto(port: u16) -> Peer {
    let args = ["-H", "127.0.0.1", "-p", &port.to_string()];
    let moto = Peer::start_program(&python_program("moto_server"), &args, &[]);
    wait::until("moto answers", || daemon::get(port, "/moto-api/").is_ok());
    moto
}

/// The session tokens that the relay has given out.
pub fn tokens(gate: &AwsGate) -> Vec<(String, f64)> {
    let text = fs::read_to_string(gate.dir.path().join("tokens")).unwrap();
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    lines.map(|(token, end)| (token.to_owned(), end.parse().unwrap())).collect()
}
