//! A client of the API: it sends any request, also one that no decent client would send, and
//! remembers nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::database::Database;
use crate::support::test_daemon::{TestDaemon, TestDaemonBuilder};
use crate::support::wait;

pub const TOKEN: &str = "admin-secret-of-the-api-test";

const ANSWER_TIME: Duration = Duration::from_mins(1);

/// A client of one port, with or without a token.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub port: u16,
    token: Option<&'static str>,
}

/// A daemon whose API answers, with its own database. It has no broker: the API needs none.
pub struct ApiDaemon {
    pub daemon: Daemon,
    pub database: Database<'static>,
    client: Client,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    /// The head as it was sent.
    pub sent_head: String,
    pub body: Vec<u8>,
}

/// A daemon at its loudest, with the token and without servers.
pub fn builder() -> TestDaemonBuilder<(), ()> {
    TestDaemon::builder().set("LOG_LEVEL", "trace").set("ADMIN_TOKEN", TOKEN)
}

// === impl ApiDaemon ===

impl ApiDaemon {
    /// With the token set, and sent with every call.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same with more settings.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::of(builder().database().with(settings).start(), Some(TOKEN))
    }

    /// Without a token.
    pub fn open(settings: &[(&str, &str)]) -> Self {
        let start = TestDaemon::builder().set("LOG_LEVEL", "trace").database();
        Self::of(start.with(settings).start(), None)
    }

    fn of(started: TestDaemon<(), Database<'static>>, token: Option<&'static str>) -> Self {
        let client = Client::of(started.listening("HTTP_BIND"), token);
        Self { daemon: started.daemon, database: started.database, client }
    }
}

impl Deref for ApiDaemon {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

// === impl Client ===

impl Client {
    /// Waits until a daemon listens there.
    pub fn of(port: u16, token: Option<&'static str>) -> Self {
        wait::until("the API listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, token }
    }

    /// Calls a path below `/api/v1`, with a body of JSON or none.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let token = self
            .token
            .map(|token| format!("Authorization: Bearer {token}\r\n"))
            .unwrap_or_default();
        let kind = body.map(|_| "Content-Type: application/json\r\n").unwrap_or_default();
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(
            method,
            &format!("/api/v1{path}"),
            &format!("Host: localhost\r\n{token}{kind}"),
            body.as_bytes(),
        )
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body))
    }

    /// Sends a request as it stands, and reads the answer to its end.
    pub fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        ask(self.port, method, path, headers, body)
    }

    /// All items of a list, page by page.
    pub fn walk(&self, path: &str, limit: usize) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{separator}limit={limit}{cursor}")).ok(200);
            let rows = page["items"].as_array().unwrap();
            assert!(rows.len() <= limit, "{page}");
            items.extend(rows.iter().cloned());
            let Some(next) = page["next"].as_str() else { return items };
            cursor = format!("&cursor={next}");
        }
    }
}

/// Sends a request as it stands to a port of the loopback, and reads the answer to its end.
pub fn ask(port: u16, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(ANSWER_TIME)).unwrap();
    let head =
        format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    // A server that refuses a body need not read it.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    Answer {
        status: head[9..12].parse().unwrap(),
        head: head.to_lowercase(),
        sent_head: head,
        body: answer[end + 4..].to_vec(),
    }
}

// === impl Answer ===

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an answer that has this status.
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The problem of an answer with this status and this kind of problem.
    pub fn problem(&self, status: u16, kind: &str) -> Value {
        let problem = self.ok(status);
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        assert_eq!(problem["type"], format!("urn:sluice:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem
    }

    /// What the problem says happened.
    pub fn detail(&self, status: u16, kind: &str) -> String {
        self.problem(status, kind)["detail"].as_str().unwrap().to_owned()
    }

    /// The one field a request is blamed on that cannot be read.
    pub fn blamed(&self) -> String {
        self.blamed_as(400, "bad-request")
    }

    /// The one field a request is blamed on that is read and not accepted.
    pub fn refused(&self) -> String {
        self.blamed_as(422, "refused")
    }

    fn blamed_as(&self, status: u16, kind: &str) -> String {
        let problem = self.problem(status, kind);
        assert_eq!(problem["errors"].as_array().map(Vec::len), Some(1), "{problem}");
        problem["errors"][0]["field"].as_str().unwrap().to_owned()
    }
}
