//! The registry that the plugin gets: the snapshot, the changes after it, and their times.

use std::time::Instant;

use sluice_shared::frames::from_plugin::FromPlugin;
use sluice_shared::proof::{Boot, ProofKey};

use super::plugin_client::{BOOT, PluginClient, certificate, daemon, socket};
use crate::support::test_daemon::TestDaemon;
use crate::support::time_bounds::REGISTRY_CHANGE;

const DEVICES: usize = 100_000;

/// Two tenants, and devices in every state.
fn fleet() -> String {
    let active = |device: &str, name: &str| certificate(device, name, "", "");
    [
        "INSERT INTO tenants (tenant_id, name, status) VALUES ('acme', 'Acme', 'ACTIVE'), ('idle', 'Idle', 'SUSPENDED');
         INSERT INTO devices (tenant_id, device_id, status) VALUES ('acme', 'pump-1', 'ACTIVE'), ('acme', 'off', 'INACTIVE'),
             ('acme', 'revoked', 'ACTIVE'), ('acme', 'ended', 'ACTIVE'), ('acme', 'retired', 'ACTIVE'), ('acme', 'retiring', 'ACTIVE'),
             ('acme', 'bare', 'ACTIVE'), ('acme', 'gone', 'REVOKED'), ('idle', 'pump-1', 'ACTIVE');"
            .to_owned(),
        active("acme/pump-1", "one"),
        active("acme/pump-1", "two"),
        active("acme/off", "off"),
        active("acme/gone", "gone"),
        active("acme/nobody", "nobody"),
        active("idle/pump-1", "idle"),
        certificate("acme/revoked", "revoked", ", status, revoked_at", ", 'REVOKED', now()"),
        certificate("acme/retired", "retired", ", retire_at", ", now() - interval '1 minute'"),
        certificate("acme/retiring", "retiring", ", retire_at", ", now() + interval '1 hour'"),
        certificate("acme/ended", "ended", ", status", ", 'EXPIRED'"),
    ]
    .concat()
}

fn hash(database: &crate::support::database::Database<'_>, name: &str) -> String {
    database.value(&format!("SELECT encode(sha256('{name}'), 'hex')"))
}

#[test]
fn the_snapshot_has_the_valid_certificates_of_active_devices_and_no_others() {
    let (it, path) = daemon(&fleet());
    let mut plugin = PluginClient::greet(&path);
    let ids: Vec<_> = plugin.registry.keys().map(String::as_str).collect();
    assert_eq!(ids, ["acme/device/pump-1", "acme/device/retiring"]);
    let mut both = vec![hash(&it.database, "one"), hash(&it.database, "two")];
    both.sort();
    assert_eq!(plugin.fingerprints("acme/device/pump-1"), both);
    let until = it.database.value(
        "SELECT (extract(epoch FROM retire_at) * 1000000)::bigint FROM device_certificates WHERE device_id = 'retiring'",
    );
    assert_eq!(plugin.registry["acme/device/retiring"][0].until.to_string(), until);
    assert!(plugin.reserved.client_ids.contains(&"sluice".to_owned()), "{:?}", plugin.reserved);
    assert!(plugin.hello.as_ref().unwrap().key.is_none(), "there is no secret");
    let before = plugin.snapshots;
    let registry = plugin.registry.clone();
    plugin.send(&FromPlugin::Resync { version: 0 });
    plugin.until("another snapshot", |plugin| plugin.snapshots > before);
    assert_eq!(plugin.registry, registry);
}

#[test]
fn what_changes_in_the_registry_reaches_the_plugin_within_a_second() {
    let (it, path) = daemon(&fleet());
    let mut plugin = PluginClient::greet(&path);
    let two = hash(&it.database, "two");
    let mut acts = |sql: &str, expected: &dyn Fn(&PluginClient) -> bool| {
        it.database.query(sql);
        let changed_at = Instant::now();
        plugin.until(sql, expected);
        let took = changed_at.elapsed();
        println!("{took:?} after {sql}");
        assert!(took < REGISTRY_CHANGE, "{took:?} after {sql}");
    };
    let revoke = "UPDATE device_certificates SET status = 'REVOKED', revoked_at = now() \
        WHERE fingerprint_sha256 = encode(sha256('one'), 'hex')";
    acts(revoke, &|plugin| plugin.fingerprints("acme/device/pump-1") == [two.clone()]);
    let new = certificate("acme/bare", "new", "", "");
    acts(&new, &|plugin| plugin.registry.contains_key("acme/device/bare"));
    let has_bare = |plugin: &PluginClient| plugin.registry.contains_key("acme/device/bare");
    acts("UPDATE devices SET status = 'INACTIVE' WHERE device_id = 'bare'", &|it| !has_bare(it));
    acts("UPDATE devices SET status = 'ACTIVE' WHERE device_id = 'bare'", &|it| has_bare(it));
    acts("DELETE FROM devices WHERE device_id = 'bare'", &|it| !has_bare(it));
    let set_status =
        |status| format!("UPDATE tenants SET status = '{status}' WHERE tenant_id = 'idle'");
    let has_idle = |plugin: &PluginClient| plugin.registry.contains_key("idle/device/pump-1");
    acts(&set_status("ACTIVE"), &|it| has_idle(it));
    acts(&set_status("SUSPENDED"), &|it| !has_idle(it));
}

#[test]
fn a_change_by_a_command_reaches_the_plugin() {
    let (it, path) = daemon(&fleet());
    let mut plugin = PluginClient::greet(&path);
    it.settings.run(&["device", "set-status", "acme", "pump-1", "INACTIVE"]);
    plugin.until("the device is off", |it| !it.registry.contains_key("acme/device/pump-1"));
}

#[test]
fn a_hundred_thousand_certificates_are_sent_in_seconds() {
    let (it, path) = daemon(&format!(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme');
         INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'pump-' || i FROM generate_series(1, {DEVICES}) i;
         INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, \
            not_before, not_after) SELECT gen_random_uuid(), 'acme', 'pump-' || i, encode(sha256(i::text::bytea), 'hex'), \
            to_hex(i), 'acme/device/pump-' || i, 'CN=test', now() - interval '1 day', now() + interval '1 day' \
            FROM generate_series(1, {DEVICES}) i;
         ANALYZE"
    ));
    let started_at = Instant::now();
    let mut plugin = PluginClient::greet(&path);
    println!("{DEVICES} certificates in {:?}", started_at.elapsed());
    assert_eq!(plugin.registry.len(), DEVICES);
    it.database.query(
        "UPDATE device_certificates SET status = 'REVOKED', revoked_at = now() WHERE device_id = 'pump-77'",
    );
    plugin.until("the change", |plugin| !plugin.registry.contains_key("acme/device/pump-77"));
    assert_eq!(plugin.registry.len(), DEVICES - 1);
    it.daemon.wait_metric("sluice_plugin_snapshot_version{profile=\"test\"}", 0.0);
}

#[test]
fn the_plugin_gets_the_key_of_its_start_and_finds_a_daemon_that_was_killed() {
    let secret = "a-secret-of-proofs-that-is-long-enough";
    let (builder, path) = socket(TestDaemon::builder().registry(&fleet()));
    let it = builder.set("PUBLISHER_PROOF_SECRET", secret).start();
    let mut plugin = PluginClient::greet(&path);
    let key = plugin.hello.as_ref().unwrap().key.clone().unwrap();
    assert_eq!(key.expose(), ProofKey::derive_text(secret.as_bytes(), Boot(BOOT)).as_str());
    it.daemon.kill9();
    plugin.wait_closed();
    assert!(path.exists(), "its socket is left");
    it.daemon.start_again();
    let again = PluginClient::greet(&path);
    assert_eq!(again.registry, plugin.registry);
    assert!(!it.daemon.log().contains(secret));
    assert_eq!(it.daemon.terminate(), 0);
    assert!(!path.exists(), "it removes its socket");
}
