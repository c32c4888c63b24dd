//! Warnings about settings that are legal but dangerous.
//!
//! One function is one warning. It refuses nothing: [`super::cross_checks`] does.

use std::net::IpAddr;

use crate::config::sections::certificates::CnFormat;
use crate::config::sections::issuer::{IssuerConfig, IssuerKeySource};
use crate::config::sections::plugin::PublisherProof;
use crate::config::sections::public::websocket_origin;
use crate::config::sections::replica::ends_in_ordinal;
use crate::config::values::Config;
use crate::domain::quarantine_sampling::QUARANTINE_PAYLOAD_MAX;

/// An `ADMIN_TOKEN` with fewer characters can be guessed.
const GOOD_TOKEN_CHARS: usize = 24;

/// The warnings about all settings.
const WARNINGS: [fn(&Config) -> Option<String>; 15] = [
    no_authentication,
    auto_provision,
    unencrypted_login,
    api_without_token,
    short_admin_token,
    hooks_without_secret,
    plain_common_names,
    renewal_without_proof,
    retention_below_age,
    unreplayable_payloads,
    guests_without_url,
    unencrypted_guests,
    token_on_shared_topic,
    secrets_over_mqtt,
    unfixed_client_id,
];

/// The warnings about one issuer of tokens.
const ISSUER_WARNINGS: [fn(&IssuerConfig) -> Option<String>; 2] = [no_audience, unencrypted_keys];

// === impl Config ===

impl Config {
    /// Returns warnings about legal but dangerous settings, to be logged at start.
    pub fn warnings(&self) -> Vec<String> {
        let issuers = self.access.issuers.iter();
        let of_issuers =
            issuers.flat_map(|issuer| ISSUER_WARNINGS.iter().filter_map(|warning| warning(issuer)));
        WARNINGS.iter().filter_map(|warning| warning(self)).chain(of_issuers).collect()
    }
}

// === who is authenticated ===

fn no_authentication(config: &Config) -> Option<String> {
    let is_open = !config.ingest.cert_auth_enabled
        && !config.ingest.require_token
        && config.plugin.proof != PublisherProof::Require;
    is_open.then(|| {
        "CERT_AUTH_ENABLED=0 and REQUIRE_TOKEN=0: Sluice accepts the messages of every registered device without \
         proof of who sent them; set one of the two to 1, except for development"
            .to_owned()
    })
}

fn auto_provision(config: &Config) -> Option<String> {
    config.ingest.auto_provision.then(|| {
        "AUTO_PROVISION=1: a client that the broker lets publish can register devices; set AUTO_PROVISION=0 once \
         all devices are registered"
            .to_owned()
    })
}

fn unencrypted_login(config: &Config) -> Option<String> {
    let broker = &config.broker;
    let secret = if broker.jwt.is_some() { "the token of MQTT_JWT_KEY" } else { "MQTT_PASSWORD" };
    let is_sent = broker.password.is_some() || broker.jwt.is_some();
    (is_sent && broker.tls.is_none() && !is_loopback(&broker.host)).then(|| {
        format!(
            "{secret} is sent to {} unencrypted: set MQTT_TLS=1, or use a network that you trust",
            broker.host
        )
    })
}

fn renewal_without_proof(config: &Config) -> Option<String> {
    let certificates = &config.certificates;
    (certificates.renew_over_mqtt && !certificates.renew_proof).then(|| {
        "CERT_RENEW_PROOF=0: one message that the broker accepts on a device's topic gets a certificate of that device; \
         set CERT_RENEW_PROOF=1 unless your devices cannot sign"
            .to_owned()
    })
}

fn plain_common_names(config: &Config) -> Option<String> {
    (config.certificates.cn_format == CnFormat::Plain).then(|| {
        "CERT_CN_FORMAT=plain: an ACL pattern of Mosquitto cannot limit a device with such a name to its own topics; \
         use strict, or rows for each device (ACL_OUTPUT_PATH with BROKER_ACL_MODE=rows), or let Sluice decide through \
         HOOKS_BIND"
            .to_owned()
    })
}

// === who reaches a listener ===

fn api_without_token(config: &Config) -> Option<String> {
    let bind = config.http.api_bind;
    (config.http.admin_token.is_none() && !bind.ip().is_loopback()).then(|| {
        format!(
            "HTTP_BIND={bind} can be reached from other machines and ADMIN_TOKEN is not set: set ADMIN_TOKEN or \
             ADMIN_TOKEN_FILE"
        )
    })
}

fn short_admin_token(config: &Config) -> Option<String> {
    let token = config.http.admin_token.as_ref()?;
    (token.expose().len() < GOOD_TOKEN_CHARS).then(|| {
        format!(
            "ADMIN_TOKEN has fewer than {GOOD_TOKEN_CHARS} characters and can be guessed: use a longer one"
        )
    })
}

fn hooks_without_secret(config: &Config) -> Option<String> {
    let bind = config.http.hooks_bind;
    (config.http.hooks_secret.is_none() && !bind.ip().is_loopback()).then(|| {
        format!(
            "HOOKS_BIND={bind} can be reached from other machines and HOOKS_SECRET is not set: any client there can try \
             tokens and log others in; set HOOKS_SECRET or HOOKS_SECRET_FILE, or bind to an address that only the broker \
             reaches"
        )
    })
}

// === what is lost ===

fn retention_below_age(config: &Config) -> Option<String> {
    let max_age = config.ingest.max_age_days;
    let kept = config.database.telemetry_retention_days?;
    (i64::from(kept) < max_age).then(|| {
        format!(
            "TELEMETRY_RETENTION_DAYS={kept} is less than MAX_AGE_DAYS={max_age}: Sluice accepts a message older than \
             {kept} days and deletes its row at once; lower MAX_AGE_DAYS"
        )
    })
}

fn unreplayable_payloads(config: &Config) -> Option<String> {
    let max = config.ingest.max_payload_bytes;
    (max > QUARANTINE_PAYLOAD_MAX).then(|| {
        format!(
            "MAX_PAYLOAD_BYTES={max} is more than the {QUARANTINE_PAYLOAD_MAX} bytes that quarantine keeps: a larger \
             message that is refused cannot be replayed"
        )
    })
}

fn unfixed_client_id(config: &Config) -> Option<String> {
    let broker = &config.broker;
    let group = broker.share_group.as_ref()?;
    (!ends_in_ordinal(&broker.client_id)).then(|| {
        format!(
            "MQTT_SHARE_GROUP={group} and MQTT_CLIENT_ID={} does not end in a number: the broker keeps the share of each replica \
             under its client id, also while it is away, so each needs a fixed one; use sluice-%ordinal, or sluice-0, sluice-1 \
             and so on",
            broker.client_id
        )
    })
}

// === guests ===

fn guests_without_url(config: &Config) -> Option<String> {
    let bind = config.public.bind?;
    config.public.websocket_url.is_none().then(|| {
        format!(
            "PUBLIC_BIND={bind} and PUBLIC_WEBSOCKET_URL is not set: the page /public cannot send browsers to the broker; \
             set PUBLIC_WEBSOCKET_URL"
        )
    })
}

fn unencrypted_guests(config: &Config) -> Option<String> {
    config.public.bind?;
    let url = config.public.websocket_url.as_deref()?;
    (url.starts_with("ws://") && !is_loopback(host_of(url))).then(|| {
        format!(
            "PUBLIC_WEBSOCKET_URL={url}: browsers send guests' tokens and messages there unencrypted; put a proxy with TLS \
             in front of it and use wss://"
        )
    })
}

// === issuers ===

fn no_audience(issuer: &IssuerConfig) -> Option<String> {
    issuer.audience.is_empty().then(|| {
        format!(
            "issuer {} has no audience: Sluice also accepts tokens that it issued for other programs; set JWT_AUDIENCE, or \
             its audience in JWT_ISSUERS_PATH",
            issuer.issuer
        )
    })
}

fn unencrypted_keys(issuer: &IssuerConfig) -> Option<String> {
    let IssuerKeySource::Url { url, .. } = &issuer.keys else { return None };
    let place = url.strip_prefix("http://").and_then(|rest| rest.split(['/', '?']).next())?;
    (!is_loopback(without_port(place))).then(|| {
        format!(
            "the keys of issuer {} come from {url} unencrypted: an attacker on the network can replace them; use https://",
            issuer.issuer
        )
    })
}

// === the API over MQTT ===

fn token_on_shared_topic(config: &Config) -> Option<String> {
    let shared = config.mqtt_api.operators.shared.as_ref()?;
    config.http.admin_token.as_ref()?;
    Some(format!(
        "MQTT_API_REQUEST_TOPIC={}: a client that may read this topic reads the ADMIN_TOKEN in requests; let only Sluice read \
         it, or name callers with MQTT_API_CALLERS, which need no token",
        shared.request
    ))
}

fn secrets_over_mqtt(config: &Config) -> Option<String> {
    let operators = &config.mqtt_api.operators;
    (operators.secrets && !operators.request_filters().is_empty()).then(|| {
        "MQTT_API_SECRETS=1: new tokens and private keys cross the broker; a client that may read a response topic reads them"
            .to_owned()
    })
}

// === private helpers ===

fn without_port(place: &str) -> &str {
    let v6 = place.strip_prefix('[').and_then(|rest| rest.split(']').next());
    v6.unwrap_or_else(|| place.split(':').next().unwrap_or(place))
}

/// The host of a websocket URL.
fn host_of(url: &str) -> &str {
    let place = websocket_origin(url)
        .and_then(|origin| origin.split_once("://"))
        .map_or("", |(_, place)| place);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host =
        place.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(place, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{environment, file};
    use super::*;

    #[test]
    fn what_is_legal_but_dangerous_is_warned_of() {
        for (pairs, expected) in [
            (&[("REQUIRE_TOKEN", "0")][..], "CERT_AUTH_ENABLED=0 and REQUIRE_TOKEN=0"),
            (&[("AUTO_PROVISION", "1")], "AUTO_PROVISION=1"),
            (&[("TELEMETRY_RETENTION_DAYS", "7")], "less than MAX_AGE_DAYS=30"),
            (
                &[("MQTT_HOST", "b.example"), ("MQTT_USERNAME", "u"), ("MQTT_PASSWORD", "p")],
                "unencrypted",
            ),
            (&[("HTTP_BIND", "0.0.0.0:8080")], "ADMIN_TOKEN is not set"),
            (&[("ADMIN_TOKEN", "12345678")], "can be guessed"),
            (&[("CERT_CN_FORMAT", "plain")], "CERT_CN_FORMAT=plain"),
            (&[("MAX_PAYLOAD_BYTES", "300000")], "cannot be replayed"),
            (&[("PUBLIC_BIND", "127.0.0.1:8081")], "PUBLIC_WEBSOCKET_URL is not set"),
            (
                &[
                    ("PUBLIC_BIND", "127.0.0.1:8081"),
                    ("PUBLIC_WEBSOCKET_URL", "ws://b.example:9002/"),
                ],
                "unencrypted",
            ),
            (
                &[
                    ("ADMIN_TOKEN", "a-token-of-more-than-24-characters"),
                    ("MQTT_API_REQUEST_TOPIC", "coa-request"),
                    ("MQTT_API_RESPONSE_TOPIC", "coa-response"),
                ],
                "reads the ADMIN_TOKEN",
            ),
            (&[("MQTT_API_SECRETS", "1"), ("MQTT_API_CALLERS", "a=admin")], "cross the broker"),
            (
                &[("MQTT_SHARE_GROUP", "g"), ("MQTT_CLIENT_ID", "a-x2x92")],
                "does not end in a number",
            ),
        ] {
            let warnings = Config::load(&environment(pairs)).unwrap().config.warnings();
            assert!(
                warnings.len() == 1 && warnings[0].contains(expected),
                "{expected}: {warnings:?}"
            );
        }
        for quiet in [
            &[("MQTT_USERNAME", "u"), ("MQTT_PASSWORD", "p"), ("MQTT_HOST", "127.0.0.1")][..],
            &[("TELEMETRY_RETENTION_DAYS", "0")],
            &[("PUBLIC_BIND", "127.0.0.1:8081"), ("PUBLIC_WEBSOCKET_URL", "ws://[::1]:9002/")],
            &[("PUBLIC_BIND", "127.0.0.1:8081"), ("PUBLIC_WEBSOCKET_URL", "wss://b.example")],
            &[("REQUIRE_TOKEN", "0"), ("CERT_AUTH_ENABLED", "1")],
            &[
                ("REQUIRE_TOKEN", "0"),
                ("PUBLISHER_PROOF", "require"),
                ("PUBLISHER_PROOF_SECRET", "0123456789abcdef0123456789abcdef"),
            ],
            &[("MQTT_SHARE_GROUP", "g"), ("MQTT_CLIENT_ID", "sluice-0")],
        ] {
            assert_eq!(
                Config::load(&environment(quiet)).unwrap().config.warnings(),
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn an_issuer_without_audience_or_with_unencrypted_keys_is_warned_of() {
        let (_directory, path) = file(
            "[[issuer]]\nissuer = \"b\"\njwks_url = \"http://id.example.org:80/k\"\naudience = \"m\"\n",
        );
        let pairs = [
            ("JWT_ISSUER", "a"),
            ("JWT_JWKS_URL", "http://[::1]:8080/k"),
            ("JWT_ISSUERS_PATH", path.to_str().unwrap()),
        ];
        let warnings = Config::load(&environment(&pairs)).unwrap().config.warnings();
        assert!(warnings[0].starts_with("issuer a has no audience"), "{warnings:?}");
        assert!(
            warnings[1].starts_with("the keys of issuer b come from http://id.example.org:80/k"),
            "{warnings:?}"
        );
        assert_eq!(warnings.len(), 2);
    }
}
