//! Sluice on Citus and on Timescale, where their libraries are installed: nothing is lost or stored
//! twice, days come and go, and a reader sees one tenant.
//!
//! Without the library a test does nothing; `scripts/test` says so at its end.

mod citus;
mod cluster;
mod migrations;
mod readers;
mod timescale;

use serde_json::Value;
use sluice::domain::clocks::Clocks;
use sluice::domain::ids::DeviceKey;
use sluice::domain::ports::Sink;
use sluice::domain::time::Timestamp;
use sluice::store::connection::database::Database as Store;
use sluice::store::reads::telemetry::{self, RowOrder, TelemetryRange};
use sluice::store::schema::partition_report::PartitionReport;
use sluice::store::schema::partitions::maintain;
use sluice::store::schema::retention::Retention;
use sluice::telemetry::metrics::Metrics;

use crate::store::{good, settings};
use crate::support::daemon::Settings;
use crate::support::database::{Database, query_at};
use crate::support::postgres::Postgres;

const KEEP_TEN: Retention = Retention {
    telemetry_days: Some(10),
    quarantine_days: Some(10),
    certificate_days: None,
    columnstore_days: Some(2),
    confirmed: true,
};

fn now() -> Timestamp {
    sluice::clock::now()
}

/// Both clocks, some days from now.
fn in_days(days: i64) -> Clocks {
    let moment = now().plus_seconds(86_400 * days);
    Clocks { own: moment, database: moment }
}

fn store(database: &Database<'_>) -> Store {
    Store::open(&settings(&database.url()), Metrics::new().unwrap().store).unwrap()
}

/// Runs a command of Sluice; its exit code, and what it printed as JSON.
fn run(settings: &Settings, arguments: &[&str]) -> (i32, Value) {
    let line = [arguments, &["--output", "json"]].concat();
    let output = settings.command(&line).output().unwrap();
    let printed = serde_json::from_slice(&output.stdout);
    (
        output.status.code().unwrap(),
        printed.unwrap_or_else(|_| String::from_utf8_lossy(&output.stderr).into_owned().into()),
    )
}

/// Runs the simulator and its check; what it found.
fn simulate(settings: &Settings, pace: &[&str]) -> Value {
    let fleet = ["--devices", "200", "--tenants", "2", "--verify"];
    simulator(settings, &[&fleet[..], pace].concat())
}

fn simulator(settings: &Settings, arguments: &[&str]) -> Value {
    let output = settings.command(&[&["simulate", "--json"], arguments].concat()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary: Value = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{output:?}"));
    assert!(output.status.success(), "{summary:#}");
    summary
}

/// A batch that is stored, and again as one that may be repeated, is counted as such.
async fn repeats_are_counted_as_repeats(store: &Store, database: &Database<'_>) {
    let rows = "SELECT count(*) FROM telemetry WHERE tenant_id = 'acme'";
    let mut sink = store.sink();
    assert_eq!(sink.commit(&mut good(50)).await.unwrap().stored, 50);
    let before = database.value(rows);
    let mut repeated = good(60);
    repeated.maybe_repeated = true;
    let receipt = sink.commit(&mut repeated).await.unwrap();
    assert_eq!((receipt.stored, receipt.duplicates), (10, 50));
    let after: u64 = database.value(rows).parse().unwrap();
    assert_eq!(after, before.parse::<u64>().unwrap() + 10);
}

/// The statements of the API and the console.
async fn every_reading_of_telemetry_answers(store: &Store) {
    let layout = store.read_engine().await.unwrap().layout;
    let (pool, tenant) = (store.pool(), "sluice-sim-000".parse().unwrap());
    let (rows, _) =
        telemetry::latest_of_each(pool, layout, &tenant, None, 50, now()).await.unwrap();
    assert_eq!(rows.len(), 50);
    let device = DeviceKey::new("sluice-sim-000", &rows[0].device_id).unwrap();
    let latest = telemetry::latest(pool, &device, None).await.unwrap().unwrap();
    assert_eq!(latest.message_id, rows[0].message_id);
    let (from, to) = (now().plus_seconds(-86_400), now().plus_seconds(86_400));
    let range = TelemetryRange { device, from, to, msg_type: None, link: None };
    for order in [RowOrder::OldestFirst, RowOrder::NewestFirst] {
        let rows = telemetry::range(pool, &range, order, None, 10).await.unwrap();
        assert!(!rows.is_empty());
    }
    let step = std::time::Duration::from_hours(1);
    telemetry::buckets(pool, &range, "t", step).await.unwrap();
}

/// Five days on, both tables are kept: their days are there, and what is past its retention is gone.
async fn both_tables_are_kept(store: &Store, database: &Database<'_>) -> PartitionReport {
    database.query(
        "INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, reason, detail, payload, message_id)
         SELECT gen_random_uuid(), now() - make_interval(days => age), now(), 't', 'TOPIC_INVALID', 'd', '', gen_random_uuid()
         FROM unnest(ARRAY[0, 4, 7, 12]) AS age",
    );
    let report = maintain(store.pool(), KEEP_TEN, in_days(5)).await.unwrap();
    assert!(report.failed.is_empty() && report.missing.is_empty(), "{report:?}");
    let last = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'quarantine_events'::regclass AND inhrelid::regclass::text =
        'quarantine_events_' || to_char(now() AT TIME ZONE 'UTC' + INTERVAL '5 days', 'YYYYMMDD')";
    assert_eq!(database.value(last), "1");
    let kept = "SELECT string_agg(DISTINCT (now()::date - quarantined_at::date)::text, ' ') FROM quarantine_events
        WHERE topic = 't'";
    assert_eq!(database.value(kept), "0 4");
    report
}

/// What a login of a tenant's dashboard sees of `relation`; `Err` if it may not read it.
fn seen(
    server: &Postgres,
    database: &Database<'_>,
    role: &str,
    relation: &str,
) -> Result<String, String> {
    let url = format!("postgres://{role}:x@127.0.0.1:{}/{}", server.port(), database.name());
    let sql =
        format!("SELECT coalesce(string_agg(DISTINCT tenant_id, ' '), 'none') FROM {relation}");
    query_at(&url, &sql).map(|rows| rows[0][0].clone()).map_err(|error| error.to_string())
}

/// The logins of dashboards: of a tenant with rows, of one without, and of none.
const DASHBOARDS: &str = "CREATE ROLE of_sim LOGIN PASSWORD 'x' IN ROLE sluice_reader;
    CREATE ROLE of_other LOGIN PASSWORD 'x' IN ROLE sluice_reader;
    CREATE ROLE of_none LOGIN PASSWORD 'x' IN ROLE sluice_reader;
    ALTER ROLE of_sim SET app.tenant_id = 'sluice-sim-000';
    ALTER ROLE of_other SET app.tenant_id = 'other'";

/// A reader sees the rows of its tenant in `relation`, and no other.
fn a_reader_sees_its_tenant(server: &Postgres, database: &Database<'_>, relation: &str) {
    let look = |role| seen(server, database, role, relation);
    assert_eq!(look("of_sim").as_deref(), Ok("sluice-sim-000"), "{relation}");
    assert_eq!(look("of_other").as_deref(), Ok("none"), "{relation}");
    assert_eq!(look("of_none").as_deref(), Ok("none"), "{relation}");
}
