//! Telemetry spread over the nodes of Citus.

use std::time::Duration;

use serde_json::Value;
use sluice::store::schema::partitions::maintain;

use super::cluster::Nodes;
use super::{
    DASHBOARDS, KEEP_TEN, a_reader_sees_its_tenant, both_tables_are_kept,
    every_reading_of_telemetry_answers, in_days, repeats_are_counted_as_repeats, run, simulate,
    simulator, store,
};
use crate::support::daemon::Settings;
use crate::support::database::Database;
use crate::support::device::{Device, Message};
use crate::support::mosquitto::Mosquitto;
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

/// How long a worker is away.
const AWAY: Duration = Duration::from_secs(10);

/// A daemon on a database whose telemetry was spread.
fn spread(database: &Database<'_>) -> TestDaemon<Mosquitto, ()> {
    let builder = TestDaemon::builder().broker().on_database(database);
    let (code, shown) = run(builder.settings(), &["store", "spread"]);
    assert!(shown.to_string().contains("shard_count => 8"), "4 for each of two nodes: {shown}");
    assert_eq!((code, &shown["changed"]), (0, &Value::Bool(false)), "{shown}");
    let status = |settings: &Settings| run(settings, &["store", "status"]).1;
    assert_eq!(status(builder.settings())["layout"], "partitioned");
    let (code, done) = run(builder.settings(), &["store", "spread", "--shards", "8", "--yes"]);
    assert_eq!((code, &done["changed"]), (0, &Value::Bool(true)), "{done}");
    let after = status(builder.settings());
    assert_eq!(
        (&after["layout"], &after["shards"], &after["nodes"]),
        (&"distributed".into(), &8.into(), &2.into())
    );
    assert!(after["bytes"].as_u64().unwrap() > 0, "{after}");
    let (code, refused) = run(builder.settings(), &["store", "spread", "--yes"]);
    assert_eq!(code, 1);
    assert!(
        refused.as_str().unwrap().contains("in distributed partitions by day already"),
        "{refused}"
    );
    let (code, refused) = run(builder.settings(), &["store", "hypertable"]);
    assert!(code == 1 && refused.as_str().unwrap().contains("distributed by Citus"), "{refused}");
    builder.set("STORE_ENGINE", "citus").start_ready()
}

#[tokio::test]
async fn on_citus_messages_are_stored_once_and_days_come_and_go() {
    let Some(nodes) = Nodes::start() else { return };
    let database = nodes.database();
    database.query(
        "INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
         SELECT '2001-01-01', now(), 'late', 'd' || n, 'telemetry', '{}', gen_random_uuid() FROM generate_series(1, 500) n",
    );
    let it = spread(&database);
    wait::until("the answer says what the store is", || {
        let (_, readyz) = it.daemon.get("/readyz").unwrap();
        readyz.contains("telemetry in distributed partitions by day")
    });
    let copied = "SELECT sum(pg_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'telemetry'::regclass";
    assert_eq!(database.value(copied), "0", "the coordinator kept the rows that it spread");
    let summary = simulate(&it.settings, &["--rate", "0", "--messages", "4000", "--bad", "0.02"]);
    assert_eq!(summary["sent"], 4000);
    let store = store(&database);
    repeats_are_counted_as_repeats(&store, &database).await;
    every_reading_of_telemetry_answers(&store).await;
    database.query(DASHBOARDS);
    a_reader_sees_its_tenant(&nodes.coordinator, &database, "telemetry");
    a_reader_sees_its_tenant(&nodes.coordinator, &database, "telemetry_mine");

    both_tables_are_kept(&store, &database).await;
    let late = "SELECT count(*) FROM telemetry WHERE time < now() - interval '20 days'";
    assert_eq!(
        database.value(late),
        "0",
        "the daemon deleted those of 2001, this round the others"
    );
    let days = "SELECT count(*) FROM pg_dist_partition WHERE logicalrelid::text ~ '^telemetry_2'";
    let before: u32 = database.value(days).parse().unwrap();
    assert!(before >= 9, "the new days are distributed: {before}");
    let report = maintain(store.pool(), KEEP_TEN, in_days(12)).await.unwrap();
    assert!(report.dropped.iter().any(|name| name.starts_with("telemetry_2")), "{report:?}");
    assert!(report.failed.is_empty() && report.missing.is_empty(), "{report:?}");
    let (_, doctor) = run(&it.settings, &["doctor"]);
    let doctor = doctor.to_string();
    assert!(doctor.contains("the store is citus"), "{doctor}");
    assert!(!doctor.contains("lost the connection to Postgres"), "{doctor}");
}

/// Devices, and the port of the node that has the rows of each.
const HOMES: &str = "SELECT d.device_id, n.nodeport FROM devices d \
    JOIN pg_dist_placement p ON p.shardid = get_shard_id_for_distribution_column('telemetry', d.device_id) \
    JOIN pg_dist_node n USING (groupid)";

#[test]
fn on_citus_a_worker_that_is_away_holds_only_the_lanes_of_its_rows() {
    let Some(nodes) = Nodes::start() else { return };
    let database = nodes.database();
    database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A');
         INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'd' || n FROM generate_series(1, 40) n",
    );
    let builder = TestDaemon::builder().broker().on_database(&database);
    let (code, done) = run(builder.settings(), &["store", "spread", "--shards", "8", "--yes"]);
    assert_eq!(code, 0, "{done}");
    let lanes = [("WRITER_LANES", "2"), ("REQUIRE_TOKEN", "0"), ("CERT_AUTH_ENABLED", "0")];
    let it = builder.with(&lanes).start_ready();
    let away = nodes.workers[0].port().to_string();
    let homes = database.query(HOMES);
    let (held, free): (Vec<_>, Vec<_>) = homes.iter().partition(|home| home[1] == away);
    assert!(held.len() > 5 && free.len() > 5, "{homes:?}");
    nodes.workers[0].kill9();

    let mut device = Device::connect(it.broker.port(), "all");
    let to = |home: &Vec<String>, number: usize| {
        Message::new(
            format!("tenant/acme/device/{}/telemetry", home[0]),
            format!("{{\"n\":{number}}}"),
        )
    };
    for number in 0..5 {
        device.publish_all(&homes.iter().map(|home| to(home, number)).collect::<Vec<_>>());
    }
    let stored = "sluice_messages_total{result=\"stored\"}";
    it.daemon.wait_metric(stored, 5.0 * f64::from(u32::try_from(free.len()).unwrap()));
    wait::until("the writer of the other lane is named", || {
        let (code, readyz) = it.daemon.get("/readyz").unwrap();
        code == 503 && readyz.contains("writer")
    });
    nodes.workers[0].start();
    database.wait_until("SELECT count(*) FROM telemetry", &(5 * homes.len()).to_string());
    wait::until("all are acknowledged", || it.daemon.metric("sluice_inflight_unacked") < 0.5);
}

#[test]
fn on_citus_a_worker_that_dies_and_a_coordinator_that_restarts_lose_nothing() {
    let Some(nodes) = Nodes::start() else { return };
    let database = nodes.database();
    let it = spread(&database);
    let summary = std::thread::scope(|scope| {
        let settings = &it.settings;
        // The check comes later: it reads the nodes, too.
        let pace = ["--devices", "200", "--rate", "400", "--seconds", "20", "--bad", "0.02"];
        let run = scope.spawn(move || simulator(settings, &pace));
        database.wait_until("SELECT count(*) > 500 FROM telemetry", "t");
        nodes.workers[0].kill9();
        std::thread::sleep(AWAY);
        nodes.workers[0].start();
        wait::until("messages are stored again", || {
            it.daemon.get("/readyz").is_ok_and(|(code, _)| code == 200)
        });
        nodes.coordinator.stop();
        nodes.coordinator.start();
        run.join().unwrap()
    });
    assert!(summary["sent"].as_u64().unwrap() > 7_000, "{summary:#}");
    let file = it.settings.dir().write("summary.json", summary.to_string());
    let found = simulator(&it.settings, &["--verify", "--of", file.to_str().unwrap()]);
    assert_eq!(found["missing_numbers"], serde_json::json!([]), "{found:#}");
    assert_eq!(found["doubled_numbers"], serde_json::json!([]), "{found:#}");
    database.wait_until("SELECT count(*) FROM pg_prepared_xacts", "0");
    let stored: f64 = database.value("SELECT count(*) FROM telemetry").parse().unwrap();
    let counted = it.daemon.metric("sluice_messages_total{result=\"stored\"}");
    assert!((stored - counted).abs() < 0.5, "stored {stored}, counted {counted}");
}
