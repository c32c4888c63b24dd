//! Every change of the registry is received, and after a gap no cached entry is used.

use std::time::Duration;

use sluice::domain::ids::DeviceKey;
use sluice::domain::registry_change::RegistryChange;
use sluice::lifecycle::{Ending, Readiness, Tasks};
use sluice::store::registry::change_feed::{ChangeSignal, follow};
use sluice::telemetry::metrics::Metrics;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::support::database::Database;
use crate::support::postgres::Postgres;
use crate::support::time_bounds::SILENT_POSTGRES_NOTICED;
use crate::support::wait;

/// Generous: on a loaded machine a slow test is no failure.
const PATIENCE: Duration = Duration::from_mins(1);

/// A replica that does nothing but listen.
struct Listener {
    tasks: Tasks,
    stop: CancellationToken,
    changes: broadcast::Receiver<RegistryChange>,
    metrics: Metrics,
    readiness: Readiness,
}

impl Listener {
    fn start(database: &Database<'_>) -> Self {
        let (sender, changes) = broadcast::channel(100);
        let pool = PgPoolOptions::new().connect_lazy(&database.url()).unwrap();
        let (metrics, readiness, stop) =
            (Metrics::new().unwrap(), Readiness::default(), CancellationToken::new());
        let mut tasks = Tasks::default();
        tasks.spawn(
            "listen",
            follow(
                pool,
                sender,
                ChangeSignal::default(),
                metrics.store.clone(),
                readiness.clone(),
                stop.clone(),
            ),
        );
        Self { tasks, stop, changes, metrics, readiness }
    }

    async fn next(&mut self) -> RegistryChange {
        tokio::time::timeout(PATIENCE, self.changes.recv())
            .await
            .expect("a change in time")
            .expect("it listens")
    }

    /// Takes changes until this one has come.
    async fn until(&mut self, wanted: &RegistryChange) {
        while self.next().await != *wanted {}
    }

    async fn end(self) {
        self.stop.cancel();
        assert_eq!(self.tasks.finish(PATIENCE).await, Ending::Done);
    }
}

fn device(name: &str) -> RegistryChange {
    RegistryChange::Device(DeviceKey::new("acme", name).unwrap())
}

fn register(database: &Database<'_>, device: &str) {
    database
        .query(&format!("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', '{device}')"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_hears_of_every_change_by_plain_sql() {
    let database = Postgres::shared().database();
    let mut replicas = [Listener::start(&database), Listener::start(&database)];
    for replica in &mut replicas {
        assert_eq!(
            replica.next().await,
            RegistryChange::Everything,
            "what changed before it listened is not known"
        );
    }
    database.query("INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme')");
    register(&database, "pump");
    database.query("UPDATE devices SET status = 'REVOKED'");
    database.query(
        "INSERT INTO device_certificates
             (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, not_before, not_after)
         VALUES (gen_random_uuid(), 'acme', 'pump', repeat('a', 64), '1', 'acme/device/pump', 'ca', now(), now() + '1 day')",
    );
    database.query("DELETE FROM devices; TRUNCATE device_certificates");
    let acme = RegistryChange::Tenant("acme".parse().unwrap());
    for mut replica in replicas {
        let expected = [
            acme.clone(),
            device("pump"),
            device("pump"),
            device("pump"),
            device("pump"),
            RegistryChange::Everything,
        ];
        for change in expected {
            assert_eq!(replica.next().await, change);
        }
        assert_eq!(replica.metrics.store.listening.get(), 1);
        replica.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_connection_is_killed_the_cache_is_cleared_and_it_listens_again() {
    let database = Postgres::shared().database();
    database.query("INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme')");
    let mut replica = Listener::start(&database);
    for round in 0..3 {
        assert_eq!(replica.next().await, RegistryChange::Everything);
        database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        );
        register(&database, &format!("unheard-{round}"));
    }
    replica.until(&RegistryChange::Everything).await;
    register(&database, "pump");
    replica.until(&device("pump")).await;
    assert!(replica.readiness.troubles().is_empty());
    replica.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_froze_is_noticed_in_time_and_followed_again_later() {
    let server = Postgres::private();
    let database = server.database();
    let mut replica = Listener::start(&database);
    assert_eq!(replica.next().await, RegistryChange::Everything);
    server.pause();
    wait::within(SILENT_POSTGRES_NOTICED, "readiness says so", || {
        replica
            .readiness
            .troubles()
            .get("listen")
            .map(drop)
            .ok_or_else(|| "it says nothing".to_owned())
    });
    assert_eq!(replica.metrics.store.listening.get(), 0);
    server.resume();
    assert_eq!(replica.next().await, RegistryChange::Everything);
    wait::until("readiness is well again", || replica.readiness.troubles().is_empty());
    replica.end().await;
}
