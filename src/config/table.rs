//! The table of all settings by area, look-up by name, and the hint for an unknown name.
//!
//! The rows of an area are in its file of [`super::sections`], beside the type they fill.

use super::nearest::nearest;
use super::sections::{
    access, broker, certificates, console, database, downlink, est, http, ingest, links, mqtt_api,
    plugin, process, public, replica,
};
use super::setting::Setting;

/// One area: a section of the file.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// The section's name.
    pub name: &'static str,
    /// What the area is about.
    pub doc: &'static str,
    /// Its settings.
    pub settings: &'static [Setting],
}

/// All settings, by area.
pub const AREAS: [Area; 15] = [
    Area { name: "broker", doc: "The connection to the broker.", settings: broker::SETTINGS },
    Area {
        name: "replica",
        doc: "Replicas: several daemons that share the messages of one broker.",
        settings: replica::SETTINGS,
    },
    Area {
        name: "database",
        doc: "The connection to Postgres, and how long data is kept there.",
        settings: database::SETTINGS,
    },
    Area {
        name: "ingest",
        doc: "Authentication, limits and batches of messages.",
        settings: ingest::SETTINGS,
    },
    Area {
        name: "downlink",
        doc: "What Sluice publishes to devices: commands, desired documents, errors.",
        settings: downlink::SETTINGS,
    },
    Area {
        name: "mqtt_api",
        doc: "Requests over MQTT: of devices, and of operators.",
        settings: mqtt_api::SETTINGS,
    },
    Area { name: "links", doc: "Links to other brokers and clouds.", settings: links::SETTINGS },
    Area {
        name: "certificates",
        doc: "The certificate authority, the CRL, and how the broker is notified of it.",
        settings: certificates::SETTINGS,
    },
    Area {
        name: "access",
        doc: "Who may log in at the broker, and which topics each client may use.",
        settings: access::SETTINGS,
    },
    Area {
        name: "plugin",
        doc: "The broker's plugin, and the proofs of publishers that it adds to messages.",
        settings: plugin::SETTINGS,
    },
    Area {
        name: "http",
        doc: "The addresses that the daemon listens on.",
        settings: http::SETTINGS,
    },
    Area {
        name: "console",
        doc: "The console: pages for a browser, and who may sign in there.",
        settings: console::SETTINGS,
    },
    Area {
        name: "est",
        doc: "First certificates of devices, and their renewal, over HTTPS (EST).",
        settings: est::SETTINGS,
    },
    Area {
        name: "public",
        doc: "Short-lived credentials for guests from the public: the listener and its limits.",
        settings: public::SETTINGS,
    },
    Area {
        name: "process",
        doc: "Logging, and the time limit of a shutdown.",
        settings: process::SETTINGS,
    },
];

/// Returns all settings with their areas, in order.
pub fn all() -> impl Iterator<Item = (&'static Area, &'static Setting)> {
    AREAS.iter().flat_map(|area| area.settings.iter().map(move |setting| (area, setting)))
}

/// Finds the setting named `name`, or the secret whose `<NAME>_FILE` it is.
pub fn find(name: &str) -> Option<(&'static Area, &'static Setting)> {
    all().find(|(_, setting)| setting.name == name || setting.file_name().as_deref() == Some(name))
}

/// The hint for an unknown name: the nearest known one.
pub(super) fn did_you_mean(unknown: &str) -> String {
    let wanted = unknown.to_uppercase();
    let names = all()
        .flat_map(|(_, setting)| [Some(setting.name.to_owned()), setting.file_name()])
        .flatten();
    match nearest(&wanted, names) {
        Some(name) => {
            let as_written =
                if unknown.contains(char::is_uppercase) { name } else { name.to_lowercase() };
            format!("did you mean {as_written}?")
        }
        None => "`sluice config template` lists all settings".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The promised names and defaults, as the design document fixes them.
    const PROMISED: [(&str, Option<&str>); 137] = [
        ("MQTT_HOST", Some("localhost")),
        ("MQTT_PORT", Some("1883")),
        ("MQTT_USERNAME", None),
        ("MQTT_PASSWORD", None),
        ("MQTT_JWT_KEY", None),
        ("MQTT_JWT_KEY_ID", None),
        ("MQTT_JWT_CLAIMS", None),
        ("MQTT_JWT_LIFETIME_SECONDS", Some("3600")),
        ("MQTT_JWT_AS", Some("password")),
        ("MQTT_CLIENT_ID", Some("sluice")),
        ("MQTT_TOPIC", Some("tenant/+/device/+/#")),
        ("MQTT_SHARE_GROUP", None),
        ("MQTT_TLS", Some("0")),
        ("MQTT_CA_CERT", None),
        ("MQTT_CLIENT_CERT", None),
        ("MQTT_CLIENT_KEY", None),
        ("MQTT_KEEPALIVE_SECONDS", Some("30")),
        ("MQTT_SESSION_EXPIRY_SECONDS", Some("604800")),
        ("MQTT_RECEIVE_MAXIMUM", Some("16000")),
        ("MQTT_MAX_PACKET_BYTES", Some("16777216")),
        ("REPLICA_ORDINAL", None),
        ("ORPHAN_AFTER_SECONDS", Some("60")),
        ("ADOPT_ORPHANS", Some("0")),
        ("DRAIN_PATIENCE_SECONDS", Some("60")),
        ("DATABASE_URL", None),
        ("REGISTRY_URL", None),
        ("PG_POOL_MAX", Some("8")),
        ("MIGRATE_ON_START", Some("1")),
        ("TELEMETRY_RETENTION_DAYS", Some("30")),
        ("QUARANTINE_RETENTION_DAYS", Some("14")),
        ("CERTIFICATE_RETENTION_DAYS", Some("0")),
        ("STORE_ENGINE", Some("auto")),
        ("COLUMNSTORE_AFTER_DAYS", Some("0")),
        ("CERT_AUTH_ENABLED", Some("0")),
        ("REQUIRE_TOKEN", Some("1")),
        ("AUTO_PROVISION", Some("0")),
        ("AUTH_CACHE_TTL_SECONDS", Some("300")),
        ("AUTH_CACHE_NEGATIVE_TTL_SECONDS", Some("30")),
        ("AUTH_CACHE_MAX_SIZE", Some("50000")),
        ("BATCH_SIZE", Some("1000")),
        ("WRITER_LANES", Some("1")),
        ("FLUSH_INTERVAL_MS", Some("5")),
        ("MAX_PAYLOAD_BYTES", Some("16384")),
        ("MAX_JSON_DEPTH", Some("16")),
        ("MAX_METRICS", Some("256")),
        ("MAX_CLOCK_SKEW_SECONDS", Some("300")),
        ("MAX_AGE_DAYS", Some("30")),
        ("RATE_LIMIT_RPS", Some("0")),
        ("RATE_LIMIT_BURST", Some("50")),
        ("QUARANTINE_MAX_PER_MINUTE", Some("600")),
        ("QUARANTINE_REPLAY_RPS", Some("500")),
        ("KEEP_EXTRA_FIELDS", Some("0")),
        ("COMMAND_WINDOW", Some("8")),
        ("COMMAND_TTL_SECONDS", Some("3600")),
        ("COMMAND_RESEND_SECONDS", Some("30")),
        ("COMMAND_ATTEMPTS", Some("5")),
        ("SHADOW_RETAIN", Some("1")),
        ("SHADOW_MAX_BYTES", Some("8192")),
        ("DEVICE_ERRORS", Some("0")),
        ("DEVICE_API", Some("0")),
        ("DEVICE_API_RPS", Some("1")),
        ("DEVICE_API_BURST", Some("10")),
        ("MQTT_API_REQUEST_TOPIC", None),
        ("MQTT_API_RESPONSE_TOPIC", None),
        ("MQTT_API_PREFIX", Some("symphony")),
        ("MQTT_API_CALLERS", None),
        ("MQTT_API_SECRETS", Some("0")),
        ("MQTT_INSECURE_SKIP_VERIFY", None),
        ("LINKS_PATH", None),
        ("DEVICE_CA_CERT_PATH", None),
        ("DEVICE_CA_KEY_PATH", None),
        ("CELL_AUTHORITIES_DIR", None),
        ("CRL_OUTPUT_PATH", None),
        ("CRL_VALIDITY_HOURS", Some("168")),
        ("CRL_REFRESH_HOURS", Some("12")),
        ("ACL_OUTPUT_PATH", None),
        ("ACL_TEMPLATE_PATH", None),
        ("BROKER_ACL_MODE", Some("auto")),
        ("BROKER_PID_FILE", None),
        ("BROKER_RELOAD_COMMAND", None),
        ("BROKER_PROBE_ADDR", None),
        ("BROKER_PROBE_CA_CERT", None),
        ("CERT_VALIDITY_DAYS", Some("365")),
        ("CERT_CN_FORMAT", Some("strict")),
        ("ROTATION_GRACE_HOURS", Some("24")),
        ("CERT_EXPIRY_WARNING_DAYS", Some("30")),
        ("CERT_RENEW_OVER_MQTT", Some("0")),
        ("CERT_RENEW_PROOF", Some("1")),
        ("ACL_RULES_PATH", None),
        ("JWT_ISSUER", None),
        ("JWT_AUDIENCE", None),
        ("JWT_JWKS_URL", None),
        ("JWT_CA_CERT", None),
        ("JWT_JWKS_PATH", None),
        ("JWT_PEM_PATH", None),
        ("JWT_LEEWAY_SECONDS", Some("30")),
        ("JWT_REQUIRED_CLAIMS", None),
        ("JWT_GROUP_CLAIMS", Some("realm_access.roles,groups")),
        ("JWT_SCOPE_CLAIMS", Some("scope")),
        ("JWT_ISSUERS_PATH", None),
        ("PLUGIN_SOCKET", None),
        ("PLUGIN_PEER_UIDS", None),
        ("PUBLISHER_PROOF", Some("off")),
        ("PUBLISHER_PROOF_SECRET", None),
        ("PUBLISHER_PROOF_SECRET_PREVIOUS", None),
        ("PUBLISHER_GATEWAYS", None),
        ("HTTP_BIND", Some("127.0.0.1:8080")),
        ("OPS_BIND", Some("127.0.0.1:9464")),
        ("HOOKS_BIND", Some("127.0.0.1:8009")),
        ("HOOKS_SECRET", None),
        ("HOOKS_RESERVED_NAMES", None),
        ("ADMIN_TOKEN", None),
        ("CONSOLE", Some("1")),
        ("CONSOLE_HTTPS", Some("auto")),
        ("CONSOLE_SESSION_HOURS", Some("12")),
        ("CONSOLE_IDLE_MINUTES", Some("60")),
        ("CONSOLE_VIEWER_PAYLOADS", Some("0")),
        ("CONSOLE_URL", None),
        ("CONSOLE_TRUSTED_PROXIES", None),
        ("CONSOLE_PROXY_LOGIN", Some("0")),
        ("CONSOLE_GROUP_ROLES", None),
        ("CONSOLE_OIDC_ISSUER", None),
        ("CONSOLE_OIDC_CLIENT_ID", None),
        ("CONSOLE_OIDC_CLIENT_SECRET", None),
        ("CONSOLE_OIDC_SCOPES", Some("openid profile email")),
        ("EST_BIND", None),
        ("EST_SERVER_CERT", None),
        ("EST_SERVER_KEY", None),
        ("REGISTRY_EST_URL", None),
        ("PUBLIC_BIND", None),
        ("PUBLIC_WEBSOCKET_URL", None),
        ("PUBLIC_TRUSTED_PROXIES", None),
        ("PUBLIC_CREDENTIALS_PER_MINUTE", Some("10")),
        ("PUBLIC_MAX_GUESTS", Some("10000")),
        ("LOG_LEVEL", Some("info")),
        ("LOG_FORMAT", Some("text")),
        ("SHUTDOWN_TIMEOUT_SECONDS", Some("20")),
    ];

    #[test]
    fn every_promised_setting_is_there_with_its_default_and_no_other() {
        let there: Vec<_> = all().map(|(_, setting)| (setting.name, setting.default)).collect();
        assert_eq!(there, PROMISED);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_known_one() {
        assert_eq!(did_you_mean("mqtt_prot"), "did you mean mqtt_port?");
        assert_eq!(did_you_mean("MQTT_HOSTNAME"), "did you mean MQTT_HOST?");
        assert_eq!(did_you_mean("Mqtt_Host"), "did you mean MQTT_HOST?");
        assert_eq!(did_you_mean("mqtt_pasword_file"), "did you mean mqtt_password_file?");
        assert_eq!(did_you_mean("zzz"), "`sluice config template` lists all settings");
    }

    #[test]
    fn every_setting_is_documented_in_whole_sentences() {
        for (_, setting) in all() {
            assert!(setting.doc.ends_with('.'), "{}", setting.name);
        }
    }
}
