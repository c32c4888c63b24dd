//! The migrations of this version on telemetry whose layout an earlier version changed.

use sluice::domain::ports::Sink;

use super::cluster::Nodes;
use super::store;
use super::timescale::with_timescale;
use crate::store::{good, migrate_to};
use crate::support::database::{Database, query_at};

/// The first version that could change the layout had these.
const FIRST: i64 = 39;

const SPREAD: &str = "SELECT create_distributed_table('telemetry', 'device_id', shard_count => 4)";

const HYPERTABLE: &str = "CREATE TABLE telemetry_next (LIKE telemetry INCLUDING ALL);
    SELECT create_hypertable('telemetry_next', by_range('time', INTERVAL '1 day'), create_default_indexes => false);
    INSERT INTO telemetry_next SELECT * FROM telemetry;
    DROP VIEW telemetry_mine; DROP TABLE telemetry; ALTER TABLE telemetry_next RENAME TO telemetry";

const COLUMNSTORE: &str = "ALTER TABLE telemetry SET (timescaledb.enable_columnstore,
        timescaledb.segmentby = 'tenant_id, device_id', timescaledb.orderby = 'time DESC, message_id DESC')";

const OLD_ROW: &str =
    "INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
    VALUES (now() - INTERVAL '3 days', now(), 'acme', 'd-1', 'telemetry', '{}', gen_random_uuid())";

/// This version migrates the schema, stores rows in it, and the row from before is there.
async fn migrates_and_stores(database: &Database<'_>) {
    let store = store(database);
    let applied = store.migrate().await.unwrap();
    assert!(applied.len() > 2, "{applied:?}");
    assert_eq!(store.sink().commit(&mut good(50)).await.unwrap().stored, 50);
    assert_eq!(database.value("SELECT count(*) FROM telemetry"), "51");
    assert_eq!(database.value("SELECT count(certificate_id) FROM telemetry"), "0");
    assert!(store.migrate().await.unwrap().is_empty());
    store.close().await;
}

#[tokio::test]
async fn migrations_change_telemetry_that_was_spread() {
    let Some(nodes) = Nodes::start() else { return };
    let database = nodes.empty_database();
    migrate_to(&database, FIRST).await;
    database.query(OLD_ROW);
    query_at(&database.url(), SPREAD).unwrap();
    migrates_and_stores(&database).await;
}

#[tokio::test]
async fn migrations_change_a_hypertable_and_a_columnstore() {
    let Some(server) = with_timescale() else { return };
    for with_columnstore in [false, true] {
        let database = server.empty_database();
        database.query("CREATE EXTENSION timescaledb");
        migrate_to(&database, FIRST).await;
        database.query(OLD_ROW);
        query_at(&database.url(), HYPERTABLE).unwrap();
        if with_columnstore {
            query_at(&database.url(), COLUMNSTORE).unwrap();
            let chunk = database.value("SELECT show_chunks('telemetry')::text");
            database.query(&format!("CALL convert_to_columnstore('{chunk}')"));
        }
        query_at(&database.url(), "SELECT sluice_bind_reader()").unwrap();
        migrates_and_stores(&database).await;
    }
}
