//! Stores what the lanes of a link report: when a state changes, and every ten seconds.
//!
//! An outage costs only the rows: the metrics show the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::board::LinkBoard;
use super::rates::SendRates;
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
    let mut rates = SendRates::default();
    loop {
        let storing = store(&board, &database, &replica, &mut rates);
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
    rates: &mut SendRates,
) -> Result<(), crate::domain::ports::Outage> {
    let (lanes, now) = (board.all(), Instant::now());
    let published: Vec<u64> = lanes.iter().map(|standing| standing.published).collect();
    rates.add(now, &published);
    for (lane, standing) in lanes.into_iter().enumerate() {
        let rate = rates.of(lane, standing.published, now);
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
            rate: rate.map(|(rate, over)| (rate, board.now().plus_seconds(-whole_seconds(over)))),
        };
        report_status(database.pool(), &report).await?;
    }
    Ok(())
}

fn whole_seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(0)
}
