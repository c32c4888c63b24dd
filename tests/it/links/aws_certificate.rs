//! AWS IoT Core with a client certificate: on port 443 by the name of the protocol.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::aws::AwsGate;
use super::rig::Peer;
use crate::support::wait;

/// There is one port 443.
static PORT: Mutex<()> = Mutex::new(());

/// A gate on port 443 of the loopback, in front of the Mosquitto of another gate.
#[derive(Debug)]
pub struct AlpnGate {
    pub peer: Peer,
    _port: MutexGuard<'static, ()>,
}

// === impl AlpnGate ===

impl AlpnGate {
    /// `None`, and a line that says so, where this process may not open port 443.
    pub fn start(aws: &AwsGate) -> Option<Self> {
        let held = PORT.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_forbidden = false;
        // Another test process may have it at the moment.
        wait::until("port 443 is free", || match TcpListener::bind(("127.0.0.1", 443)) {
            Ok(_) => true,
            Err(error) => {
                is_forbidden = error.kind() == ErrorKind::PermissionDenied;
                is_forbidden
            }
        });
        if is_forbidden {
            println!("NOT TESTED: port 443 of AWS, because this user may not open it");
            return None;
        }
        let (certificate, key) = aws.client_certificate("server");
        let (ca, broker) = (aws.ca(), aws.broker.port().to_string());
        let [certificate, key, ca] = [&certificate, &key, &ca].map(|path| path.to_str().unwrap());
        let args = ["127.0.0.1", "443", &broker, certificate, key, ca];
        let mut peer = Peer::start("alpn_gate.py", &args);
        peer.wait_for("listening");
        Some(Self { peer, _port: held })
    }
}

/// What the gate says of a client that it admits.
pub fn admitted(name: &str) -> serde_json::Value {
    json!({ "alpn": "x-amzn-mqtt-ca", "client": name })
}
