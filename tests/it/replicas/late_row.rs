//! The row of a drained replica: a write of it that Postgres carries out late does not bring it back.

use std::time::Duration;

use sluice::domain::broker_subscription::SessionMemory;
use sluice::lifecycle::draining::{DrainDesk, DrainPhase};
use sluice::store::access::broker_sessions;
use sluice::store::connection::database::Database as Store;
use sluice::telemetry::metrics::Metrics;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::faults::lock::Lock;
use crate::store::settings;
use crate::support::postgres::Postgres;

/// A write of the row waits until nobody locks `tenants`, before it looks whether there is a row.
const SLOW: &str = "CREATE FUNCTION wait_first() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN LOCK TABLE tenants IN ACCESS SHARE MODE; RETURN NEW; END'; \
     CREATE TRIGGER wait_first BEFORE INSERT ON broker_sessions FOR EACH ROW EXECUTE FUNCTION wait_first()";

const ROWS: &str = "SELECT count(*) FROM broker_sessions";

/// How long the removal could overtake the write; it takes some milliseconds.
const CHANCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_open_when_a_drain_ends_does_not_bring_the_row_back() {
    let database = Postgres::shared().database();
    let store = Store::open(&settings(&database.url()), Metrics::new().unwrap().store).unwrap();
    broker_sessions::recall(store.pool(), "drained", "$share/g/x").await.unwrap();
    assert_eq!(database.value(ROWS), "1");
    database.query(SLOW);
    let lock = Lock::against_readers(&database, "tenants");
    let (desk, stop) = (DrainDesk::default(), CancellationToken::new());
    let (sessions_in, sessions) = watch::channel(SessionMemory::default());
    let mut keeping = JoinSet::new();
    keeping.spawn(broker_sessions::keep(
        store.pool().clone(),
        "drained".to_owned(),
        Duration::from_mins(1),
        desk.clone(),
        sessions,
        stop.clone(),
    ));
    assert!(desk.order("cli:test"));
    sessions_in
        .send(SessionMemory { filters: vec!["x".to_owned()], ..SessionMemory::default() })
        .unwrap();
    database.wait_until(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sluice' \
         AND wait_event_type = 'Lock'",
        "1",
    );
    desk.reach(DrainPhase::SessionEnded);
    let is_done = |state: &sluice::lifecycle::draining::DrainState| state.phase == DrainPhase::Done;
    let early = tokio::time::timeout(CHANCE, desk.wait_until(is_done)).await;
    drop(lock);
    assert!(early.is_err(), "the row is removed while a write of it is open");
    desk.wait_until(is_done).await;
    assert_eq!(database.value(ROWS), "0");
    let ended = "SELECT detail ->> 'client_id' FROM audit_log WHERE action = 'replica.drain'";
    assert_eq!(database.value(ended), "drained");
    stop.cancel();
    keeping.join_next().await.unwrap().unwrap();
}
