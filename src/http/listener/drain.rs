//! Ends a listener: it accepts no further connection, and running responses have a bounded time to
//! finish.
//!
//! It aborts the responses that are not finished by then.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long running responses may take after `stop`.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs `serving` until `stop` and at most [`DRAIN`] longer. `whose` names the aborted responses in
/// the log.
pub(crate) async fn serve_until_stopped(
    serving: impl Future,
    stop: CancellationToken,
    whose: &'static str,
) {
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        // It ends only after `stop`, because it retries a failed accept.
        _ = serving => {}
        () = patience => tracing::debug!(whose, "running responses exceeded the time to stop; Sluice aborts them"),
    }
}
