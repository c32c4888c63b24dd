//! The sessions of a revoked certificate are closed by the plugin, and the revocation says so.

use sluice_shared::frames::from_daemon::{FromDaemon, RevokeTarget};
use sluice_shared::frames::from_plugin::FromPlugin;

use super::plugin_client::{PluginClient, certificate, socket};
use crate::support::test_daemon::TestDaemon;

#[test]
fn the_plugin_closes_the_sessions_of_a_revoked_certificate() {
    let sql = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'); \
        INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1');";
    let (builder, path) = socket(TestDaemon::builder().registry(sql).authority(30));
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
