//! Where the broker is and how to speak to it.

use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;

/// The broker's settings.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// `MQTT_HOST`.
    pub host: String,
    /// `MQTT_PORT`.
    pub port: u16,
    /// `MQTT_USERNAME`.
    pub username: Option<String>,
    /// `MQTT_PASSWORD`.
    pub password: Option<Secret>,
    /// `MQTT_CLIENT_ID`.
    pub client_id: String,
    /// `MQTT_TOPIC`.
    pub topic: String,
    /// `MQTT_SHARE_GROUP`.
    pub share_group: Option<String>,
    /// TLS, when `MQTT_TLS` is on.
    pub tls: Option<BrokerTls>,
    /// `MQTT_KEEPALIVE_SECONDS`.
    pub keepalive: Duration,
    /// `MQTT_SESSION_EXPIRY_SECONDS`.
    pub session_expiry_seconds: u32,
    /// `MQTT_RECEIVE_MAXIMUM`.
    pub receive_maximum: u16,
    /// `MQTT_MAX_PACKET_BYTES`.
    pub max_packet_bytes: usize,
}

/// TLS towards the broker. Files are read anew at each connect, so rotated certificates are picked up.
#[derive(Clone, Debug)]
pub struct BrokerTls {
    /// `MQTT_CA_CERT`; without it the system's roots are trusted.
    pub ca_cert: Option<PathBuf>,
    /// `MQTT_CLIENT_CERT` and `MQTT_CLIENT_KEY`.
    pub identity: Option<(PathBuf, PathBuf)>,
}
