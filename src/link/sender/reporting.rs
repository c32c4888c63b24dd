//! Stores what the lanes of a link report: when a state changes, and every ten seconds.
//!
//! An outage costs only the rows: the metrics show the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::board::LinkBoard;
use crate::store::connection::database::Database;
use crate::store::links::known::{LaneReport, forget_lanes, report_status};

/// Time between two reports without a change.
const PERIOD: Duration = Duration::from_secs(10);

/// The least time between two reports: a lane may change its state often.
const PAUSE: Duration = Duration::from_millis(200);

/// Upper bound of one report.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reports until `stop`.
pub(super) async fn run(
    board: Arc<LinkBoard>,
    database: Database,
    replica: String,
    stop: CancellationToken,
) {
    let lanes = u16::try_from(board.all().len()).unwrap_or(u16::MAX);
    let forgetting = forget_lanes(database.pool(), &board.link, lanes);
    let _next_start_tries_again = timeout(PATIENCE, forgetting).await;
    loop {
        let storing = store(&board, &database, &replica);
        if !matches!(timeout(PATIENCE, storing).await, Ok(Ok(()))) {
            tracing::debug!(link = %board.link, "the states of the lanes could not be stored; retrying");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(PERIOD) => {}
            () = board.changed() => sleep(PAUSE).await,
        }
    }
}

async fn store(
    board: &LinkBoard,
    database: &Database,
    replica: &str,
) -> Result<(), crate::domain::ports::Outage> {
    for (lane, standing) in board.all().into_iter().enumerate() {
        let report = LaneReport {
            link: board.link.clone(),
            lane: i16::try_from(lane).unwrap_or(i16::MAX),
            replica: replica.to_owned(),
            state: standing.state.label(),
            since: standing.since,
            detail: standing.detail,
            advice: standing.advice,
            published: standing.published,
            in_flight: u32::try_from(standing.in_flight).unwrap_or(u32::MAX),
        };
        report_status(database.pool(), &report).await?;
    }
    Ok(())
}
