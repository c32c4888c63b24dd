//! The protocol that a connection names in its TLS handshake (ALPN). On port 443 AWS finds out by it
//! what the client wants.
//!
//! It opens no connection.

use crate::link::kind::{LinkKind, LinkTransport};
use crate::link::settings::{LinkAuth, LinkSettings};

/// MQTT with a client certificate on port 443 of AWS IoT Core.
const CERTIFICATE: &[u8] = b"x-amzn-mqtt-ca";

/// MQTT with a custom authorizer on the same port.
const AUTHORIZER: &[u8] = b"mqtt";

/// Websockets: they start as HTTP.
const HTTP: &[u8] = b"http/1.1";

/// The port that AWS shares among protocols.
const SHARED_PORT: u16 = 443;

/// The protocol names of a link, the preferred one first; none: the extension is not sent.
pub fn protocol_names(link: &LinkSettings) -> Vec<Vec<u8>> {
    match (link.transport, link.kind, &link.auth) {
        (LinkTransport::SecureWebSocket, ..) => vec![HTTP.to_vec()],
        (LinkTransport::Tls, LinkKind::AwsIot, LinkAuth::Certificate { .. })
            if link.port == SHARED_PORT =>
        {
            vec![CERTIFICATE.to_vec()]
        }
        (
            LinkTransport::Tls,
            LinkKind::AwsIot,
            LinkAuth::Password { .. } | LinkAuth::Jwt { .. },
        ) if link.port == SHARED_PORT => vec![AUTHORIZER.to_vec()],
        _ => Vec::new(),
    }
}
