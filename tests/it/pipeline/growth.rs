//! A full batch grows while Postgres is busy, and no further than to twice its size.

use crate::faults::load::{Load, assert_each_once, counted, settings, settle};
use crate::faults::lock::{LOCKED_OUT_SESSIONS, Lock};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::wait;

#[test]
fn while_postgres_is_busy_a_full_batch_grows_to_twice_its_size() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let daemon = settings(&broker, &database).set("BATCH_SIZE", "10").start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &["timed-1"]);
    let lock = Lock::on(&database, "telemetry");
    load.grant(1);
    database.wait_until(LOCKED_OUT_SESSIONS, "1");
    let published = load.grant(200);
    wait::until("they are received", || {
        counted(&daemon, "sluice_messages_received_total") >= published
    });
    drop(lock);
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
    let of_at_most =
        |rows: &str| counted(&daemon, &format!("sluice_batch_rows_bucket{{le=\"{rows}\"}}"));
    let batches = counted(&daemon, "sluice_batch_rows_count");
    assert!(of_at_most("10") < batches, "some of {batches} have grown");
    assert_eq!(of_at_most("20"), batches, "none has more than twice ten");
}
