//! The daemon looks after the certificates: also for what was due while it was down, and without
//! the authority's files.

use super::ca_fixture::{CaFixture, id};
use crate::support::daemon::Settings;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::test_daemon::TestDaemon;

#[test]
fn what_was_due_while_sluice_was_down_is_done_when_it_is_back() {
    let ca = CaFixture::new();
    let old = ca.issued("old");
    let new = ca.replaced("rotate", id(&old), "new");
    let (ended, soon) = (ca.issued("ended"), ca.issued("soon"));
    ca.database.query(&format!(
        "UPDATE device_certificates SET retire_at = now() - interval '1 hour' WHERE id = '{}';
         UPDATE device_certificates SET not_before = now() - interval '9 days', not_after = now() WHERE id = '{}';
         UPDATE device_certificates SET not_after = '2100-01-01Z' WHERE id = '{}';
         UPDATE device_certificates SET not_after = date_trunc('second', now()) + interval '9 days' WHERE id = '{}'",
        id(&old),
        id(&ended),
        id(&new),
        id(&soon)
    ));
    let TestDaemon { daemon, .. } =
        &TestDaemon::builder().broker().on_database(&ca.database).start();
    let fate = |said| format!("SELECT status FROM device_certificates WHERE id = '{}'", id(said));
    ca.database.wait_until(&fate(&old), "REVOKED");
    ca.database.wait_until(&fate(&ended), "EXPIRED");
    assert_eq!(ca.fate(id(&old)), ["REVOKED", "superseded"]);
    assert_eq!(ca.fate(id(&new)), ["ACTIVE", "NULL"]);
    let kept: Vec<String> =
        ca.audited().into_iter().filter(|entry| entry.starts_with("keeper")).collect();
    assert_eq!(kept, ["keeper certificate.expire pump-1", "keeper certificate.retire pump-1"]);

    daemon.wait_metric("sluice_certificates{status=\"ACTIVE\"}", 2.0);
    for status in ["REVOKED", "EXPIRED"] {
        assert!(
            (daemon.metric(&format!("sluice_certificates{{status=\"{status}\"}}")) - 1.0).abs()
                < 0.5
        );
    }
    let earliest = daemon.metric("sluice_certificate_earliest_not_after_seconds");
    let expected = ca
        .database
        .value("SELECT extract(epoch FROM min(not_after))::bigint FROM device_certificates WHERE status = 'ACTIVE'");
    assert!((earliest - expected.parse::<f64>().unwrap()).abs() < 0.5, "{earliest} {expected}");
    crate::support::wait::until("the log warns of the end", || {
        daemon.log().contains("cert list --expiring 30")
    });
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn of_two_replicas_either_does_the_work_once() {
    let ca = CaFixture::new();
    let old = ca.issued("old");
    ca.replaced("rotate", id(&old), "new");
    ca
        .database
        .query("UPDATE device_certificates SET retire_at = now() - interval '1 hour' WHERE retire_at IS NOT NULL");
    let broker = Mosquitto::start(MosquittoOptions::default());
    let replicas = ["one", "other"]
        .map(|name| Settings::new(&broker, &ca.database).set("MQTT_CLIENT_ID", name).start());
    for replica in &replicas {
        replica.wait_ready();
        // Each has had its round; it may have counted before the other was done.
        replica.wait_metric("sluice_certificates{status=\"ACTIVE\"}", 1.0);
    }
    ca.database.wait_until(
        "SELECT status FROM device_certificates ORDER BY created_at LIMIT 1",
        "REVOKED",
    );
    assert_eq!(ca.audited().iter().filter(|entry| entry.contains("retire")).count(), 1);
}
