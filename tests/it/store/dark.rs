//! A path to Postgres that goes dark inside a COPY: nothing passes any more, and neither end notices
//! it. The server's process then waits for its client and holds the rows it was given.

use std::time::{Duration, Instant};

use sluice::domain::batch::{Batch, Receipt};
use sluice::domain::ports::{Outage, Sink};
use sluice::store::batch::sink::PgSink;
use sluice::store::connection::database::Database;
use sluice::telemetry::metrics::Metrics;

use super::{StoreHarness, add_reading, good, settings};
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, Proxy};
use crate::support::time_bounds::DARK_COPY_FREED;

/// Rows of a batch: Postgres writes the first thousand down before the last have arrived.
const ROWS: usize = 5_000;

/// How much of the batch passes: enough for Postgres to write rows more than once.
const PASSES: u64 = 400_000;

/// Above the age at which a statement without a client is ended, of any client.
const LIMIT: Duration = Duration::from_mins(3);

/// Sessions that hold rows of a COPY and wait for more.
const HOLDING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY telemetry%' \
    AND state = 'active' AND wait_event = 'ClientRead' AND backend_xid IS NOT NULL";

pub(super) fn sink_through(harness: &StoreHarness<'_>, proxy: &Proxy) -> PgSink {
    let config = settings(&harness.database.url_through(proxy.port()));
    Database::open(&config, Metrics::new().unwrap().store).unwrap().sink()
}

/// Writes a batch whose path goes dark half way; the rows are held by a process that has no client
/// any more.
async fn go_dark(harness: &StoreHarness<'_>, sink: &mut PgSink, proxy: &Proxy) -> Outage {
    let mut first = Batch::default();
    add_reading(&mut first, "first", br#"{"t":1}"#);
    sink.commit(&mut first).await.unwrap();
    proxy.darken_after(Direction::ToServer, PASSES);
    let outage = sink.commit(&mut good(ROWS)).await.unwrap_err();
    assert_eq!(harness.database.value(HOLDING), "1", "{outage}");
    outage
}

/// Tries as the writer does: the receipt, and how long it took.
async fn try_until_stored(sink: &mut PgSink) -> (Receipt, Duration) {
    let (mut batch, start) = (good(ROWS), Instant::now());
    loop {
        match sink.commit(&mut batch).await {
            Ok(receipt) => return (receipt, start.elapsed()),
            Err(outage) => assert!(start.elapsed() < LIMIT, "{outage}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_dark_copy_holds_are_freed_by_the_one_who_sent_it() {
    // A process that reads nothing blocks every CREATE and DROP DATABASE on its server.
    let server = Postgres::private();
    let harness = StoreHarness::on(&server).await;
    let proxy = Proxy::to(server.port());
    let mut sink = sink_through(&harness, &proxy);
    let start = Instant::now();
    let outage = go_dark(&harness, &mut sink, &proxy).await;
    println!("given up after {:?}: {outage}", start.elapsed());
    let (receipt, took) = try_until_stored(&mut sink).await;
    println!("stored {took:?} later");
    assert_eq!((receipt.stored, receipt.duplicates), (ROWS as u64, 0));
    assert_eq!(harness.database.value(HOLDING), "0");
    assert!(took < DARK_COPY_FREED, "{took:?}: not before it counts as abandoned by anybody");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_locked_by_the_dark_connection_of_a_dead_process_are_freed() {
    // A process that reads nothing blocks every CREATE and DROP DATABASE on its server.
    let server = Postgres::private();
    let harness = StoreHarness::on(&server).await;
    let proxy = Proxy::to(server.port());
    let mut sink = sink_through(&harness, &proxy);
    go_dark(&harness, &mut sink, &proxy).await;
    drop(sink);
    let (receipt, took) = try_until_stored(&mut harness.store.sink()).await;
    println!("stored after {took:?}");
    assert_eq!((receipt.stored, receipt.duplicates), (ROWS as u64, 0));
}
