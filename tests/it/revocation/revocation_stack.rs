//! The broker of `compose/`, a database, and replicas between them that hold the authority.

use std::fs;
use std::time::{Duration, Instant};

use sluice::pki::certificate::Certificate;

use crate::compose::stack::Stack;
use crate::support::daemon::Settings;
use crate::support::database::Database;
use crate::support::postgres::Postgres;
use crate::support::wait;

pub struct RevocationStack {
    pub stack: Stack,
    pub database: Database<'static>,
}

// === impl RevocationStack ===

impl RevocationStack {
    /// Around a broker that runs, with two devices of the tenant acme that hold certificates.
    pub fn around(stack: Stack) -> Self {
        let revocation = Self { stack, database: Postgres::shared().database() };
        revocation.database.query("INSERT INTO tenants VALUES ('acme', 'Acme')");
        for device in ["pump-1", "pump-2"] {
            revocation.stack.enroll(device);
            revocation.register(device);
        }
        revocation
    }

    /// Of a replica by this name.
    pub fn settings(&self, name: &str) -> Settings {
        let [inner, outer, _] = self.stack.ports;
        Settings::empty()
            .set("MQTT_HOST", "127.0.0.1")
            .set("MQTT_PORT", &inner.to_string())
            .set("MQTT_USERNAME", "sluice")
            .set("MQTT_PASSWORD_FILE", &self.stack.text("sluice/mqtt_password"))
            .set("MQTT_CLIENT_ID", name)
            .set("MQTT_SHARE_GROUP", "pair")
            .set("DATABASE_URL", &self.database.url())
            .set("CERT_AUTH_ENABLED", "1")
            .set("DEVICE_CA_CERT_PATH", &self.stack.text("sluice/device-ca.crt"))
            .set("DEVICE_CA_KEY_PATH", &self.stack.text("sluice/device-ca.key"))
            .set("CRL_OUTPUT_PATH", &self.stack.text("crl/device-crl.pem"))
            .set("BROKER_PROBE_ADDR", &format!("localhost:{outer}"))
            .set("BROKER_PROBE_CA_CERT", &self.stack.text("sluice/server-ca.crt"))
    }

    /// Revokes the certificate of a device, by plain SQL.
    pub fn revoke(&self, device: &str) -> Instant {
        let sql = "UPDATE device_certificates SET status = 'REVOKED', revoked_at = now(), \
            revoked_reason = 'keyCompromise' WHERE device_id = ";
        self.database.query(&format!("{sql}'{device}'"));
        Instant::now()
    }

    /// Waits for the last link of the chain, and shows how far it came when it does not hold.
    pub fn wait_proven(&self, device: &str, limit: Duration) {
        let sql = format!(
            "SELECT r.proven_at IS NOT NULL, row_to_json(r) FROM certificate_revocations r \
             JOIN device_certificates c ON c.id = r.certificate_id WHERE c.device_id = '{device}'"
        );
        wait::within(limit, "the revocation is proven", || {
            let row =
                self.database.query(&sql).into_iter().next().ok_or("the chain has not begun")?;
            if row[0] == "t" { Ok(()) } else { Err(row[1].clone()) }
        });
    }

    /// How often the broker ended a session of this device because another client took its name.
    pub fn takeovers(&self, device: &str) -> usize {
        self.stack.takeovers(device)
    }

    fn register(&self, device: &str) {
        let path = self.stack.path(&format!("authority/devices/acme/{device}/device.crt"));
        let certificate = Certificate::from_pem(&fs::read(path).unwrap()).unwrap();
        let (serial, fingerprint) = (certificate.serial(), certificate.fingerprint());
        let (name, issuer) = (certificate.common_name().unwrap(), certificate.issuer());
        self.database.query(&format!(
            "INSERT INTO devices (tenant_id, device_id) VALUES ('acme', '{device}'); \
             INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, \
             issuer, not_before, not_after) VALUES (gen_random_uuid(), 'acme', '{device}', '{fingerprint}', '{serial}', \
             '{name}', '{issuer}', '{}', '{}')",
            certificate.not_before(),
            certificate.not_after(),
        ));
    }
}
