//! Renews the credentials of AWS while the lanes use them, and shows their end.
//!
//! It ends no connection: AWS judges a signature when a connection begins.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::lane_context::LaneContext;
use crate::domain::time::Timestamp;

/// Runs until `stop`.
pub(super) async fn run(context: Arc<LaneContext>, stop: CancellationToken) {
    let link = context.settings.name.as_str();
    let end = context.metrics.credentials_expire.with_label_values(&[link]);
    if let Some(source) = context.login.credentials() {
        let renewed = |expires: Option<Timestamp>| {
            let seconds = expires.map_or(0.0, |at| at.seconds_since(Timestamp::default()));
            end.set(seconds);
        };
        source.keep_fresh(&stop, renewed).await;
    }
    stop.cancelled().await;
}
