//! How a listener ends: it takes nothing more, and answers under way have a moment to finish.
//!
//! It cuts off what is not done by then; stopping has a bound.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long answers under way may take once it is time to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves until `stop`, and a moment longer. `whose` names the answers that were cut off.
pub(crate) async fn drained(serving: impl Future, stop: CancellationToken, whose: &'static str) {
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        // It ends only once stopped: a failed accept is tried again inside.
        _ = serving => {}
        () = patience => tracing::debug!(whose, "some answers were under way when the time to stop was up"),
    }
}
