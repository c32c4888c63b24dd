//! Checks between areas: settings that exclude each other, and settings that are legal but
//! dangerous.
//!
//! A single value is checked by [`super::reader`], and one area by its own section.

use super::reader::SettingReader;
use crate::config::Config;
use crate::config::sections::certificates::CnFormat;
use crate::config::sections::ingest::BATCHES_IN_FLIGHT;
use crate::config::sections::issuer::{IssuerConfig, IssuerKeySource};
use crate::config::sections::public::websocket_origin;
use crate::domain::quarantine_sampling::QUARANTINE_PAYLOAD_MAX;

/// An `ADMIN_TOKEN` with fewer characters can be guessed.
const GOOD_TOKEN_CHARS: usize = 24;

/// Records conflicts between settings of different areas.
pub(crate) fn check(config: &Config, reader: &mut SettingReader) {
    let held = config.ingest.batch_size.saturating_mul(BATCHES_IN_FLIGHT as usize);
    if usize::from(config.broker.receive_maximum) < held {
        let why = format!(
            "the broker would stop sending before the batches are full: MQTT_RECEIVE_MAXIMUM must be at least \
             {BATCHES_IN_FLIGHT} x BATCH_SIZE, {held}; raise it or lower BATCH_SIZE"
        );
        reader.conflict(&["MQTT_RECEIVE_MAXIMUM", "BATCH_SIZE"], why);
    }
    if config.ingest.max_payload_bytes >= config.broker.max_packet_bytes {
        let why = "a payload must fit into a packet with its topic: MAX_PAYLOAD_BYTES must be less than MQTT_MAX_PACKET_BYTES";
        reader.conflict(&["MAX_PAYLOAD_BYTES", "MQTT_MAX_PACKET_BYTES"], why);
    }
    let (acl, crl) = (&config.certificates.acl, &config.certificates.crl_output_path);
    for (name, other) in [("ACL_TEMPLATE_PATH", &acl.template_path), ("CRL_OUTPUT_PATH", crl)] {
        if acl.output_path.is_some() && acl.output_path == *other {
            reader.conflict(
                &["ACL_OUTPUT_PATH", name],
                "each names a file of its own: change one of them",
            );
        }
    }
    let inner = [config.http.api_bind, config.http.ops_bind, config.http.hooks_bind];
    let names = ["HTTP_BIND", "OPS_BIND", "HOOKS_BIND"];
    for (name, bind) in names.into_iter().zip(inner) {
        if bind.port() != 0 && config.public.bind == Some(bind) {
            reader.conflict(
                &["PUBLIC_BIND", name],
                "what faces the public has an address of its own: change one of them",
            );
        }
    }
}

// === impl Config ===

impl Config {
    /// Returns warnings about legal but dangerous settings, one sentence each, to be logged at
    /// start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        self.warn_of_trust(&mut warnings);
        self.warn_of_issuers(&mut warnings);
        self.warn_of_loss(&mut warnings);
        self.warn_of_guests(&mut warnings);
        warnings
    }

    /// Warnings about public credentials.
    fn warn_of_guests(&self, warnings: &mut Vec<String>) {
        let Some(bind) = self.public.bind else { return };
        match self.public.websocket_url.as_deref() {
            None => warnings.push(format!(
                "PUBLIC_BIND={bind} and PUBLIC_WEBSOCKET_URL is not set: the page /public cannot tell browsers where the \
                 broker is"
            )),
            Some(url) if url.starts_with("ws://") && !is_loopback(host_of(url)) => warnings.push(format!(
                "PUBLIC_WEBSOCKET_URL={url}: guests' tokens and messages go there in the clear; put a proxy with TLS before \
                 it and say wss://"
            )),
            Some(_) => {}
        }
    }

    /// Warnings about weak authentication.
    fn warn_of_trust(&self, warnings: &mut Vec<String>) {
        let mut warn = |text: String| warnings.push(text);
        let Self { broker, ingest, http, certificates, .. } = self;
        if !ingest.cert_auth_enabled && !ingest.require_token {
            warn(
                "CERT_AUTH_ENABLED=0 and REQUIRE_TOKEN=0: every registered device is believed without proof; \
                  switch one of them on unless this is for development"
                    .to_owned(),
            );
        }
        if ingest.auto_provision {
            warn(
                "AUTO_PROVISION=1: whoever the broker lets publish can register devices; \
                  switch it off once the fleet is known"
                    .to_owned(),
            );
        }
        let secret =
            if broker.jwt.is_some() { "the token of MQTT_JWT_KEY" } else { "MQTT_PASSWORD" };
        let is_sent = broker.password.is_some() || broker.jwt.is_some();
        if is_sent && broker.tls.is_none() && !is_loopback(&broker.host) {
            warn(format!(
                "{secret} goes to {} in the clear: set MQTT_TLS=1, or reach the broker over a network you trust",
                broker.host
            ));
        }
        match &http.admin_token {
            None if !http.api_bind.ip().is_loopback() => warn(format!(
                "HTTP_BIND={} can be reached from other machines and ADMIN_TOKEN is not set: set it (or ADMIN_TOKEN_FILE)",
                http.api_bind
            )),
            Some(token) if token.expose().len() < GOOD_TOKEN_CHARS => {
                warn(format!(
                    "ADMIN_TOKEN has fewer than {GOOD_TOKEN_CHARS} characters and can be guessed: use a longer one"
                ));
            }
            _ => {}
        }
        if http.hooks_secret.is_none() && !http.hooks_bind.ip().is_loopback() {
            warn(format!(
                "HOOKS_BIND={} can be reached from other machines and HOOKS_SECRET is not set: whoever reaches it can try \
                 tokens and log others in; set it (or HOOKS_SECRET_FILE), or bind where only the broker is",
                http.hooks_bind
            ));
        }
        if certificates.cn_format == CnFormat::Plain {
            warn(
                "CERT_CN_FORMAT=plain: no pattern of stock Mosquitto holds a device to its own topics by such a name; use \
                  strict, or rows for each device (ACL_OUTPUT_PATH, BROKER_ACL_MODE=rows), or answer the broker's questions \
                  through HOOKS_BIND"
                    .to_owned(),
            );
        }
    }

    /// Warnings about token issuers.
    fn warn_of_issuers(&self, warnings: &mut Vec<String>) {
        for IssuerConfig { issuer, audience, keys, .. } in &self.access.issuers {
            if audience.is_empty() {
                warnings.push(format!(
                    "the issuer {issuer} has no audience: a token it made for any other program is taken too; \
                     set JWT_AUDIENCE, or its audience in JWT_ISSUERS_PATH"
                ));
            }
            let IssuerKeySource::Url { url, .. } = keys else { continue };
            let place = url.strip_prefix("http://").and_then(|rest| rest.split(['/', '?']).next());
            if place.is_some_and(|place| !is_loopback(without_port(place))) {
                warnings.push(format!(
                    "the keys of {issuer} come in the clear from {url}: whoever is on the way can put in his own; use https://"
                ));
            }
        }
    }

    /// Warnings about lost or truncated data.
    fn warn_of_loss(&self, warnings: &mut Vec<String>) {
        let mut warn = |text: String| warnings.push(text);
        let Self { database, ingest, .. } = self;
        if let Some(kept) =
            database.telemetry_retention_days.filter(|&kept| i64::from(kept) < ingest.max_age_days)
        {
            warn(format!(
                "TELEMETRY_RETENTION_DAYS={kept} is less than MAX_AGE_DAYS={}: a message older than {kept} days is \
                 accepted and its row dropped at once; lower MAX_AGE_DAYS",
                ingest.max_age_days
            ));
        }
        if ingest.max_payload_bytes > QUARANTINE_PAYLOAD_MAX {
            warn(format!(
                "MAX_PAYLOAD_BYTES={} is more than the {QUARANTINE_PAYLOAD_MAX} bytes quarantine keeps: a larger message \
                 that is refused cannot be replayed",
                ingest.max_payload_bytes
            ));
        }
    }
}

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
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
