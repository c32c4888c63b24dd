//! Where a connection to another broker goes, and how. Data only.

use std::time::Duration;

use crate::broker::setting_names::SettingNames;
use crate::config::secret::Secret;
use crate::config::sections::broker::BrokerConfig;

/// The usual bound for one packet: enough for the largest one on a slow line.
pub const PACKET_PATIENCE: Duration = Duration::from_mins(2);

/// Everything that one connect needs.
#[derive(Clone, Debug)]
pub struct RemoteTarget {
    /// Address, login, client id, TLS, keepalive, session expiry, window and the largest packet that is
    /// read whole. The topic and the share group are not used.
    pub broker: BrokerConfig,
    /// How errors name these settings.
    pub names: SettingNames,
    /// The protocols to offer by ALPN; none: no ALPN.
    pub alpn: Vec<Vec<u8>>,
    /// The request that opens the websocket; `None`: MQTT without a websocket.
    pub websocket: Option<WebSocketRequest>,
    /// Whether the broker forgets an earlier session of this client id.
    pub clean_start: bool,
    /// Upper bound for one packet, from its first byte to its last: a broker that sends one byte after
    /// the other answers no ping, and is not silent either.
    pub packet_patience: Duration,
}

/// The HTTP request that opens a websocket.
#[derive(Clone, Debug)]
pub struct WebSocketRequest {
    /// Path and query; a signed query is a secret.
    pub path_and_query: Secret,
    /// The Host header, exactly as it was signed.
    pub host: String,
}
