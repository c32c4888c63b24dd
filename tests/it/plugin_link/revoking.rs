//! The sessions of a revoked certificate are closed by the plugin, and the revocation says so.

use sluice_shared::frames::from_daemon::{FromDaemon, RevokeTarget};
use sluice_shared::frames::from_plugin::FromPlugin;

use super::plugin_client::{PluginClient, certificate, socket};
use crate::support::daemon::Daemon;
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

const REGISTRY: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'); \
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1');";

#[test]
fn the_plugin_closes_the_sessions_of_a_revoked_certificate() {
    let (builder, path) = socket(TestDaemon::builder().registry(REGISTRY).authority(30));
    let it = builder.start();
    let mut plugin = PluginClient::greet(&path);
    it.database.wait_until("SELECT issuer IS NOT NULL FROM crl_state", "t");
    it.database.query(
        &certificate("acme/pump-1", "one", "", "")
            .replace("'CN=test'", "(SELECT issuer FROM crl_state)"),
    );
    let id = "acme/device/pump-1";
    plugin.until("the certificate is there", |plugin| plugin.registry.contains_key(id));
    let fingerprint = plugin.fingerprints(id).remove(0);
    it.database.query("UPDATE device_certificates SET status = 'REVOKED', revoked_at = now()");
    // There is no broker at which another client could take the session over.
    let FromDaemon::Revoke { command, target } = plugin.other() else { panic!("no command") };
    assert_eq!(target, RevokeTarget::Fingerprint(fingerprint));
    assert!(!plugin.registry.contains_key(id), "the registry goes first");
    let ended = "SELECT ended_at IS NOT NULL FROM certificate_revocations";
    assert_eq!(it.database.value(ended), "f");
    plugin.send(&FromPlugin::Revoked { command, sessions: 1 });
    it.database.wait_until(ended, "t");
}

#[test]
fn the_replica_that_has_the_plugin_carries_out_revocations() {
    const PUBLISHES: &str = "this replica publishes the CRL";
    let times = |daemon: &Daemon| daemon.log().matches(PUBLISHES).count();
    let first = TestDaemon::builder().registry(REGISTRY).authority(30).start();
    wait::until("the first replica publishes", || times(&first.daemon) == 1);
    let path = |name: &str| first.settings.dir().path().join(name).to_str().unwrap().to_owned();
    let (builder, socket) = socket(
        TestDaemon::builder()
            .on_database(&first.database)
            .set("MQTT_CLIENT_ID", "second")
            .set("DEVICE_CA_CERT_PATH", &path("ca.crt"))
            .set("DEVICE_CA_KEY_PATH", &path("ca.key"))
            .set("CRL_OUTPUT_PATH", &path("crl.pem")),
    );
    let second = builder.start();
    let plugin = PluginClient::greet(&socket);
    wait::until("the second one publishes", || times(&second.daemon) == 1);
    assert!(first.daemon.log().contains("the replica that has the broker's plugin publishes"));
    assert_eq!(times(&first.daemon), 1);
    // It goes on without the plugin; the first one is the publisher again after its end.
    drop(plugin);
    drop(second);
    wait::until("the first replica publishes again", || times(&first.daemon) == 2);
}
