//! Members of one share group on one broker and one database.

use std::process::Output;

use serde_json::Value;

use crate::faults::load::{self, message, register};
use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::device::{Device, Fate, Message};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;

/// After so many seconds without a note a session is orphaned; the default is a minute.
pub const ORPHAN_AFTER: &str = "3";

/// A broker and a database.
pub struct Group {
    pub broker: Mosquitto,
    pub database: Database<'static>,
}

// === impl Group ===

impl Group {
    pub fn new() -> Self {
        let broker = Mosquitto::start(MosquittoOptions::default());
        Self { broker, database: Postgres::shared().database() }
    }

    /// The settings of the member with this number.
    pub fn settings(&self, number: usize) -> Settings {
        load::settings(&self.broker, &self.database)
            .set("MQTT_CLIENT_ID", "sluice-%ordinal")
            .set("REPLICA_ORDINAL", &number.to_string())
            .set("MQTT_SHARE_GROUP", "g")
            .set("ORPHAN_AFTER_SECONDS", ORPHAN_AFTER)
    }

    /// Running members, numbered from 0.
    pub fn members<const N: usize>(&self) -> [(Settings, Daemon); N] {
        let members = std::array::from_fn(|number| {
            let settings = self.settings(number);
            let daemon = settings.start();
            (settings, daemon)
        });
        for (_, daemon) in &members {
            daemon.wait_ready();
        }
        self.wait_noted(N);
        members
    }

    /// Waits until this many members have noted their subscription, a moment after they are ready.
    /// What one killed before that has waiting is adopted by command only.
    pub fn wait_noted(&self, members: usize) {
        self.database.wait_until(
            "SELECT count(*) FROM broker_sessions WHERE subscribed_at IS NOT NULL",
            &members.to_string(),
        );
    }

    /// Whether `broker_sessions` has a row of the member.
    pub fn has_row(&self, number: usize) -> bool {
        let sql =
            format!("SELECT count(*) FROM broker_sessions WHERE client_id = 'sluice-{number}'");
        self.database.value(&sql) == "1"
    }

    /// The messages of these numbers, published by a registered device.
    pub fn publish(&self, device: &'static str, numbers: std::ops::Range<u64>) {
        register(&self.database, &[device]);
        let messages: Vec<Message> = numbers.map(|number| message(device, number)).collect();
        let fates = Device::connect(self.broker.port(), device).publish_all(&messages);
        assert!(fates.iter().all(|fate| *fate == Fate::Accepted));
    }

    /// Waits until the database has this many rows of the device.
    pub fn wait_rows(&self, device: &str, rows: u64) {
        let sql = format!("SELECT count(*) FROM telemetry WHERE device_id = '{device}'");
        self.database.wait_until(&sql, &rows.to_string());
    }
}

/// Runs a command; its exit code, what it printed, and standard error.
pub fn run(settings: &Settings, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = settings.command(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// The same with JSON; it must end with this code.
pub fn run_json(settings: &Settings, arguments: &[&str], code: i32) -> Value {
    let all: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
    let (exit, stdout, stderr) = run(settings, &all);
    assert_eq!(exit, code, "{stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
}
