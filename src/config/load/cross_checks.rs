//! Checks between areas: settings that exclude each other.
//!
//! A single value is checked by [`super::reader`], and one area by its own section. What is legal
//! but dangerous is found by [`super::warnings`].

use super::reader::SettingReader;
use crate::config::sections::ingest::BATCHES_IN_FLIGHT;
use crate::config::values::Config;

/// Records conflicts between settings of different areas.
pub(crate) fn check(config: &Config, reader: &mut SettingReader) {
    let lanes = config.ingest.writer_lanes;
    let held = config.ingest.batch_size.saturating_mul(BATCHES_IN_FLIGHT as usize * lanes);
    if usize::from(config.broker.receive_maximum) < held {
        let why = format!(
            "the broker would stop sending before a batch is full: MQTT_RECEIVE_MAXIMUM must be at least \
             {BATCHES_IN_FLIGHT} x BATCH_SIZE x WRITER_LANES, {held}; raise it or lower the others"
        );
        reader.conflict(&["MQTT_RECEIVE_MAXIMUM", "BATCH_SIZE", "WRITER_LANES"], why);
    }
    if config.ingest.max_payload_bytes >= config.broker.max_packet_bytes {
        let why = "a packet contains the payload and its topic: MAX_PAYLOAD_BYTES must be less than MQTT_MAX_PACKET_BYTES";
        reader.conflict(&["MAX_PAYLOAD_BYTES", "MQTT_MAX_PACKET_BYTES"], why);
    }
    let (acl, crl) = (&config.certificates.acl, &config.certificates.crl_output_path);
    for (name, other) in [("ACL_TEMPLATE_PATH", &acl.template_path), ("CRL_OUTPUT_PATH", crl)] {
        if acl.output_path.is_some() && acl.output_path == *other {
            reader.conflict(
                &["ACL_OUTPUT_PATH", name],
                "the two settings must name different files: change one of them",
            );
        }
    }
    if config.certificates.renew_over_mqtt && !config.mqtt_api.device_api {
        reader.conflict(
            &["CERT_RENEW_OVER_MQTT", "DEVICE_API"],
            "devices renew by a request over MQTT: set DEVICE_API=1 too, or CERT_RENEW_OVER_MQTT=0",
        );
    }
    check_est(config, reader);
    if config.certificates.cell_authorities_dir.is_some() && config.database.registry_url.is_some()
    {
        let why = "a cell signs no certificate, and the keys of other cells do not belong there: set \
                   CELL_AUTHORITIES_DIR at the registry only";
        reader.conflict(&["CELL_AUTHORITIES_DIR", "REGISTRY_URL"], why);
    }
    if let Some(oidc) = &config.console.oidc
        && !config.access.issuers.iter().any(|issuer| issuer.issuer == oidc.issuer)
    {
        let why = "the keys of the identity provider verify its tokens: make it JWT_ISSUER, or an issuer of JWT_ISSUERS_PATH";
        reader.conflict(&["CONSOLE_OIDC_ISSUER"], why);
    }
    let inner = [config.http.api_bind, config.http.ops_bind, config.http.hooks_bind];
    let names = ["HTTP_BIND", "OPS_BIND", "HOOKS_BIND"];
    for (name, bind) in names.into_iter().zip(inner) {
        if bind.port() != 0 && config.public.bind == Some(bind) {
            reader.conflict(
                &["PUBLIC_BIND", name],
                "the public listener needs an address that no other listener has: change one of them",
            );
        }
    }
}

fn check_est(config: &Config, reader: &mut SettingReader) {
    let Some(est) = &config.est.listener else { return };
    let (cert, key) = (&config.certificates.ca_cert_path, &config.certificates.ca_key_path);
    for (name, path) in [("DEVICE_CA_CERT_PATH", cert), ("DEVICE_CA_KEY_PATH", key)] {
        if path.is_none() {
            let why = "the listener signs certificates of devices: name the files of the authority";
            reader.conflict(&["EST_BIND", name], why);
        }
    }
    let others = [
        ("HTTP_BIND", Some(config.http.api_bind)),
        ("OPS_BIND", Some(config.http.ops_bind)),
        ("HOOKS_BIND", Some(config.http.hooks_bind)),
        ("PUBLIC_BIND", config.public.bind),
    ];
    for (name, bind) in others {
        if bind == Some(est.bind) && est.bind.port() != 0 {
            let why =
                "the EST listener needs an address that no other listener has: change one of them";
            reader.conflict(&["EST_BIND", name], why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{environment, error};

    #[test]
    fn settings_that_do_not_go_together_are_refused_with_both_named() {
        for (pairs, expected) in [
            (
                &[("MQTT_TLS", "1"), ("MQTT_CLIENT_CERT", "/c")][..],
                "MQTT_CLIENT_KEY is not set: each needs the other",
            ),
            (
                &[("MQTT_CA_CERT", "/c")],
                "MQTT_TLS = \"0\" (default): it is used only with TLS: set MQTT_TLS=1",
            ),
            (&[("MQTT_PASSWORD", "p")], "MQTT_USERNAME is not set: a password needs a user name"),
            (
                &[("MQTT_JWT_KEY", "/k")],
                "MQTT_USERNAME is not set: a password needs a user name: set MQTT_USERNAME, or MQTT_JWT_AS",
            ),
            (
                &[("MQTT_USERNAME", "u"), ("MQTT_PASSWORD", "p"), ("MQTT_JWT_KEY", "/k")],
                "MQTT_PASSWORD = *** (environment): the token is sent as the password",
            ),
            (
                &[("MQTT_JWT_KEY", "/k"), ("MQTT_USERNAME", "u"), ("MQTT_JWT_AS", "username")],
                "the token is sent as the user name: remove MQTT_USERNAME",
            ),
            (
                &[("MQTT_JWT_CLAIMS", "{}")],
                "MQTT_JWT_KEY is not set: it is used only with MQTT_JWT_KEY",
            ),
            (&[("JWT_JWKS_URL", "https://h/k")], "JWT_ISSUER is not set: it belongs to an issuer"),
            (
                &[("JWT_ISSUER", "i"), ("JWT_JWKS_URL", "http://h/k"), ("JWT_CA_CERT", "/ca")],
                "used only for keys from an https:// URL",
            ),
            (&[("JWT_ISSUER", "https://h")], "the issuer has no keys"),
            (
                &[("JWT_PEM_PATH", "/p"), ("JWT_JWKS_PATH", "/j"), ("JWT_ISSUER", "https://h")],
                "the issuer has several sources of keys",
            ),
            (
                &[("RATE_LIMIT_RPS", "0.5"), ("RATE_LIMIT_BURST", "0")],
                "set RATE_LIMIT_BURST to 1 or more",
            ),
            (
                &[("BATCH_SIZE", "10000")],
                "MQTT_RECEIVE_MAXIMUM must be at least 2 x BATCH_SIZE x WRITER_LANES, 20000",
            ),
            (
                &[("BATCH_SIZE", "2500"), ("WRITER_LANES", "4")],
                "MQTT_RECEIVE_MAXIMUM must be at least 2 x BATCH_SIZE x WRITER_LANES, 20000",
            ),
            (
                &[("MAX_PAYLOAD_BYTES", "4096"), ("MQTT_MAX_PACKET_BYTES", "4096")],
                "must be less than MQTT_MAX_PACKET_BYTES",
            ),
            (&[("CRL_REFRESH_HOURS", "25")], "the first must be at least 7 times the second, 175"),
            (&[("OPS_BIND", "127.0.0.1:8080")], "two listeners cannot share one address"),
            (&[("CERT_RENEW_OVER_MQTT", "1")], "set DEVICE_API=1 too"),
            (
                &[("REGISTRY_URL", "postgres://u@h/r"), ("CELL_AUTHORITIES_DIR", "/a")],
                "set CELL_AUTHORITIES_DIR at the registry only",
            ),
        ] {
            let text = error(&environment(pairs));
            assert!(text.contains(expected), "{text}");
            assert!(text.contains(&format!("{} = ", pairs[pairs.len() - 1].0)), "{text}");
        }
    }

    #[test]
    fn a_wrong_setting_is_not_blamed_a_second_time_for_what_it_does_to_others() {
        assert!(
            error(&environment(&[("BATCH_SIZE", "0"), ("MQTT_RECEIVE_MAXIMUM", "2")]))
                .contains("BATCH_SIZE")
        );
        assert!(
            error(&environment(&[("MQTT_TLS", "on"), ("MQTT_CA_CERT", "/c")])).contains("MQTT_TLS")
        );
    }
}
