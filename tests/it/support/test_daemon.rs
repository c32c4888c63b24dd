//! A daemon and the servers it needs, in one line: what a test does not name is not there.
//!
//! ```ignore
//! let it = TestDaemon::builder().broker().registry(SQL).set("REQUIRE_TOKEN", "0").start_ready();
//! ```
//!
//! It knows no rule of Sluice; the fixtures of the folders add their clients to it.

use std::net::TcpStream;

use super::daemon::{Daemon, Settings};
use super::database::Database;
use super::mosquitto::{Mosquitto, MosquittoOptions};
use super::postgres::Postgres;
use super::{port, wait};

/// A running daemon. The fields are dropped in their order: the daemon ends before its servers.
#[derive(Debug)]
pub struct TestDaemon<B = Mosquitto, D = Database<'static>> {
    pub daemon: Daemon,
    pub settings: Settings,
    pub database: D,
    pub broker: B,
}

/// A daemon that does not run yet; `()` stands for a server it does not have.
#[derive(Debug)]
#[must_use]
pub struct TestDaemonBuilder<B, D> {
    settings: Settings,
    database: D,
    broker: B,
}

impl TestDaemon<(), ()> {
    /// Without servers: nothing listens at the addresses of its broker and its database.
    pub fn builder() -> TestDaemonBuilder<(), ()> {
        let nowhere = port::free();
        let settings = Settings::empty()
            .set("DATABASE_URL", &format!("postgres://sluice:x@127.0.0.1:{nowhere}/none"))
            .set("MQTT_HOST", "127.0.0.1")
            .set("MQTT_PORT", &nowhere.to_string());
        TestDaemonBuilder { settings, database: (), broker: () }
    }
}

impl<B, D> TestDaemonBuilder<B, D> {
    /// A Mosquitto of its own.
    pub fn broker(self) -> TestDaemonBuilder<Mosquitto, D> {
        self.on_broker(Mosquitto::start(MosquittoOptions::default()))
    }

    /// This Mosquitto.
    pub fn on_broker(self, broker: Mosquitto) -> TestDaemonBuilder<Mosquitto, D> {
        let settings = self.settings.set("MQTT_PORT", &broker.port().to_string());
        TestDaemonBuilder { settings, database: self.database, broker }
    }

    /// A fresh, migrated database on the shared server.
    pub fn database(self) -> TestDaemonBuilder<B, Database<'static>> {
        self.registry("")
    }

    /// The same, filled by this SQL.
    pub fn registry(self, sql: &str) -> TestDaemonBuilder<B, Database<'static>> {
        let database = Postgres::shared().database();
        database.query(sql);
        self.keeping(database)
    }

    /// A fresh database without a schema.
    pub fn empty_database(self) -> TestDaemonBuilder<B, Database<'static>> {
        self.keeping(Postgres::shared().empty_database())
    }

    /// A database that stays with the test.
    pub fn on_database(self, database: &Database<'_>) -> Self {
        self.set("DATABASE_URL", &database.url())
    }

    /// An authority made by `sluice ca init`, and the settings that name its files.
    pub fn authority(self, days: u32) -> Self {
        let named = self.authority_paths();
        named.settings.run(&["ca", "init", "--days", &days.to_string()]);
        named
    }

    /// The settings of an authority whose files are not there yet.
    pub fn authority_paths(self) -> Self {
        let path = |name: &str| self.settings.dir().path().join(name).to_str().unwrap().to_owned();
        let [cert, key, crl] = ["ca.crt", "ca.key", "crl.pem"].map(path);
        self.set("DEVICE_CA_CERT_PATH", &cert)
            .set("DEVICE_CA_KEY_PATH", &key)
            .set("CRL_OUTPUT_PATH", &crl)
    }

    /// A listener that is off by default, on a free port.
    pub fn listener(self, name: &str) -> Self {
        self.set(name, &format!("127.0.0.1:{}", port::free()))
    }

    /// For commands that run before the daemon.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn set(self, name: &str, value: &str) -> Self {
        Self { settings: self.settings.set(name, value), ..self }
    }

    /// Several settings.
    pub fn with<V: AsRef<str>>(self, settings: &[(&str, V)]) -> Self {
        settings.iter().fold(self, |all, (name, value)| all.set(name, value.as_ref()))
    }

    /// A setting whose value is a file with this content.
    pub fn file(self, name: &str, file: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.settings.dir().write(file, content);
        self.set(name, path.to_str().unwrap())
    }

    /// Starts it; it may not be ready yet.
    pub fn start(self) -> TestDaemon<B, D> {
        let Self { settings, database, broker } = self;
        TestDaemon { daemon: settings.start(), settings, database, broker }
    }

    /// Starts it and waits until it is ready.
    pub fn start_ready(self) -> TestDaemon<B, D> {
        let started = self.start();
        started.daemon.wait_ready();
        started
    }

    fn keeping(self, database: Database<'static>) -> TestDaemonBuilder<B, Database<'static>> {
        let settings = self.settings.set("DATABASE_URL", &database.url());
        TestDaemonBuilder { settings, database, broker: self.broker }
    }
}

impl<B, D> TestDaemon<B, D> {
    /// The port of a listener, such as `HTTP_BIND`, once it accepts connections.
    pub fn listening(&self, name: &str) -> u16 {
        let port = self.settings.port(name);
        wait::until(name, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        port
    }
}
