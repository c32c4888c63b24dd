//! Where the broker is and how to speak to it.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::secret::Secret;
use super::setting::{Kind, Rule, Setting};

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

const HOST: Kind = Kind::Text(Rule { allowed: "a host name or an IP address, without scheme or port", holds: is_host });
const NAME: Kind = Kind::Text(Rule { allowed: "a user name", holds: |_| true });
const PASSWORD: Kind = Kind::Secret(Rule { allowed: "a password of at most 65535 bytes", holds: |_| true });
const CLIENT_ID: Kind = Kind::Text(Rule {
    allowed: "1 to 128 characters, none of them + or #",
    holds: |text| text.len() <= 128 && is_plain(text),
});
const FILTER: Kind = Kind::Text(Rule {
    allowed: "an MQTT topic filter (+ and # stand for whole levels, # only at the end) without $share/",
    holds: is_filter,
});
const GROUP: Kind =
    Kind::Text(Rule { allowed: "a name without / + #", holds: |text| is_plain(text) && !text.contains('/') });

/// The rows of the table.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::with_default("MQTT_HOST", "localhost", HOST, "The broker's host."),
    Setting::whole("MQTT_PORT", "1883", (1, 65_535), "", "The broker's TCP port; 8883 is usual with TLS."),
    Setting::optional("MQTT_USERNAME", NAME, "The user name Sluice logs in with."),
    Setting::optional("MQTT_PASSWORD", PASSWORD, "The password that goes with MQTT_USERNAME."),
    Setting::with_default(
        "MQTT_CLIENT_ID",
        "sluice",
        CLIENT_ID,
        "The name of the session at the broker, which keeps messages for it. Each replica has its own, always the same.",
    ),
    Setting::with_default("MQTT_TOPIC", "tenant/+/device/+/#", FILTER, "What to subscribe to."),
    Setting::optional(
        "MQTT_SHARE_GROUP",
        GROUP,
        "With several replicas: the group among which the broker deals out the messages, the same for all.",
    ),
    Setting::switch("MQTT_TLS", "0", "Whether to speak TLS to the broker."),
    Setting::optional(
        "MQTT_CA_CERT",
        Kind::Path,
        "With MQTT_TLS: who may have signed the broker's certificate (PEM). Not set: the system's roots.",
    ),
    Setting::optional(
        "MQTT_CLIENT_CERT",
        Kind::Path,
        "With MQTT_TLS: Sluice's own certificate (PEM). It needs MQTT_CLIENT_KEY.",
    ),
    Setting::optional("MQTT_CLIENT_KEY", Kind::Path, "The key of MQTT_CLIENT_CERT (PEM)."),
    Setting::whole(
        "MQTT_KEEPALIVE_SECONDS",
        "30",
        (5, 3600),
        "seconds",
        "How long a silent connection is trusted before it is probed.",
    ),
    Setting::whole(
        "MQTT_SESSION_EXPIRY_SECONDS",
        "604800",
        (60, u32::MAX as u64),
        "seconds",
        "How long the broker keeps messages while Sluice is away; 4294967295 is for ever.",
    ),
    Setting::whole(
        "MQTT_RECEIVE_MAXIMUM",
        "16000",
        (2, 65_535),
        "messages",
        "How many messages may be on their way before the first is acknowledged; at least 2 x BATCH_SIZE.",
    ),
    Setting::whole(
        "MQTT_MAX_PACKET_BYTES",
        "16777216",
        (1024, 268_435_455),
        "bytes",
        "The largest packet that is taken. It must be larger than the broker's message_size_limit, or a big message is \
         delivered over and over.",
    ),
];

/// What a filter for sharing begins with; `MQTT_SHARE_GROUP` puts it there.
const SHARE_PREFIX: &str = "$share/";

// === impl BrokerConfig ===

impl BrokerConfig {
    /// `MQTT_TOPIC`, shared when there is a group.
    pub fn filter(&self) -> String {
        match &self.share_group {
            Some(group) => format!("{SHARE_PREFIX}{group}/{}", self.topic),
            None => self.topic.clone(),
        }
    }

    /// The broker, as `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(super) fn read(reader: &mut Reader) -> Self {
        let username = reader.optional_text("MQTT_USERNAME");
        let password = reader.secret("MQTT_PASSWORD");
        if password.is_some() && username.is_none() {
            reader.conflict(&["MQTT_PASSWORD", "MQTT_USERNAME"], "a password needs a user name: set MQTT_USERNAME");
        }
        Self {
            host: reader.text("MQTT_HOST"),
            port: reader.whole("MQTT_PORT"),
            username,
            password,
            client_id: reader.text("MQTT_CLIENT_ID"),
            topic: reader.text("MQTT_TOPIC"),
            share_group: reader.optional_text("MQTT_SHARE_GROUP"),
            tls: BrokerTls::read(reader),
            keepalive: reader.seconds("MQTT_KEEPALIVE_SECONDS"),
            session_expiry_seconds: reader.whole("MQTT_SESSION_EXPIRY_SECONDS"),
            receive_maximum: reader.whole("MQTT_RECEIVE_MAXIMUM"),
            max_packet_bytes: reader.whole("MQTT_MAX_PACKET_BYTES"),
        }
    }
}

// === impl BrokerTls ===

impl BrokerTls {
    fn read(reader: &mut Reader) -> Option<Self> {
        let on = reader.switch("MQTT_TLS");
        let ca_cert = reader.path("MQTT_CA_CERT");
        let cert = reader.path("MQTT_CLIENT_CERT");
        let key = reader.path("MQTT_CLIENT_KEY");
        let names = [("MQTT_CA_CERT", &ca_cert), ("MQTT_CLIENT_CERT", &cert), ("MQTT_CLIENT_KEY", &key)];
        for (name, _) in names.iter().filter(|(_, path)| path.is_some() && !on) {
            reader.conflict(&[name, "MQTT_TLS"], "it is used only with TLS: set MQTT_TLS=1, or leave it out");
        }
        if cert.is_some() != key.is_some() {
            reader.conflict(&["MQTT_CLIENT_CERT", "MQTT_CLIENT_KEY"], "each needs the other: set both or neither");
        }
        on.then(|| Self { ca_cert, identity: cert.zip(key) })
    }
}

fn is_host(text: &str) -> bool {
    let name = |text: &str| text.len() <= 253 && !text.contains(|c: char| c.is_whitespace() || "/@:".contains(c));
    name(text) || text.parse::<std::net::Ipv6Addr>().is_ok()
}

fn is_plain(text: &str) -> bool {
    !text.contains(['+', '#'])
}

fn is_filter(text: &str) -> bool {
    let mut levels = text.split('/').rev();
    let last = levels.next().is_some_and(|level| level == "#" || level == "+" || is_plain(level));
    last && levels.all(|level| level == "+" || is_plain(level)) && !text.starts_with(SHARE_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_filter_follows_the_rules_of_mqtt() {
        for good in ["tenant/+/device/+/#", "#", "+", "+/a", "/", "a//b", "$SYS/#"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["a/#/b", "a#", "a/b+", "+a/b", "#/a", "$share/g/tenant/#"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_more() {
        for good in ["localhost", "broker.example.com", "10.0.0.1", "::1", "fe80::1"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["mqtt://broker", "broker:1883", "user@broker", "a b", "broker/"] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
