//! The store on a real Postgres: what a batch becomes, what a failure leaves, who may read it.

mod batches;
mod dark;
mod directory;
mod engine_sql;
mod failures;
mod last_attempt;
mod link_events;
mod link_floor;
mod link_gap;
mod link_gap_lanes;
mod link_gap_lock;
mod link_outbox;
mod link_refused;
mod migrations;
mod mixed;
mod notify;
mod outbox;
mod poison;
mod quarantine;
mod readers;
mod releases;
mod revoked;
mod schema;
mod shadows;
mod state;
mod taken;

pub use releases::migrate_to;

use bytes::Bytes;
use sluice::config::secret::Secret;
use sluice::config::sections::database::{DatabaseConfig, ExpectedEngine};
use sluice::domain::batch::Batch;
use sluice::domain::ids::DeviceKey;
use sluice::domain::message::{CommandAck, CommandVerdict, Delivery, Reading, ShadowReport};
use sluice::domain::ports::Sink;
use sluice::domain::publisher::Publisher;
use sluice::domain::time::Timestamp;
use sluice::store::batch::sink::PgSink;
use sluice::store::connection::database::Database;
use sluice::telemetry::metrics::Metrics;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::database::Database as TestDatabase;
use crate::support::postgres::Postgres;
use crate::support::wait;

/// 2026-05-04T12:00:00Z, in microseconds.
const NOON: i64 = 1_777_896_000_000_000;

/// A migrated database, seen from both sides.
struct StoreHarness<'a> {
    database: TestDatabase<'a>,
    store: Database,
    metrics: Metrics,
}

impl<'a> StoreHarness<'a> {
    async fn on(server: &'a Postgres) -> Self {
        let database = server.database();
        let metrics = Metrics::new().unwrap();
        let store = Database::open(&settings(&database.url()), metrics.store.clone()).unwrap();
        assert_eq!(store.migrate().await, Ok(vec![]));
        Self { database, store, metrics }
    }

    /// From now on no COMMIT is answered: each waits for a standby that does not exist. The server
    /// is this harness's own.
    fn wait_for_a_standby(&self) {
        self.database.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
        self.database.query("SELECT pg_reload_conf()");
        wait::until("the server waits for a standby", || {
            self.database.value("SHOW synchronous_standby_names") == "nobody"
        });
    }

    /// Each COMMIT is answered again.
    fn wait_for_no_standby(&self) {
        self.database.query("ALTER SYSTEM RESET synchronous_standby_names");
        self.database.query("SELECT pg_reload_conf()");
    }

    /// Writes a batch whose commit is done on the server and not answered, since it waits for a
    /// standby that is not there: killed there, it is exactly the case of the lost answer. Says
    /// which statement that was. The server is this harness's own.
    async fn commit_and_lose_the_answer(
        &self,
        mut sink: PgSink,
        mut batch: Batch,
    ) -> (String, PgSink, Batch) {
        self.wait_for_a_standby();
        let waiting =
            "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'";
        let mut commit = JoinSet::new();
        commit.spawn(async move { (sink.commit(&mut batch).await, sink, batch) });
        self.database.wait_until(&format!("SELECT count(*) {waiting}"), "1");
        let said = self.database.value(&format!("SELECT query {waiting}"));
        self.database.query(&format!("SELECT pg_terminate_backend(pid, 60000) {waiting}"));
        let (outcome, sink, batch) = commit.join_next().await.unwrap().unwrap();
        outcome.unwrap_err();
        self.wait_for_no_standby();
        (said, sink, batch)
    }
}

async fn harness() -> StoreHarness<'static> {
    StoreHarness::on(Postgres::shared()).await
}

pub(crate) fn settings(url: &str) -> DatabaseConfig {
    DatabaseConfig {
        registry_url: None,
        url: Some(Secret::new(url.to_owned())),
        pool_max: 2,
        migrate_on_start: true,
        telemetry_retention_days: None,
        quarantine_retention_days: None,
        certificate_retention_days: None,
        store_engine: ExpectedEngine::Auto,
        columnstore_after_days: None,
    }
}

fn device(name: &str) -> DeviceKey {
    DeviceKey::new("acme", name).unwrap()
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Adds a message to the batch; returns its index.
fn deliver(batch: &mut Batch, device: &DeviceKey, msg_type: &str, payload: &[u8]) -> usize {
    batch.deliveries.push(Delivery {
        topic: format!("tenant/{}/device/{}/{msg_type}", device.tenant(), device.device()).into(),
        payload: Bytes::copy_from_slice(payload),
        cut_from: None,
        held_since: at(NOON),
        received_at: at(NOON),
        dup: false,
        redelivered: false,
        maybe_repeated: false,
        ack: None,
        correlation: None,
        publisher: Publisher::default(),
        replay: None,
        arrival: None,
    });
    batch.deliveries.len() - 1
}

/// Adds a reading with these metrics, taken past the parser as they are.
fn add_reading(batch: &mut Batch, name: &str, metrics: &[u8]) {
    let device = device(name);
    let origin = deliver(batch, &device, "telemetry", metrics);
    batch.readings.push(Reading {
        origin,
        message_id: batch.deliveries[origin].message_id(),
        device,
        time: at(NOON),
        received_at: at(NOON),
        site: None,
        msg_type: Bytes::from_static(b"telemetry"),
        seq: None,
        metrics: Bytes::copy_from_slice(metrics),
        extra: None,
        link: None,
        certificate: None,
    });
}

fn add_report(batch: &mut Batch, name: &str, version: Option<i64>, reported: &[u8]) {
    let device = device(name);
    let origin = deliver(batch, &device, "shadow/reported", reported);
    let reported = Bytes::copy_from_slice(reported);
    batch.shadows.push(ShadowReport {
        origin,
        device,
        reported,
        version,
        time: None,
        received_at: at(NOON),
    });
}

fn add_ack(batch: &mut Batch, name: &str, command: u128) {
    add_verdict(batch, name, command, CommandVerdict::Done, br#"{"status":"ok"}"#);
}

fn add_verdict(
    batch: &mut Batch,
    name: &str,
    command: u128,
    verdict: CommandVerdict,
    details: &'static [u8],
) {
    let device = device(name);
    let origin = deliver(batch, &device, "commands/ack", b"{}");
    let details = Bytes::from_static(details);
    let command_id = Uuid::from_u128(command);
    batch.command_acks.push(CommandAck {
        origin,
        device,
        command_id,
        verdict,
        details,
        time: None,
        received_at: at(NOON),
    });
}

/// A batch of `count` valid readings, each of another device.
pub(crate) fn good(count: usize) -> Batch {
    let mut batch = Batch::default();
    for number in 0..count {
        add_reading(&mut batch, &format!("d{number}"), br#"{"t":1}"#);
    }
    batch
}
