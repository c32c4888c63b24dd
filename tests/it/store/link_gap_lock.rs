//! A batch that has found a gap, and a step that reads the gap back, exclude each other: otherwise a
//! message of a batch that is not committed yet would be neither in the outbox nor read.

use sluice::domain::ports::Sink;
use sluice::store::links::gap::RefillStep;

use super::harness;
use super::link_gap::{SMALL, routes};
use super::link_outbox::{numbered, sender, sink};

#[tokio::test]
async fn a_step_leaves_a_gap_alone_while_a_batch_that_found_it_is_not_committed() {
    let it = harness().await;
    let mut sink = sink(&it);
    for batch in 0..5 {
        sink.commit(&mut numbered(batch * 10..batch * 10 + 10, SMALL)).await.unwrap();
    }
    let mut outbox = sender(&it).await;
    let rows = outbox.next(0, &[], 1_000).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    outbox.finish(0, &ids).await.unwrap();
    let begin = it.database.value("SELECT from_at FROM link_gaps");
    // As a batch locks it; its rows may still come.
    let mut batch = it.store.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM link_gaps FOR KEY SHARE").execute(&mut *batch).await.unwrap();
    assert_eq!(outbox.refill(&routes(SMALL)).await.unwrap(), RefillStep::Busy);
    assert_eq!(it.database.value("SELECT count(*) FROM link_outbox"), "0");
    assert_eq!(it.database.value("SELECT from_at FROM link_gaps"), begin);
    batch.commit().await.unwrap();
    let step = outbox.refill(&routes(SMALL)).await.unwrap();
    assert!(matches!(step, RefillStep::Queued(1..)), "{step:?}");
}
