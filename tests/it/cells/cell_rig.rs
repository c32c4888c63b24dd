//! A registry and a cell, each on a Postgres of its own, and the settings of the cell.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::support::daemon::Settings;
use crate::support::database::{Database, Rows, try_query};
use crate::support::mosquitto::Mosquitto;
use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::wait;

/// What the registry has.
const FLEET: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'); \
    INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'pump-' || i FROM generate_series(1, 50) i";

/// Both servers.
pub struct Servers {
    pub registry: Postgres,
    pub cell: Postgres,
}

/// A registry with a fleet, and a database that can become its cell.
pub struct CellRig<'a> {
    servers_registry: &'a Postgres,
    pub registry: Database<'a>,
    pub cell: Database<'a>,
    pub settings: Settings,
    admin_url_file: PathBuf,
}

// === impl Servers ===

impl Servers {
    pub fn start() -> Self {
        Self::keeping("1GB")
    }

    /// `wal`: what the registry keeps for a cell that is away.
    pub fn keeping(wal: &str) -> Self {
        let registry = [("wal_level", "logical"), ("max_slot_wal_keep_size", wal)];
        // A subscription that failed starts again sooner than after 5 s.
        let cell = [("wal_retrieve_retry_interval", "300ms")];
        Self { registry: Postgres::private_with(&registry), cell: Postgres::private_with(&cell) }
    }
}

// === impl CellRig ===

impl<'a> CellRig<'a> {
    pub fn new(servers: &'a Servers) -> Self {
        let (registry, cell) = (servers.registry.database(), servers.cell.database());
        registry.query("ALTER ROLE sluice REPLICATION");
        registry.query(FLEET);
        let settings = Settings::empty().set("DATABASE_URL", &cell.url());
        let url = settings.dir().write("registry.url", registry.url());
        let settings = settings.set("REGISTRY_URL_FILE", url.to_str().unwrap());
        let (socket, port) = (servers.cell.socket_dir().display(), servers.cell.port());
        let admin = format!("postgres://postgres@localhost:{port}/{}?host={socket}", cell.name());
        let admin_url_file = settings.dir().write("admin.url", admin);
        let servers_registry = &servers.registry;
        Self { servers_registry, registry, cell, settings, admin_url_file }
    }

    /// Runs `sluice cell ..` in the cell.
    pub fn run(&self, line: &[&str]) -> Output {
        let admin = ["--admin-url-file", self.admin_url_file.to_str().unwrap()];
        let admin: &[&str] = if line[0] == "status" { &[] } else { &admin };
        let output = self.settings.command(&[&["cell"], line, admin].concat()).output().unwrap();
        for stream in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(stream);
            assert!(!text.contains(PASSWORD), "{line:?} prints the password: {text}");
        }
        output
    }

    /// The same; it must succeed. What it printed.
    pub fn done(&self, line: &[&str]) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line:?}: {output:?}{}", wait::log_tails());
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }

    /// The same; it must be refused. Why.
    pub fn refused(&self, line: &[&str]) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(1), "{line:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn join(&self) -> String {
        self.done(&["join", "north", "--yes", "--wait", "60"])
    }

    pub fn status(&self) -> Value {
        let output = self.run(&["status", "--output", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }

    /// Waits until both sides say the same.
    pub fn wait_equal(&self, sql: &str) {
        wait::for_ok(sql, || {
            let (here, there) = (self.cell.query(sql), self.registry.query(sql));
            if here == there { Ok(()) } else { Err(format!("{here:?} here, {there:?} there")) }
        });
    }

    /// The settings of a daemon in the cell.
    pub fn daemon_settings(&self, broker: &Mosquitto) -> Settings {
        self.settings
            .clone()
            .set("MQTT_HOST", "127.0.0.1")
            .set("MQTT_PORT", &broker.port().to_string())
            .set("REQUIRE_TOKEN", "0")
            .set("ADMIN_TOKEN", "admin-token-of-the-tests-0123456789")
    }

    /// Runs SQL at the registry's server, in another database.
    pub fn registry_elsewhere(&self, sql: &str) {
        try_query(self.servers_registry, "postgres", sql).unwrap();
    }

    /// The settings of a daemon at the registry.
    pub fn registry_settings(&self, broker: &Mosquitto) -> Settings {
        Settings::new(broker, &self.registry).set("REQUIRE_TOKEN", "0")
    }

    /// What the doctor says in the cell, or at the registry.
    pub fn doctor(settings: &Settings) -> String {
        let output = settings.command(&["doctor", "--output", "json"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn slots(&self) -> Rows {
        self.registry.query("SELECT slot_name FROM pg_replication_slots")
    }
}
