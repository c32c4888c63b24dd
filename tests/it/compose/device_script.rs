//! `scripts/test_mtls_device.sh`, through the stack's broker, a real daemon and a real database: it
//! says what happened.

use super::stack::{Stack, script, words};
use crate::support::daemon::Settings;
use crate::support::database::Database;
use crate::support::postgres::Postgres;
use crate::support::wait;

/// The daemon's settings as compose gives them, with this broker and this database.
pub(super) fn settings(stack: &Stack, database: &Database<'_>) -> Settings {
    Settings::empty()
        .set("MQTT_HOST", "127.0.0.1")
        .set("MQTT_PORT", &stack.ports[0].to_string())
        .set("MQTT_USERNAME", "sluice")
        .set("MQTT_PASSWORD_FILE", &stack.text("sluice/mqtt_password"))
        .set("DATABASE_URL", &database.url())
        .set("ADMIN_TOKEN_FILE", &stack.text("sluice/admin_token"))
        .set("CERT_AUTH_ENABLED", "1")
        .set("DEVICE_CA_CERT_PATH", &stack.text("sluice/device-ca.crt"))
        .set("DEVICE_CA_KEY_PATH", &stack.text("sluice/device-ca.key"))
        .set("CRL_OUTPUT_PATH", &stack.text("crl/device-crl.pem"))
        .set("BROKER_PROBE_ADDR", &format!("localhost:{}", stack.ports[1]))
}

#[test]
fn a_message_is_followed_from_the_certificate_to_the_table() {
    let stack = Stack::start();
    let database = Postgres::shared().database();
    let settings = settings(&stack, &database);
    let daemon = settings.start();
    daemon.wait_ready();
    let url = [("DATABASE_URL", database.url())];
    let envs = url.each_ref().map(|(name, value)| (*name, value.as_str()));

    let stranger = stack.try_device("acme", "pump-1", &envs);
    assert_eq!(stranger.status.code(), Some(1), "{stranger:?}");
    for part in [
        "1. key: made",
        "2. request: made for CN=acme/device/pump-1",
        "3. certificate: made",
        "4. publish: the \
        broker",
        "5. database: refused UNREGISTERED_DEVICE",
        "sluice device add acme pump-1",
    ] {
        assert!(words(&stranger).contains(part), "{part}: {}", words(&stranger));
    }

    settings.run(&["tenant", "add", "acme"]);
    settings.run(&["device", "add", "acme", "pump-1"]);
    let unproven = wait::for_ok("the registry's change arrived", || {
        let output = stack.try_device("acme", "pump-1", &envs);
        if words(&output).contains("TOKEN_MISSING") {
            Ok(words(&output))
        } else {
            Err(words(&output))
        }
    });
    assert!(
        unproven.contains("1. key: kept") && unproven.contains("3. certificate: kept"),
        "{unproven}"
    );
    assert!(unproven.contains("The certificate is not registered"), "{unproven}");

    database.query(
        "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer,
            not_before, not_after)
         VALUES (gen_random_uuid(), 'acme', 'pump-1', repeat('ab', 32), '01', 'acme/device/pump-1', 'x', now(),
            now() + interval '1 day')",
    );
    let stored = wait::for_ok("the certificate's row arrived", || {
        let output = stack.try_device("acme", "pump-1", &envs);
        if output.status.success() { Ok(words(&output)) } else { Err(words(&output)) }
    });
    assert!(stored.contains("5. database: stored at "), "{stored}");
    assert!(database.value("SELECT count(*) FROM telemetry WHERE device_id = 'pump-1'") != "0");
}

#[test]
fn a_token_goes_with_the_message_and_is_shown_nowhere() {
    let stack = Stack::start();
    let database = Postgres::shared().database();
    let settings = settings(&stack, &database);
    settings.run(&["tenant", "add", "acme"]);
    let added = settings.run(&["device", "add", "acme", "pump-1", "--output", "json"]);
    let added: serde_json::Value = serde_json::from_str(&added).unwrap();
    let token = added["token"].as_str().unwrap();
    let daemon = settings.start();
    daemon.wait_ready();
    let url = database.url();
    let output =
        stack.try_device("acme", "pump-1", &[("DATABASE_URL", &url), ("PROVISION_TOKEN", token)]);
    assert!(output.status.success(), "{output:?}");
    assert!(!words(&output).contains(token));
}

#[test]
fn a_password_with_signs_in_a_url_reaches_the_database() {
    let stack = Stack::start();
    let postgres = Postgres::private();
    let database = postgres.database();
    let password = "p@:/%ss w";
    database.query(&format!("ALTER ROLE sluice PASSWORD '{password}'"));
    let url = format!(
        "postgres://sluice:p%40%3A%2F%25ss%20w@127.0.0.1:{}/{}",
        postgres.port(),
        database.name()
    );
    let output = stack.try_device("acme", "pump-1", &[("DATABASE_URL", &url)]);
    // It was not stored, and the script has queried the database: that is what it reports.
    assert!(words(&output).contains("Check that sluice runs"), "{output:?}");
    let wrong =
        stack.try_device("acme", "pump-1", &[("DATABASE_URL", &url.replace("ss%20w", "x"))]);
    assert!(words(&wrong).contains("the query failed"), "{wrong:?}");
}

#[test]
fn what_goes_wrong_on_the_way_is_named() {
    let stack = Stack::start();
    let published = stack.try_device("acme", "pump-1", &[]);
    assert!(published.status.success() && words(&published).contains("not read"), "{published:?}");
    let mut nobody = script("scripts/test_mtls_device.sh");
    nobody.args(["--dir", &stack.text("authority"), "acme", "pump-1", "localhost"]);
    let nobody = nobody.arg(crate::support::port::free().to_string()).output().unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(words(&nobody).contains("did not accept the message"), "{nobody:?}");
    let long = "d".repeat(60);
    for (tenant, device, code, part) in [
        ("acme", long.as_str(), 64, "X.509 allows 64"),
        ("..", "pump-1", 64, "the tenant '..'"),
        ("acme", "a/b", 64, "the device 'a/b'"),
        ("acme", "a+", 64, "the device 'a+'"),
        ("", "pump-1", 64, "the tenant ''"),
    ] {
        let output = stack.try_device(tenant, device, &[]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(words(&output).contains(part), "{part}: {output:?}");
    }
    let none = script("scripts/test_mtls_device.sh")
        .args(["--dir", "/nowhere", "a", "b", "c", "1"])
        .output()
        .unwrap();
    assert!(words(&none).contains("run scripts/generate_device_ca.sh"), "{none:?}");
    let help = script("scripts/test_mtls_device.sh").arg("--help").output().unwrap();
    assert!(help.status.success() && words(&help).contains("Usage: "), "{help:?}");
    assert_eq!(
        script("scripts/test_mtls_device.sh").args(["a", "b"]).output().unwrap().status.code(),
        Some(64)
    );
}
