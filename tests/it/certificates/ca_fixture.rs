//! A registry with one device, an authority made by `sluice ca init`, and OpenSSL to check what
//! they issue.

use std::process::Output;

use serde_json::Value;

use crate::commands::registry::sluice;
use crate::pki::openssl::OpensslDir;
use crate::support::database::{Database, Rows};
use crate::support::postgres::Postgres;

/// The device that is issued to; `pump-2` is registered too.
pub const TENANT: &str = "acme";
pub const NAME: &str = "pump-1";

/// A registry, an authority, and a scratch directory.
pub struct CaFixture {
    pub database: Database<'static>,
    pub openssl: OpensslDir,
}

// === impl CaFixture ===

impl CaFixture {
    pub fn new() -> Self {
        let ca = Self { database: Postgres::shared().database(), openssl: OpensslDir::new() };
        ca.database.query(
            "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme');
             INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1'), ('acme', 'pump-2')",
        );
        ca.done(&["ca", "init", "--days", "400"]);
        ca
    }

    /// The path of a file of the fixture.
    pub fn path(&self, name: &str) -> String {
        self.openssl.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// The settings that name the authority.
    pub fn files(&self) -> [(&'static str, String); 3] {
        [
            ("DEVICE_CA_CERT_PATH", self.path("ca.crt")),
            ("DEVICE_CA_KEY_PATH", self.path("ca.key")),
            ("CRL_OUTPUT_PATH", self.path("crl.pem")),
        ]
    }

    pub fn run(&self, line: &[&str], input: &str) -> Output {
        let files = self.files();
        let envs: Vec<(&str, &str)> =
            files.iter().map(|(name, value)| (*name, value.as_str())).collect();
        sluice(&self.database.url(), &envs, input, line)
    }

    /// Runs a command that must succeed; its JSON.
    pub fn done(&self, line: &[&str]) -> Value {
        let output = self.run(&[line, &["--output", "json"]].concat(), "");
        assert!(output.status.success(), "{line:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must be refused as wrong usage; its standard error.
    pub fn refused(&self, line: &[&str]) -> String {
        let output = self.run(line, "");
        assert_eq!(output.status.code(), Some(64), "{line:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// A key and a request for it, `<name>.key` and `<name>.csr`; the path of the request.
    pub fn request(&self, name: &str, subject: &str) -> String {
        self.openssl.done(&format!(
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"
        ));
        self.openssl.done(&format!("req -new -key {name}.key -subj {subject} -out {name}.csr"));
        self.path(&format!("{name}.csr"))
    }

    /// Issues a certificate to the device, for a request; what was printed.
    pub fn issued(&self, name: &str) -> Value {
        let request = self.request(name, "/");
        self.done(&["cert", "issue", TENANT, NAME, "--csr", &request])
    }

    /// Replaces a certificate by `renew` or `rotate`; what was printed.
    pub fn replaced(&self, command: &str, old: &str, name: &str) -> Value {
        let request = self.request(name, "/");
        self.done(&["cert", command, old, "--csr", &request])
    }

    /// Status and reason of a certificate.
    pub fn fate(&self, id: &str) -> Vec<String> {
        let mut rows: Rows = self.database.query(&format!(
            "SELECT status, revoked_reason FROM device_certificates WHERE id = '{id}'"
        ));
        rows.remove(0)
    }

    /// What was audited of certificates.
    pub fn audited(&self) -> Vec<String> {
        let rows = self.database.query(
            "SELECT actor || ' ' || action || ' ' || device_id FROM audit_log WHERE action LIKE 'certificate.%' ORDER BY id",
        );
        rows.into_iter().flatten().collect()
    }
}

/// The identifier of what was printed.
pub fn id(said: &Value) -> &str {
    said["id"].as_str().unwrap()
}
