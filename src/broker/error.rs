//! Failures of a broker connection: each is one sentence with the cause and what to change.
//!
//! None of them ends the process. No sentence holds a password.

use std::io;
use std::time::Duration;

use tokio_rustls::rustls;

use super::advice::{
    SESSION_TAKEN_OVER, connect_advice, disconnect_advice, subscribe_advice, tls_advice,
};
use super::login::jwt::MintError;
use super::transport::malformed::Malformed;
use super::transport::packets::DisconnectReason;
use super::transport::web_socket_fault::WebSocketFault;
use crate::disk;

/// Two clients with one client id take the session from each other: the one that lost waits at
/// least this long.
const TAKEN_OVER_PAUSE: Duration = Duration::from_secs(30);

/// Why there is no working connection.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The name has no address.
    #[error(
        "the broker's host name {host} cannot be resolved ({source}): check MQTT_HOST and the name server"
    )]
    Name {
        /// `MQTT_HOST`.
        host: String,
        /// Error of the resolver.
        source: io::Error,
    },
    /// No TCP connection.
    #[error(
        "no connection to the broker at {address} ({source}): start the broker, or check MQTT_HOST, MQTT_PORT and firewalls"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// Error of the system.
        source: io::Error,
    },
    /// TCP and TLS together took too long.
    #[error(
        "the broker at {address} did not accept the connection within {seconds} s: \
         check MQTT_HOST, MQTT_PORT and firewalls"
    )]
    ConnectTimeout {
        /// Host and port.
        address: String,
        /// How long Sluice waited.
        seconds: u64,
    },
    /// A certificate or key of the settings is unusable.
    #[error("{setting} cannot be used ({why}): check the file and its permissions")]
    TlsFile {
        /// The setting, with its path.
        setting: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file of the settings is unreachable.
    #[error("{0}")]
    Disk(disk::Unreachable),
    /// TLS failed.
    #[error("the TLS handshake with the broker failed ({source}): {}", tls_advice(.source))]
    Tls {
        /// Error of rustls, including the broker's alert.
        source: rustls::Error,
    },
    /// CONNACK with a refusal.
    #[error("the broker refused the connection with code 0x{code:02X}{}{}: {}", reason_text(.reason.as_ref()), server_text(.server.as_ref()), connect_advice(*.code))]
    Refused {
        /// The reason code.
        code: u8,
        /// The broker's text.
        reason: Option<String>,
        /// The server that the broker names in place of itself.
        server: Option<String>,
    },
    /// SUBACK with a refusal.
    #[error("the broker refused the subscription to {filter} with code 0x{code:02X}: {}", subscribe_advice(*.code))]
    SubscriptionRefused {
        /// `MQTT_TOPIC`, with the share group.
        filter: String,
        /// The reason code.
        code: u8,
    },
    /// SUBACK with less than QoS 1.
    #[error(
        "the broker grants {filter} only at QoS 0, where messages may be lost: allow QoS 1 for this user at the broker"
    )]
    Downgraded {
        /// `MQTT_TOPIC`, with the share group.
        filter: String,
    },
    /// CONNECT or SUBSCRIBE was not answered.
    #[error(
        "the broker did not answer {packet} within {seconds} s: \
         check that MQTT_PORT is an MQTT 5 listener, and the load of the broker"
    )]
    NoAnswer {
        /// The packet.
        packet: &'static str,
        /// How long Sluice waited.
        seconds: u64,
    },
    /// The connection was closed before CONNACK.
    #[error(
        "the broker closed the connection instead of answering CONNECT: \
         set MQTT_TLS=1 if this listener expects TLS, unset it otherwise, and read the broker's log"
    )]
    ClosedEarly,
    /// The connection was closed without a DISCONNECT.
    #[error(
        "the broker closed the connection without a reason: read the broker's log; \
         if this repeats, check that no other client uses this MQTT_CLIENT_ID"
    )]
    Closed,
    /// The connection failed.
    #[error("the connection to the broker failed ({0})")]
    Broken(io::Error),
    /// A write did not finish in time.
    #[error("the broker accepted no bytes for {seconds} s")]
    WriteStalled {
        /// How long Sluice waited.
        seconds: u64,
    },
    /// Not even PINGRESP arrived.
    #[error("the broker sent nothing for {seconds} s")]
    Silent {
        /// How long it was silent.
        seconds: u64,
    },
    /// A packet began and did not end, although its bytes kept coming.
    #[error("a packet of the broker did not end within {seconds} s")]
    PacketStalled {
        /// How long Sluice waited.
        seconds: u64,
    },
    /// Not MQTT 5, or a packet out of turn.
    #[error("{}", protocol_text(*.0))]
    Protocol(#[from] Malformed),
    /// A packet could not be encoded.
    #[error("the settings do not fit into an MQTT packet ({0})")]
    Unsendable(String),
    /// No token for the login.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The token expires soon, and only a new connection can replace it.
    #[error("the login token expires soon; reconnecting with a new token")]
    LoginAges,
    /// AUTH with a code that requires another step.
    #[error(
        "the broker answered the new login token with AUTH code 0x{code:02X}: \
         it requires another authentication step; set MQTT_JWT_AS=password"
    )]
    AuthContinued {
        /// The code.
        code: u8,
    },
    /// The broker refused a newer login token on the connection.
    #[error(
        "the broker refused the newer login token with code 0x{code:02X}: {}; \
         reconnecting with a new token",
        connect_advice(*.code)
    )]
    RenewalRefused {
        /// The reason code.
        code: u8,
    },
    /// The HTTP request for a websocket was refused.
    #[error("the server refused the websocket with HTTP status {status}{}{}", in_brackets(.error_type.as_ref()), in_quotes(.message.as_ref()))]
    Upgrade {
        /// The HTTP status.
        status: u16,
        /// The type of error that AWS names.
        error_type: Option<String>,
        /// The server's message.
        message: Option<String>,
        /// The server's clock, as its `Date` says.
        date: Option<String>,
    },
    /// The answer to the request for a websocket is none.
    #[error("the server's answer to the request for a websocket is invalid: {0}")]
    NotUpgraded(&'static str),
    /// The websocket failed.
    #[error("{0}")]
    WebSocket(#[from] WebSocketFault),
    /// DISCONNECT.
    #[error("the broker ended the connection with code 0x{:02X}{}{}: {}", .0.code, reason_text(.0.reason.as_ref()), server_text(.0.server.as_ref()), disconnect_advice(.0.code))]
    Dismissed(DisconnectReason),
}

// === impl BrokerError ===

impl BrokerError {
    /// Minimum wait before the next attempt.
    pub fn pause(&self) -> Duration {
        if self.is_takeover() { TAKEN_OVER_PAUSE } else { Duration::ZERO }
    }

    /// Whether another client took the session over.
    pub fn is_takeover(&self) -> bool {
        let code = match self {
            Self::Refused { code, .. } => *code,
            Self::Dismissed(disconnect) => disconnect.code,
            _ => 0,
        };
        code == SESSION_TAKEN_OVER
    }

    /// Error of a socket after the connect. Under TLS 1.3 an alert about the client certificate
    /// arrives this way.
    pub fn of_io(error: io::Error) -> Self {
        let inner = error.get_ref();
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned();
        let websocket = inner.and_then(|inner| inner.downcast_ref::<WebSocketFault>()).cloned();
        match tls {
            Some(source) => Self::Tls { source },
            None if websocket.is_some() => websocket.map_or(Self::Closed, Self::WebSocket),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            None => Self::Broken(error),
        }
    }

    /// The same error before CONNACK.
    #[must_use]
    pub fn before_connack(self) -> Self {
        match self {
            Self::Closed => Self::ClosedEarly,
            Self::Broken(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Self::ClosedEarly
            }
            other => other,
        }
    }
}

// --- private helpers ---

fn in_brackets(text: Option<&String>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

fn in_quotes(text: Option<&String>) -> String {
    text.map(|text| format!(": \"{text}\"")).unwrap_or_default()
}

/// The broker's reason text, if any.
fn reason_text(reason: Option<&String>) -> String {
    in_brackets(reason.map(|text| format!("\"{text}\"")).as_ref())
}

/// The server that the broker names, if any.
fn server_text(server: Option<&String>) -> String {
    server.map(|server| format!("; it names the server {server}")).unwrap_or_default()
}

fn protocol_text(fault: Malformed) -> String {
    if fault.is_out_of_turn() {
        return format!("the broker sent {fault}, which breaks MQTT 5: read the broker's log");
    }
    format!(
        "the broker sent bytes that are not MQTT 5 ({fault}): check MQTT_TLS, and that MQTT_PORT is an MQTT \
         listener"
    )
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::AlertDescription as Alert;

    use super::*;

    fn refused(code: u8) -> BrokerError {
        BrokerError::Refused { code, reason: None, server: None }
    }

    fn dismissed(code: u8) -> BrokerError {
        BrokerError::Dismissed(DisconnectReason { code, reason: None, server: None })
    }

    #[test]
    fn every_refusal_names_what_to_change() {
        for (error, named) in [
            (refused(0x86), "MQTT_PASSWORD"),
            (refused(0x87), "MQTT_USERNAME"),
            (refused(0x85), "MQTT_CLIENT_ID"),
            (
                BrokerError::Refused { code: 0x01, reason: Some("old".into()), server: None },
                "(\"old\"): the broker does not support MQTT 5",
            ),
            (
                BrokerError::Refused { code: 0x9c, reason: None, server: Some("b:1883".into()) },
                "it names the server b:1883: the broker has another address",
            ),
            (BrokerError::Protocol(Malformed::UnrequestedAuth), "AUTH without a renewal"),
            (
                BrokerError::SubscriptionRefused { filter: "t".into(), code: 0x87 },
                "read MQTT_TOPIC",
            ),
            (
                BrokerError::SubscriptionRefused { filter: "t".into(), code: 0x9e },
                "MQTT_SHARE_GROUP",
            ),
            (BrokerError::SubscriptionRefused { filter: "t".into(), code: 0x97 }, "quota"),
            (dismissed(0x8e), "MQTT_CLIENT_ID"),
            (
                BrokerError::Tls {
                    source: rustls::Error::AlertReceived(Alert::CertificateRequired),
                },
                "MQTT_CLIENT_CERT",
            ),
        ] {
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn after_a_takeover_the_next_attempt_waits_half_a_minute() {
        assert_eq!(dismissed(0x8e).pause(), TAKEN_OVER_PAUSE);
        assert_eq!(BrokerError::Closed.pause(), Duration::ZERO);
    }
}
