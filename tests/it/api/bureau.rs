//! An operator's place with a daemon beside it, so that what the command line does can be asked of
//! the API.

use std::ops::Deref;

use serde_json::{Value, json};

use super::client::{self, Answer, Client, TOKEN};
use crate::certificates::office::Office;
use crate::support::daemon::Daemon;
use crate::support::port;

/// Where a certificate is issued to the device of the office.
pub const ISSUE: &str = "/tenants/acme/devices/pump-1/certificates";

/// The authority of the office, as OpenSSL signs with it.
pub const OURS: &str = "-CA ca.crt -CAkey ca.key -CAcreateserial";

pub struct Bureau {
    pub office: Office,
    pub daemon: Daemon,
    client: Client,
}

// === impl Bureau ===

impl Bureau {
    /// With the authority of the office.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With other settings beside those of the office.
    pub fn with(more: &[(&str, &str)]) -> Self {
        let (office, port) = (Office::new(), port::free());
        let start = client::settings(&office.database, "127.0.0.1", port).set("ADMIN_TOKEN", TOKEN);
        let start = office.files().iter().fold(start, |all, (name, value)| all.set(name, value));
        let daemon = more.iter().fold(start, |all, (name, value)| all.set(name, value)).start();
        Self { office, daemon, client: Client::of(port, Some(TOKEN)) }
    }

    /// A new key and a request for it: the request.
    pub fn request(&self, name: &str, subject: &str) -> String {
        std::fs::read_to_string(self.office.request(name, subject)).unwrap()
    }

    /// A certificate that OpenSSL signed for a new request, in PEM.
    pub fn signed(&self, name: &str, subject: &str, authority: &str) -> String {
        let desk = &self.office.desk;
        self.request(name, subject);
        desk.dir.write("client.ext", "extendedKeyUsage = clientAuth\n");
        desk.done(&format!(
            "x509 -req -in {name}.csr {authority} -days 30 -extfile client.ext -out {name}.crt"
        ));
        String::from_utf8(desk.read(&format!("{name}.crt"))).unwrap()
    }

    /// Asks for a certificate for this request.
    pub fn order(&self, csr: &str) -> Answer {
        self.post(ISSUE, &json!({ "csr": csr }))
    }

    /// A certificate for a new request; what was said of it.
    pub fn issued(&self, name: &str) -> Value {
        self.order(&self.request(name, "/")).ok(201)
    }

    /// Does something to a certificate.
    pub fn act(&self, id: &str, action: &str, body: &Value) -> Answer {
        self.post(&format!("/certificates/{id}/{action}"), body)
    }

    /// Takes a certificate's place with a new request; what was said of it.
    pub fn replaced(&self, action: &str, old: &Value, name: &str) -> Value {
        self.act(id(old), action, &json!({ "csr": self.request(name, "/") })).ok(201)
    }

    pub fn confirm(&self, id: &str) -> Answer {
        self.call("POST", &format!("/certificates/{id}/confirm"), None)
    }
}

impl Deref for Bureau {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The identifier in an answer.
pub fn id(said: &Value) -> &str {
    said["id"].as_str().unwrap()
}
