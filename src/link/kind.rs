//! What kind of broker a link connects to, and by which transport.
//!
//! It knows no address.

/// The kind of the other broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Azure Event Grid.
    EventGrid,
    /// AWS IoT Core.
    AwsIot,
    /// Any MQTT 5 broker.
    Mqtt,
}

/// How the connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkTransport {
    /// MQTT over TLS (`tls`).
    Tls,
    /// MQTT over a websocket over TLS (`wss`).
    SecureWebSocket,
    /// MQTT over TCP (`tcp`): only to this machine.
    Tcp,
    /// MQTT over a websocket (`ws`): only to this machine.
    WebSocket,
}

// === impl LinkKind ===

impl LinkKind {
    /// Its name in the file.
    pub const fn label(self) -> &'static str {
        match self {
            Self::EventGrid => "event-grid",
            Self::AwsIot => "aws-iot",
            Self::Mqtt => "mqtt",
        }
    }
}

// === impl LinkTransport ===

impl LinkTransport {
    /// Whether it uses TLS.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    /// Whether it uses a websocket.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }

    /// Its name in the file.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::SecureWebSocket => "wss",
            Self::Tcp => "tcp",
            Self::WebSocket => "ws",
        }
    }
}
