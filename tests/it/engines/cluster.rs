//! A Citus of three servers: a coordinator and two workers, in a database of one name.

use std::fs;

use crate::support::database::Database;
use crate::support::postgres::Postgres;

/// The nodes connect to each other as the role of the session, without a password.
const HBA: &str = "local all all trust\nhost all all 127.0.0.1/32 trust\n";

const SETTINGS: [(&str, &str); 4] = [
    ("shared_preload_libraries", "citus"),
    ("max_prepared_transactions", "100"),
    ("citus.enable_statistics_collection", "off"),
    ("citus.node_conninfo", "sslmode=prefer"),
];

/// The servers; the coordinator is the first.
pub struct Nodes {
    pub coordinator: Postgres,
    pub workers: [Postgres; 2],
}

// === impl Nodes ===

impl Nodes {
    /// `None` without the library.
    pub fn start() -> Option<Self> {
        if !Postgres::has_library("citus.so") {
            return None;
        }
        let node = || {
            let server = Postgres::private_with(&SETTINGS);
            fs::write(server.socket_dir().join("data/pg_hba.conf"), HBA).unwrap();
            server
        };
        Some(Self { coordinator: node(), workers: [node(), node()] })
    }

    /// The database of the coordinator, with the schema of Sluice; the workers know it.
    pub fn database(&self) -> Database<'_> {
        self.joined(self.coordinator.database())
    }

    /// The same with nothing in it.
    pub fn empty_database(&self) -> Database<'_> {
        self.joined(self.coordinator.empty_database())
    }

    fn joined<'a>(&'a self, database: Database<'a>) -> Database<'a> {
        database.query("SELECT pg_reload_conf()");
        database.query("CREATE EXTENSION citus");
        let port = self.coordinator.port();
        database.query(&format!("SELECT citus_set_coordinator_host('127.0.0.1', {port})"));
        for worker in &self.workers {
            let twin = worker.empty_database();
            assert_eq!(twin.name(), database.name());
            twin.query("SELECT pg_reload_conf()");
            twin.query("CREATE EXTENSION citus");
            // It stays as long as its server.
            std::mem::forget(twin);
            database.query(&format!("SELECT citus_add_node('127.0.0.1', {})", worker.port()));
        }
        database
    }
}
