//! What was seen on the way to another broker, as far as the connect came.
//!
//! It judges nothing and holds no secret.

use std::net::SocketAddr;

use crate::domain::time::Timestamp;

/// What one connect saw. A part is missing if the connect did not come that far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteFacts {
    /// The addresses of the host.
    pub addresses: Vec<SocketAddr>,
    /// The address that accepted TCP.
    pub peer: Option<SocketAddr>,
    /// What TLS agreed on.
    pub tls: Option<TlsFacts>,
    /// The answer to the request for a websocket.
    pub upgrade: Option<UpgradeFacts>,
}

/// What a TLS handshake agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// The version, such as `TLSv1.3`.
    pub version: String,
    /// The protocol that the server took from those offered by ALPN.
    pub alpn: Option<String>,
    /// When the server's certificate expires.
    pub not_after: Option<Timestamp>,
    /// Whether the server requested a client certificate.
    pub client_certificate_requested: bool,
}

/// The answer to the HTTP request that opens a websocket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpgradeFacts {
    /// The HTTP status; 101 is success.
    pub status: u16,
    /// The type of error that AWS names in `x-amzn-ErrorType`.
    pub error_type: Option<String>,
    /// The server's message: that of a JSON body, or the body's text.
    pub message: Option<String>,
    /// The server's clock: its `Date`.
    pub date: Option<String>,
}
