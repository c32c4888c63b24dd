//! The live tail's desk: who may open a stream of decisions, how many there are, and when they end.
//!
//! Read it in this order: this file has the places of streams, [`stream`] makes the events of one,
//! [`body`] sends them. It decides nothing about a message.

pub(crate) mod body;
pub(crate) mod stream;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::api::problem::{Problem, ProblemKind};
use crate::ingest::live_feed::LiveFeed;
use crate::telemetry::live::LiveMetrics;

/// Streams at a time: a class of connections of its own, beside the working and the patient requests.
const STREAMS_MAX: usize = 16;

/// How long a stream may last.
pub(crate) const STREAM_LIFETIME: Duration = Duration::from_hours(1);

/// The decisions of the spine, and the places of those who listen. Clones share them.
#[derive(Clone, Debug)]
pub struct LiveDesk {
    feed: LiveFeed,
    pub(crate) metrics: LiveMetrics,
    /// Cancelled when the daemon stops: all streams end at once.
    pub(crate) stop: CancellationToken,
    places: Arc<Semaphore>,
}

// === impl LiveDesk ===

impl LiveDesk {
    /// A desk whose streams end with `stop`.
    pub fn new(metrics: LiveMetrics, stop: CancellationToken) -> Self {
        let feed = LiveFeed::new(metrics.clone());
        Self { feed, metrics, stop, places: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }

    /// The feed that the spine shows its decisions to.
    pub(crate) fn feed(&self) -> &LiveFeed {
        &self.feed
    }

    /// A place for a stream, if one is free.
    pub(crate) fn take_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            self.metrics.refused.inc();
            let detail = format!(
                "{STREAMS_MAX} streams of decisions are open, which is the maximum: close one, or read \
                 GET /api/v1/live/recent"
            );
            Problem::new(ProblemKind::Unavailable, detail)
        })
    }
}
