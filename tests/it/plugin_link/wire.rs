//! What the daemon does with a client that is no plugin, or a broken one.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use sluice_shared::frames::from_daemon::FromDaemon;
use sluice_shared::frames::from_plugin::{FromPlugin, PluginHello, Stats};

use super::plugin_client::{PluginClient, certificate, daemon, hello, socket};
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

#[test]
fn a_client_that_does_not_speak_the_frames_is_disconnected_and_others_are_not() {
    let (it, path) = daemon("");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    let mut good = PluginClient::greet(&path);
    for bytes in [&b"\x00\x00\x00\x05hello"[..], b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut client = PluginClient::connect(&path);
        client.send_bytes(bytes);
        client.wait_closed();
        let mut greeted = PluginClient::greet(&path);
        greeted.send_bytes(bytes);
        greeted.wait_closed();
    }
    let mut early = PluginClient::connect(&path);
    early.send(&FromPlugin::Applied { version: 1 });
    early.wait_closed();
    PluginClient::connect(&path).wait_closed();
    let mut other = PluginClient::connect(&path);
    other.send(&FromPlugin::Hello(PluginHello { protocol: 999, ..hello() }));
    assert!(matches!(other.read(), Some(FromDaemon::Hello(_))), "it learns the version");
    other.wait_closed();
    let mut twice = PluginClient::greet(&path);
    twice.send(&FromPlugin::Hello(hello()));
    twice.wait_closed();
    let before = good.snapshots;
    good.send(&FromPlugin::Resync { version: 0 });
    good.until("a snapshot", |good| good.snapshots > before);
    it.daemon.wait_metric("sluice_plugin_refused_total", 6.0);
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    let fleet = format!(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme');
         INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'pump-' || i FROM generate_series(1, 20000) i; {}",
        certificate("acme/pump-1", "x", "", "").replace(
            "SELECT gen_random_uuid(), split_part('acme/pump-1', '/', 1), split_part('acme/pump-1', '/', 2), \
             encode(sha256('x'), 'hex'), substr(encode(sha256('x'), 'hex'), 1, 16)",
            "SELECT gen_random_uuid(), 'acme', 'pump-' || i, encode(sha256(i::text::bytea), 'hex'), to_hex(i)"
        )
        .replace(';', " FROM generate_series(1, 20000) i;")
    );
    let (it, path) = daemon(&fleet);
    let mut silent = PluginClient::connect(&path);
    silent.send(&FromPlugin::Hello(hello()));
    it.daemon.wait_metric("sluice_plugin_connections", 1.0);
    wait::until("it is disconnected", || it.daemon.metric("sluice_plugin_connections") < 1.0);
    assert!(it.daemon.log().contains("it read nothing for"));
}

#[test]
fn a_process_of_another_user_is_refused() {
    let (builder, path) = socket(TestDaemon::builder().database());
    let it = builder.set("PLUGIN_PEER_UIDS", "54321").start();
    it.listening("OPS_BIND");
    PluginClient::connect(&path).wait_closed();
    it.daemon.wait_metric("sluice_plugin_refused_total", 1.0);
    assert!(it.daemon.log().contains("is none of [54321]"));
}

#[test]
fn a_socket_of_a_living_process_and_a_file_are_not_replaced() {
    let (builder, path) = socket(TestDaemon::builder());
    let living = UnixListener::bind(&path).unwrap();
    let it = builder.start();
    assert_ne!(it.daemon.wait(), 0);
    assert!(it.daemon.log().contains("another process listens at PLUGIN_SOCKET"));
    drop(living);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "mine").unwrap();
    it.daemon.start_again();
    assert_ne!(it.daemon.wait(), 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn what_the_plugin_counts_and_warns_of_is_shown() {
    let (it, path) = daemon("");
    let readyz = || it.daemon.get("/readyz").unwrap().1;
    wait::until("it says that no plugin is there", || readyz().contains("no plugin is connected"));
    let mut plugin = PluginClient::greet(&path);
    let mut report = |stamped, sessions| {
        let stats = Stats { stamped, sessions, topics: [stamped, 1], ..Stats::default() };
        plugin.send(&FromPlugin::Stats(Box::new(stats)));
    };
    report(5, 2);
    report(7, 3);
    it.daemon.wait_metric("sluice_plugin_stamped_total{profile=\"test\"}", 7.0);
    let mut again = PluginClient::greet(&path);
    let stats = Stats { stamped: 9, sessions: 4, ..Stats::default() };
    again.send(&FromPlugin::Stats(Box::new(stats)));
    it.daemon.wait_metric("sluice_plugin_stamped_total{profile=\"test\"}", 9.0);
    assert!(it.daemon.metric("sluice_plugin_stamped_total{profile=\"test\"}") < 10.0);
    it.daemon.wait_metric("sluice_plugin_sessions{profile=\"test\"}", 4.0);
    it.daemon.wait_metric("sluice_plugin_up{profile=\"test\"}", 1.0);
    wait::until("readiness shows it", || {
        let shown = readyz();
        shown.contains("plugin 9.8.7 at Mosquitto 2.0.11") && shown.contains("an option weakens it")
    });
    drop((plugin, again));
    wait::until("it is gone", || it.daemon.metric("sluice_plugin_up{profile=\"test\"}") < 1.0);
}
