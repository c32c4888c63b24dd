//! A caller of the API over MQTT: `mosquitto_sub` on its responses, `mosquitto_pub` for its requests.
//!
//! It reads responses by their request id, and keeps the bytes as they came.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::mosquitto::Mosquitto;
use crate::support::process::{find_program, run_to_end};
use crate::support::wait;

/// A response that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Requests that one batch sends before it reads: fewer than wait for one caller.
const BATCH: usize = 80;

/// A caller that listens.
pub struct CoaClient {
    port: u16,
    request: String,
    subscriber: Child,
    lines: Receiver<String>,
}

/// A response.
#[derive(Clone, Debug, PartialEq)]
pub struct CoaReply {
    /// As it came.
    pub text: String,
    pub state: u64,
    pub content_type: String,
    pub body: Vec<u8>,
    pub metadata: Value,
}

/// One request by `mosquitto_rr`, with further arguments; what it prints in this format.
pub fn request_once(port: u16, arguments: &[&str], payload: &str) -> String {
    let mut command = Command::new(find_program("mosquitto_rr").unwrap());
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-W", "30"]);
    run_to_end(command.args(arguments).args(["-m", payload]))
}

/// Publishes with `mosquitto_pub` and further arguments.
pub fn publish_once(port: u16, topic: &str, arguments: &[&str]) {
    let mut command = Command::new(find_program("mosquitto_pub").unwrap());
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", topic]);
    run_to_end(command.args(arguments));
}

// === impl CoaClient ===

impl CoaClient {
    /// The caller of this name, with the usual prefix.
    pub fn named(broker: &Mosquitto, name: &str) -> Self {
        Self::on(broker, &format!("symphony/request/{name}"), &format!("symphony/response/{name}"))
    }

    /// On any topics.
    pub fn on(broker: &Mosquitto, request: &str, response: &str) -> Self {
        static CLIENTS: AtomicUsize = AtomicUsize::new(0);
        let id = format!("coa-{}", CLIENTS.fetch_add(1, Ordering::Relaxed));
        let port = broker.port().to_string();
        let mut subscriber = Command::new(find_program("mosquitto_sub").unwrap())
            .args(["-h", "127.0.0.1", "-p", &port, "-i", &id, "-q", "1", "-t", response])
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (lines_in, lines) = channel();
        let stdout = BufReader::new(subscriber.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if lines_in.send(line).is_err() {
                    return;
                }
            }
        });
        let granted = format!("Sending SUBACK to {id}");
        wait::until("the caller is subscribed", || broker.log().contains(&granted));
        Self { port: broker.port(), request: request.to_owned(), subscriber, lines }
    }

    /// Publishes payloads as they are, one a line, at QoS 1.
    pub fn publish<'a>(&self, payloads: impl IntoIterator<Item = &'a str>) {
        self.publish_at("1", payloads);
    }

    /// The same at another QoS.
    pub fn publish_at<'a>(&self, qos: &str, payloads: impl IntoIterator<Item = &'a str>) {
        let mut publisher = Command::new(find_program("mosquitto_pub").unwrap())
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-q", qos, "-l"])
            .args(["-t", &self.request])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = publisher.stdin.take().unwrap();
        for payload in payloads {
            writeln!(stdin, "{payload}").unwrap();
        }
        drop(stdin);
        assert!(publisher.wait().unwrap().success());
    }

    /// The next response.
    pub fn receive(&self) -> CoaReply {
        CoaReply::read(self.lines.recv_timeout(PATIENCE).expect("a response"))
    }

    /// The next response, if it comes within this time.
    pub fn receive_within(&self, patience: Duration) -> Option<CoaReply> {
        self.lines.recv_timeout(patience).ok().map(CoaReply::read)
    }

    /// Whether there is no response to read.
    pub fn is_silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }

    /// The response to a payload as it is.
    pub fn ask_text(&self, payload: &str) -> CoaReply {
        self.publish([payload]);
        self.receive()
    }

    /// The response to one request.
    pub fn ask(&self, method: &str, route: &str, body: &Value) -> CoaReply {
        self.ask_text(&json!({ "method": method, "route": route, "body": body }).to_string())
    }

    /// The responses to requests, in their order, whatever the order of their arrival.
    pub fn ask_all(&self, requests: &[Value]) -> Vec<CoaReply> {
        let mut replies = BTreeMap::new();
        for (batch, first) in requests.chunks(BATCH).zip((0..).step_by(BATCH)) {
            let named = batch.iter().zip(first..).map(|(request, id)| {
                let mut request = request.clone();
                request["metadata"]["request-id"] = format!("{id}").into();
                request.to_string()
            });
            let named: Vec<String> = named.collect();
            self.publish(named.iter().map(String::as_str));
            for _ in batch {
                let reply = self.receive();
                let id: usize = reply.request_id().unwrap().parse().unwrap();
                assert!(replies.insert(id, reply).is_none(), "two responses to {id}");
            }
        }
        assert_eq!(replies.len(), requests.len());
        replies.into_values().collect()
    }
}

impl Drop for CoaClient {
    fn drop(&mut self) {
        let _ = self.subscriber.kill();
        let _ = self.subscriber.wait();
    }
}

// === impl CoaReply ===

impl CoaReply {
    /// Reads a response; `body` is base64.
    pub fn read(text: String) -> Self {
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let body = value["body"].as_str().unwrap_or_default();
        Self {
            state: value["state"].as_u64().unwrap(),
            content_type: value["contentType"].as_str().unwrap().to_owned(),
            body: decode(body),
            metadata: value["metadata"].clone(),
            text,
        }
    }

    pub fn request_id(&self) -> Option<&str> {
        self.metadata["request-id"].as_str()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a response with this state.
    pub fn ok(&self, state: u64) -> Value {
        assert_eq!(self.state, state, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// What a problem document of this state and kind says happened.
    pub fn detail(&self, state: u64, kind: &str) -> String {
        let problem = self.ok(state);
        assert_eq!(self.content_type, "application/problem+json");
        assert_eq!(problem["type"], format!("urn:sluice:problem:{kind}"), "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// With the program `base64`, which is not ours.
fn decode(text: &str) -> Vec<u8> {
    let mut program = Command::new("base64")
        .arg("-d")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = program.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = program.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "not base64");
    output.stdout
}
