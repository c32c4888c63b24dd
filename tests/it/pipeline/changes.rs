//! A change of the registry by plain SQL acts on every running replica within a second, however
//! warm its cache is.

use std::time::{Duration, Instant};

use crate::faults::load::{TENANT, counted, message, register, settings};
use crate::support::daemon::Daemon;
use crate::support::database::Database;
use crate::support::device::Device;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::time_bounds::REGISTRY_CHANGE;
use crate::support::wait;

const CERTIFIED: &str = "timed-1";

/// Two replicas that both receive every message, and a device that publishes them.
struct TwoReplicas<'a> {
    database: &'a Database<'a>,
    replicas: [Daemon; 2],
    device: Device,
    sent: u64,
}

// === impl TwoReplicas ===

impl<'a> TwoReplicas<'a> {
    fn new(broker: &Mosquitto, database: &'a Database<'a>) -> Self {
        register(database, &[CERTIFIED]);
        database.query(&format!(
            "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, \
             issuer, not_before, not_after) VALUES (gen_random_uuid(), '{TENANT}', '{CERTIFIED}', repeat('a', 64), '1', \
             '{TENANT}/device/{CERTIFIED}', 'test', now() - interval '1 day', now() + interval '1 day')"
        ));
        let settings = |name| {
            settings(broker, database).set("MQTT_CLIENT_ID", name).set("CERT_AUTH_ENABLED", "1")
        };
        let replicas = ["one", "other"].map(|name| settings(name).start());
        for replica in &replicas {
            replica.wait_ready();
            wait::until("it listens", || counted(replica, "sluice_db_listening") == 1);
        }
        let device = Device::connect(broker.port(), CERTIFIED);
        let mut pair = Self { database, replicas, device, sent: 0 };
        pair.wait_accepted();
        pair
    }

    /// Makes a change and returns how long it took until both replicas refused for this reason.
    fn time_to_refusal(&mut self, change: &str, reason: &str) -> Duration {
        self.warm();
        let name = format!("sluice_quarantined_total{{reason=\"{reason}\"}}");
        let before = self.both(&name);
        // From a little before the commit.
        let began = Instant::now();
        self.database.query(change);
        self.publish_until(&format!("both refuse: {reason}"), |pair| {
            pair.both(&name).into_iter().zip(before).all(|(now, before)| now > before)
        });
        began.elapsed()
    }

    /// Waits until both replicas accept the device again.
    fn wait_accepted(&mut self) {
        let accepted = |pair: &Self| pair.replicas.each_ref().map(accepted);
        let before = accepted(self);
        self.publish_until("both accept the device", |pair| {
            accepted(pair).into_iter().zip(before).all(|(now, before)| now > before)
        });
    }

    /// Answers come from the cache of both.
    fn warm(&mut self) {
        let hits = "sluice_auth_cache_hits";
        let before = self.both(hits);
        self.publish_until("both caches are warm", |pair| {
            pair.both(hits).into_iter().zip(before).all(|(now, before)| now > before + 2)
        });
    }

    fn publish_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        wait::until(what, || {
            let message = message(CERTIFIED, self.sent);
            self.sent += 1;
            self.device.publish(std::str::from_utf8(&message.topic).unwrap(), &message.payload);
            done(self)
        });
    }

    fn both(&self, name: &str) -> [u64; 2] {
        self.replicas.each_ref().map(|replica| counted(replica, name))
    }
}

/// How many messages it accepted: the other replica may have stored them first.
fn accepted(replica: &Daemon) -> u64 {
    ["stored", "duplicate"]
        .map(|result| counted(replica, &format!("sluice_messages_total{{result=\"{result}\"}}")))
        .iter()
        .sum()
}

/// What is changed, the reason it gives, and how it is undone.
fn changes() -> [[String; 3]; 3] {
    let update = |table: &str, value: &str| {
        format!("UPDATE {table} SET status = '{value}' WHERE tenant_id = '{TENANT}'")
    };
    let change = |table: &str, value: &str, reason: &str| {
        [update(table, value), reason.to_owned(), update(table, "ACTIVE")]
    };
    [
        change("devices", "REVOKED", "DEVICE_REVOKED"),
        change("tenants", "SUSPENDED", "TENANT_SUSPENDED"),
        // A revocation is never taken back.
        change("device_certificates", "EXPIRED", "TOKEN_MISSING"),
    ]
}

/// Ends the connections on which the replicas listen. The last query of a connection that was
/// silent for a second is the probe.
const DEAFEN: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND (query ILIKE 'LISTEN %' OR query = 'SELECT 1') AND application_name = 'sluice'";

#[test]
fn changes_by_plain_sql_act_on_both_replicas_within_a_second() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let mut pair = TwoReplicas::new(&broker, &database);
    for [change, reason, undo] in changes() {
        let took = pair.time_to_refusal(&change, &reason);
        println!("{reason} on both replicas after {took:?}");
        assert!(took < REGISTRY_CHANGE, "{reason} took {took:?}");
        database.query(&undo);
        pair.wait_accepted();
    }
}

#[test]
fn a_change_missed_while_listening_was_cut_acts_once_it_listens_again() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let mut pair = TwoReplicas::new(&broker, &database);
    for [change, reason, undo] in changes() {
        // The change is committed while no replica listens.
        let took = pair.time_to_refusal(&format!("{DEAFEN}; {change}"), &reason);
        println!("{reason} on both replicas after {took:?}, listening cut");
        assert!(took < REGISTRY_CHANGE, "{reason} took {took:?}");
        database.query(&undo);
        pair.wait_accepted();
    }
    let log = pair.replicas.each_ref().map(Daemon::log);
    assert!(
        log.iter().all(|log| log.contains("Sluice does not receive registry changes")),
        "the cut was noticed"
    );
}
