//! One turn of a lane at the outbox: what was acknowledged is deleted, what was refused becomes a dead
//! letter, and the next messages are read. One round after the other, on one connection.
//!
//! It decides nothing: the lane says what is to be done.

use std::collections::HashSet;

use tokio::sync::oneshot;

use crate::domain::forwarding::LinkRoutes;
use crate::domain::outbox::{DeadLetterReason, QueuedForward};
use crate::domain::ports::Outage;
use crate::store::links::outbox::LinkOutbox;

/// What a lane wants of the outbox.
#[derive(Debug)]
pub(super) struct LaneTurn {
    pub(super) lane: i16,
    /// Acknowledged messages.
    pub(super) finished: Vec<i64>,
    /// Messages that become dead letters.
    pub(super) dead: Vec<(i64, DeadLetterReason)>,
    /// Messages that must not be read.
    pub(super) held: Vec<i64>,
    /// Most messages to read.
    pub(super) limit: usize,
    /// Where the answer goes. Dropped: the turn failed, and this replica no longer sends.
    pub(super) answer: oneshot::Sender<TurnAnswer>,
}

/// What the outbox has answered.
#[derive(Debug, Default)]
pub(super) struct TurnAnswer {
    /// The next messages, in order.
    pub(super) rows: Vec<QueuedForward>,
    /// Messages that are not in the outbox any more, because they were too old.
    pub(super) gone: Vec<i64>,
}

/// Whether rows were moved to other lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LanesOfRows {
    Same,
    Changed,
}

// === impl LaneTurn ===

impl LaneTurn {
    /// Carries it out.
    pub(super) async fn run(
        mut self,
        outbox: &mut LinkOutbox,
        gone: Vec<i64>,
        routes: &LinkRoutes,
    ) -> Result<LanesOfRows, Outage> {
        if !gone.is_empty() {
            // The lane does not know yet that they are gone; the outbox would wait for their end.
            let ids: HashSet<i64> = gone.iter().copied().collect();
            self.held.retain(|id| !ids.contains(id));
        }
        outbox.finish(self.lane, &self.finished).await?;
        for (id, reason) in &self.dead {
            outbox.dead_letter(self.lane, *id, reason).await?;
        }
        let mut lanes = LanesOfRows::Same;
        let rows = match u32::try_from(self.limit).unwrap_or(u32::MAX) {
            0 if self.finished.is_empty() && self.dead.is_empty() => {
                // It also shows that this replica still has the lock.
                outbox.claim().await?;
                Vec::new()
            }
            0 => Vec::new(),
            limit => loop {
                let rows = outbox.next(self.lane, &self.held, limit).await?;
                if rows.is_empty() || outbox.move_strays(routes).await? == 0 {
                    break rows;
                }
                lanes = LanesOfRows::Changed;
            },
        };
        let _lane_has_ended = self.answer.send(TurnAnswer { rows, gone });
        Ok(lanes)
    }
}
