//! The data of each released version under the schema of this one: every row is still there with its
//! values, and the commands read it.
//!
//! A release adds a file to `releases/`: one row or more in each table, and the number of its last
//! migration. The files of earlier releases stay as they are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use sluice::store::connection::database::Database as Store;
use sluice::telemetry::metrics::Metrics;
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};

use super::settings;
use crate::support::database::Database;
use crate::support::postgres::Postgres;
use crate::support::test_daemon::TestDaemon;

/// Each table of the schema, without the partitions.
const TABLES: &str = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition \
    AND relnamespace = 'public'::regnamespace AND relname <> '_sqlx_migrations' ORDER BY 1";

/// Commands that read what the data is about.
const READS: &[&[&str]] = &[
    &["tenant", "list"],
    &["device", "list"],
    &["device", "show", "acme", "pump-1"],
    &["cert", "list"],
    &["quarantine", "list"],
    &["enrol", "list", "acme"],
    &["operator", "list"],
    &["command", "list"],
    &["shadow", "show", "acme", "pump-1"],
    &["audit", "list"],
    &["store", "status"],
    &["retention"],
];

type Tables = BTreeMap<String, Vec<Value>>;

fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files, each with its version, its last migration and its text.
fn releases() -> Vec<(String, i64, String)> {
    let files = fs::read_dir(root("tests/it/store/releases")).unwrap();
    let mut releases: Vec<_> = files
        .map(|file| {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let first = text.lines().next().unwrap();
            let (_, number) = first.rsplit_once(": ").expect("the number of the last migration");
            let version = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (version, number.parse().unwrap(), text)
        })
        .collect();
    releases.sort();
    releases
}

/// Makes the schema as it was after this migration.
pub async fn migrate_to(database: &Database<'_>, last: i64) {
    let all = Migrator::new(root("migrations")).await.unwrap();
    let earlier = all.iter().filter(|one| one.version <= last).cloned().collect();
    let then = Migrator { migrations: Cow::Owned(earlier), ..Migrator::DEFAULT };
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    then.run(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

fn rows(database: &Database<'_>) -> Tables {
    let names = database.query(TABLES).into_iter().flatten();
    names
        .map(|table| {
            let rows = database.json(&format!("SELECT * FROM {table}"));
            (table, rows.as_array().unwrap().clone())
        })
        .collect()
}

/// Whether the row has the values of the earlier one, and perhaps more columns.
fn has_values(row: &Value, earlier: &Value) -> bool {
    let row = row.as_object().unwrap();
    earlier.as_object().unwrap().iter().all(|(name, value)| row.get(name) == Some(value))
}

#[tokio::test]
async fn the_data_of_each_release_is_kept_and_read_by_this_one() {
    let releases = releases();
    assert!(!releases.is_empty());
    for (version, last, data) in releases {
        let database = Postgres::shared().empty_database();
        migrate_to(&database, last).await;
        database.query(&data);
        let before = rows(&database);
        let empty: Vec<_> = before.iter().filter(|(_, rows)| rows.is_empty()).collect();
        assert!(empty.is_empty(), "{version} has no rows of {empty:?}");

        let store = Store::open(&settings(&database.url()), Metrics::new().unwrap().store).unwrap();
        store.migrate().await.unwrap();
        let after = rows(&database);
        for (table, earlier) in &before {
            let kept = &after[table];
            for row in earlier {
                let is_kept = kept.iter().any(|one| has_values(one, row));
                assert!(is_kept, "{version}: {table} has lost {row}");
            }
        }
        let builder = TestDaemon::builder().on_database(&database);
        for arguments in READS {
            builder.settings().run(arguments);
        }
    }
}
