//! Settings of the connection to the broker.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::load::reader::SettingReader;
use crate::config::secret::Secret;
use crate::config::setting::{Setting, SettingKind, SettingRule};

/// Settings of the connection to the broker.
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
    /// The token Sluice logs in with, when `MQTT_JWT_KEY` is set.
    pub jwt: Option<BrokerJwt>,
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

/// The token that Sluice signs for its own login. The key is read for each token, so a new key
/// needs no restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerJwt {
    /// `MQTT_JWT_KEY`.
    pub key: PathBuf,
    /// `MQTT_JWT_KEY_ID`.
    pub key_id: Option<String>,
    /// `MQTT_JWT_CLAIMS`; never one of [`OWN_CLAIMS`].
    pub claims: Map<String, Value>,
    /// `MQTT_JWT_LIFETIME_SECONDS`.
    pub lifetime: Duration,
    /// `MQTT_JWT_AS`.
    pub place: JwtPlace,
}

/// The field of CONNECT that carries the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtPlace {
    /// The password.
    Password,
    /// The user name.
    Username,
    /// The data of MQTT 5's enhanced authentication, renewed without a new connection.
    Enhanced,
}

/// Longest claims, in bytes: brokers limit tokens, and an MQTT string holds four of these.
pub(crate) const MAX_CLAIMS_BYTES: usize = 16 * 1024;

/// The claims that Sluice sets in each token.
pub const OWN_CLAIMS: [&str; 3] = ["exp", "iat", "nbf"];

/// TLS to the broker. Files are read at each connect, so rotated certificates are used.
#[derive(Clone, Debug)]
pub struct BrokerTls {
    /// `MQTT_CA_CERT`; without it the system's roots are trusted.
    pub ca_cert: Option<PathBuf>,
    /// `MQTT_CLIENT_CERT` and `MQTT_CLIENT_KEY`.
    pub identity: Option<(PathBuf, PathBuf)>,
}

const HOST: SettingKind = SettingKind::Text(SettingRule {
    allowed: "a host name or an IP address, without scheme or port",
    holds: is_host,
});
const NAME: SettingKind =
    SettingKind::Text(SettingRule { allowed: "a user name", holds: |_| true });
const PASSWORD: SettingKind = SettingKind::Secret(SettingRule {
    allowed: "a password of at most 65535 bytes",
    holds: |_| true,
});
const CLIENT_ID: SettingKind = SettingKind::Text(SettingRule {
    allowed: "1 to 128 characters, none of them + or #",
    holds: |text| text.len() <= 128 && is_plain(text),
});
const FILTER: SettingKind = SettingKind::Text(SettingRule {
    allowed: "an MQTT topic filter (+ and # are whole levels, # only at the end) without $share/",
    holds: is_filter,
});
const GROUP: SettingKind = SettingKind::Text(SettingRule {
    allowed: "a name without / + #",
    holds: |text| is_plain(text) && !text.contains('/'),
});

const CLAIMS: SettingKind = SettingKind::Text(SettingRule {
    allowed: "a JSON object of at most 16 KiB without exp, iat and nbf, such as {\"iss\": \"sluice\", \"sub\": \"gate\"}",
    holds: |text| claims(text).is_some(),
});
const KEY_ID: SettingKind =
    SettingKind::Text(SettingRule { allowed: "a key identifier", holds: |_| true });
const PLACES: &[&str] = &["password", "username", "enhanced"];

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::with_default("MQTT_HOST", "localhost", HOST, "The broker's host name or IP address."),
    Setting::whole(
        "MQTT_PORT",
        "1883",
        (1, 65_535),
        "",
        "The broker's TCP port. With TLS it is usually 8883.",
    ),
    Setting::optional("MQTT_USERNAME", NAME, "The user name of Sluice at the broker."),
    Setting::optional("MQTT_PASSWORD", PASSWORD, "The password of MQTT_USERNAME."),
    Setting::optional(
        "MQTT_JWT_KEY",
        SettingKind::Path,
        "The RSA key (PEM, mode 0600) that signs Sluice's login tokens. If it is set, Sluice logs in with tokens that it \
         creates and renews.",
    ),
    Setting::optional(
        "MQTT_JWT_KEY_ID",
        KEY_ID,
        "The identifier (kid) of MQTT_JWT_KEY in the broker's configuration.",
    ),
    Setting::optional(
        "MQTT_JWT_CLAIMS",
        CLAIMS,
        "Further claims of the token, in addition to exp, iat and nbf, which Sluice sets.",
    ),
    Setting::whole(
        "MQTT_JWT_LIFETIME_SECONDS",
        "3600",
        (60, 86_400),
        "seconds",
        "How long the token is valid. Sluice renews it after three quarters of that time.",
    ),
    Setting::with_default(
        "MQTT_JWT_AS",
        "password",
        SettingKind::Choice(PLACES),
        "How the token is sent: password (with MQTT_USERNAME), username (the password is MQTT_PASSWORD, or jwt if that is not \
         set), or enhanced (MQTT 5 authentication with the method CUSTOM-JWT).",
    ),
    Setting::with_default(
        "MQTT_CLIENT_ID",
        "sluice",
        CLIENT_ID,
        "The client id of Sluice. The broker keeps messages for its session, so it must stay the same. Each replica needs its own: \
         %ordinal stands for its number.",
    ),
    Setting::with_default(
        "MQTT_TOPIC",
        "tenant/+/device/+/#",
        FILTER,
        "The topic filter that Sluice subscribes to.",
    ),
    Setting::optional(
        "MQTT_SHARE_GROUP",
        GROUP,
        "The shared subscription group. With several replicas set the same group on each: the broker distributes the messages \
         among them.",
    ),
    Setting::switch("MQTT_TLS", "0", "Whether Sluice connects to the broker with TLS."),
    Setting::optional(
        "MQTT_CA_CERT",
        SettingKind::Path,
        "The certificate authorities (PEM) that may have signed the broker's certificate, with MQTT_TLS. Not set: the system's \
         root certificates.",
    ),
    Setting::optional(
        "MQTT_CLIENT_CERT",
        SettingKind::Path,
        "The client certificate of Sluice (PEM), with MQTT_TLS. It needs MQTT_CLIENT_KEY.",
    ),
    Setting::optional(
        "MQTT_CLIENT_KEY",
        SettingKind::Path,
        "The private key of MQTT_CLIENT_CERT (PEM).",
    ),
    Setting::whole(
        "MQTT_KEEPALIVE_SECONDS",
        "30",
        (5, 3600),
        "seconds",
        "How long a connection may be idle before Sluice sends a PINGREQ.",
    ),
    Setting::whole(
        "MQTT_SESSION_EXPIRY_SECONDS",
        "604800",
        (60, u32::MAX as u64),
        "seconds",
        "How long the broker keeps messages while Sluice is disconnected. 4294967295 means without limit.",
    ),
    Setting::whole(
        "MQTT_RECEIVE_MAXIMUM",
        "16000",
        (2, 65_535),
        "messages",
        "The maximum number of messages in flight, which are delivered and not acknowledged. At least 2 x BATCH_SIZE x WRITER_LANES.",
    ),
    Setting::whole(
        "MQTT_MAX_PACKET_BYTES",
        "16777216",
        (1024, 268_435_455),
        "bytes",
        "The largest packet that Sluice accepts. It must be larger than the broker's message_size_limit: otherwise the broker \
         delivers a larger message again and again.",
    ),
];

/// The prefix of a shared subscription, added for `MQTT_SHARE_GROUP`.
pub(crate) const SHARE_PREFIX: &str = "$share/";

/// Appended to `MQTT_CLIENT_ID` for the connection of the exchange.
pub use sluice_shared::client_ids::EXCHANGE_SUFFIX;

// === impl BrokerConfig ===

impl BrokerConfig {
    /// Returns the topic filter: `MQTT_TOPIC`, shared if a group is set.
    pub fn filter(&self) -> String {
        match &self.share_group {
            Some(group) => format!("{SHARE_PREFIX}{group}/{}", self.topic),
            None => self.topic.clone(),
        }
    }

    /// Returns the address of the broker as `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        let username = reader.optional_text("MQTT_USERNAME");
        let password = reader.secret("MQTT_PASSWORD");
        let jwt = BrokerJwt::read(reader, username.is_some(), password.is_some());
        let names_itself = jwt.as_ref().is_some_and(|jwt| jwt.place == JwtPlace::Username);
        if password.is_some() && username.is_none() && !names_itself {
            reader.conflict(
                &["MQTT_PASSWORD", "MQTT_USERNAME"],
                "a password needs a user name: set MQTT_USERNAME",
            );
        }
        Self {
            host: reader.text("MQTT_HOST"),
            port: reader.whole("MQTT_PORT"),
            username,
            password,
            jwt,
            client_id: super::replica::with_ordinal(reader),
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

// === impl BrokerJwt ===

impl BrokerJwt {
    fn read(reader: &mut SettingReader, has_username: bool, has_password: bool) -> Option<Self> {
        let key = reader.path("MQTT_JWT_KEY");
        let key_id = reader.optional_text("MQTT_JWT_KEY_ID");
        let given = reader.optional_text("MQTT_JWT_CLAIMS");
        let lifetime = reader.seconds("MQTT_JWT_LIFETIME_SECONDS");
        let place = match reader.text("MQTT_JWT_AS").as_str() {
            "username" => JwtPlace::Username,
            "enhanced" => JwtPlace::Enhanced,
            _ => JwtPlace::Password,
        };
        let Some(key) = key else {
            for (name, _) in
                [("MQTT_JWT_KEY_ID", key_id.is_some()), ("MQTT_JWT_CLAIMS", given.is_some())]
                    .into_iter()
                    .filter(|(_, given)| *given)
            {
                reader.conflict(
                    &[name, "MQTT_JWT_KEY"],
                    "it is used only with MQTT_JWT_KEY: set MQTT_JWT_KEY, or remove it",
                );
            }
            return None;
        };
        match place {
            JwtPlace::Password if has_password => {
                reader.conflict(
                    &["MQTT_JWT_KEY", "MQTT_PASSWORD"],
                    "the token is sent as the password: keep one of them",
                );
            }
            JwtPlace::Password if !has_username => {
                let why = "a password needs a user name: set MQTT_USERNAME, or MQTT_JWT_AS";
                reader.conflict(&["MQTT_JWT_KEY", "MQTT_USERNAME"], why);
            }
            JwtPlace::Username if has_username => {
                reader.conflict(
                    &["MQTT_JWT_AS", "MQTT_USERNAME"],
                    "the token is sent as the user name: remove MQTT_USERNAME",
                );
            }
            _ => {}
        }
        let claims = given.as_deref().and_then(claims).unwrap_or_default();
        Some(Self { key, key_id, claims, lifetime, place })
    }
}

// === impl BrokerTls ===

impl BrokerTls {
    fn read(reader: &mut SettingReader) -> Option<Self> {
        let on = reader.switch("MQTT_TLS");
        let ca_cert = reader.path("MQTT_CA_CERT");
        let cert = reader.path("MQTT_CLIENT_CERT");
        let key = reader.path("MQTT_CLIENT_KEY");
        let names =
            [("MQTT_CA_CERT", &ca_cert), ("MQTT_CLIENT_CERT", &cert), ("MQTT_CLIENT_KEY", &key)];
        for (name, _) in names.iter().filter(|(_, path)| path.is_some() && !on) {
            reader.conflict(
                &[name, "MQTT_TLS"],
                "it is used only with TLS: set MQTT_TLS=1, or remove it",
            );
        }
        if cert.is_some() != key.is_some() {
            reader.conflict(
                &["MQTT_CLIENT_CERT", "MQTT_CLIENT_KEY"],
                "each needs the other: set both or neither",
            );
        }
        on.then(|| Self { ca_cert, identity: cert.zip(key) })
    }
}

fn claims(text: &str) -> Option<Map<String, Value>> {
    if text.len() > MAX_CLAIMS_BYTES {
        return None;
    }
    let claims: Map<String, Value> = serde_json::from_str(text).ok()?;
    (!OWN_CLAIMS.iter().any(|own| claims.contains_key(*own))).then_some(claims)
}

pub(crate) fn is_host(text: &str) -> bool {
    let name = |text: &str| {
        text.len() <= 253 && !text.contains(|c: char| c.is_whitespace() || "/@:".contains(c))
    };
    name(text) || text.parse::<std::net::Ipv6Addr>().is_ok()
}

fn is_plain(text: &str) -> bool {
    !text.contains(['+', '#'])
}

pub(crate) fn is_filter(text: &str) -> bool {
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
