//! A daemon with the authority of a [`CaFixture`], so that a test can compare the API with the
//! command line.

use std::ops::Deref;

use serde_json::{Value, json};

use super::client::{self, Answer, Client, TOKEN};
use crate::certificates::ca_fixture::CaFixture;
use crate::support::daemon::Daemon;

/// Where a certificate is issued to the device of the ca.
pub const ISSUE: &str = "/tenants/acme/devices/pump-1/certificates";

/// The authority of the ca, as OpenSSL signs with it.
pub const OURS: &str = "-CA ca.crt -CAkey ca.key -CAcreateserial";

pub struct ApiWithAuthority {
    pub ca: CaFixture,
    pub daemon: Daemon,
    client: Client,
}

// === impl ApiWithAuthority ===

impl ApiWithAuthority {
    /// With the authority of the fixture.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With more settings than those of the fixture.
    pub fn with(more: &[(&str, &str)]) -> Self {
        let ca = CaFixture::new();
        let start = client::builder().on_database(&ca.database).with(&ca.files());
        let started = start.with(more).start();
        let client = Client::of(started.listening("HTTP_BIND"), Some(TOKEN));
        Self { ca, daemon: started.daemon, client }
    }

    /// A new key and a request for it: the request.
    pub fn request(&self, name: &str, subject: &str) -> String {
        std::fs::read_to_string(self.ca.request(name, subject)).unwrap()
    }

    /// A certificate that OpenSSL signed for a new request, in PEM.
    pub fn signed(&self, name: &str, subject: &str, authority: &str) -> String {
        let openssl = &self.ca.openssl;
        self.request(name, subject);
        openssl.dir.write("client.ext", "extendedKeyUsage = clientAuth\n");
        openssl.done(&format!(
            "x509 -req -in {name}.csr {authority} -days 30 -extfile client.ext -out {name}.crt"
        ));
        String::from_utf8(openssl.read(&format!("{name}.crt"))).unwrap()
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

impl Deref for ApiWithAuthority {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The identifier in an answer.
pub fn id(said: &Value) -> &str {
    said["id"].as_str().unwrap()
}
