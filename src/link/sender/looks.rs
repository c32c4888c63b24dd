//! When a connection looks into the outbox, and what it does with what it finds there.
//!
//! One turn at a time. It sends nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::endings::QUICK;
use super::receiving::LaneReceiving;
use super::serving::{LaneConnection, ServedEnd, TurnRows};
use super::turn::TurnAnswer;

/// Time between two looks into the outbox without a signal.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// The least time between two turns that need not be at once. A turn costs two statements, however
/// few messages it has; this is also the most that a message waits for it.
const TURN_PAUSE: Duration = Duration::from_millis(100);

/// So many acknowledged messages are deleted at once.
const FINISH_MANY: usize = 500;

// === impl LaneConnection ===

impl LaneConnection<'_> {
    /// Begins a turn, if one is due and none is under way.
    pub(super) fn begin_turn_if_due(&mut self, now: Instant) -> Result<(), ServedEnd> {
        if self.turn.is_some() {
            return Ok(());
        }
        if self.trying.is_none() && self.may_send {
            self.trying = self.lane.refused.take_due(now);
            if self.trying.is_some() {
                self.look_at = now;
            }
        }
        let finished = self.lane.queue.finished();
        let room = self.lane.queue.room(self.window());
        let is_look = now >= self.look_at && self.wants_rows();
        let is_finish =
            finished >= FINISH_MANY || (finished > 0 && now >= self.last_turn + TURN_PAUSE);
        if !is_look && !is_finish && self.lane.dead.is_empty() {
            return Ok(());
        }
        self.turn_limit = if is_look { room.max(usize::from(self.trying.is_some())) } else { 0 };
        self.turn = Some(self.lane.begin_turn(self.turn_limit)?);
        self.last_turn = now;
        if is_look {
            self.look_at = now + LOOK_PERIOD;
        }
        Ok(())
    }

    /// Takes over what the outbox has answered.
    pub(super) fn take_rows(&mut self, answer: TurnAnswer) {
        self.may_send = true;
        self.lane.forget_gone(&answer);
        if self.turn_limit > 0 && answer.rows.len() >= self.turn_limit {
            self.look_at = Instant::now();
        }
        let (refused, queue) = (&mut self.lane.refused, &mut self.lane.queue);
        let looked_for_try = self.turn_limit > 0;
        let trying = self.trying;
        let mut found_try = false;
        // Newer messages of a released topic must not overtake those that waited: all are read again.
        let must_reread = std::mem::take(&mut self.turn_rows) == TurnRows::Partial;
        let mut rows = Vec::with_capacity(answer.rows.len());
        for row in answer.rows {
            if Some(row.id) == trying {
                queue.add_try(row);
                found_try = true;
            } else if !must_reread && !refused.hold(&row.topic, row.id, row.queued_at) {
                rows.push(row);
            }
        }
        queue.add(rows);
        if must_reread {
            self.look_at = Instant::now();
        }
        if looked_for_try && trying.is_some() && !found_try && !queue.is_trying() {
            // It has left the outbox meanwhile, or comes with a later look.
            self.trying = None;
            refused.connection_ended(Instant::now());
        }
    }

    /// A commit has put something into the outbox.
    pub(super) fn bell_rang(&mut self) {
        self.look_at = self.look_at.min(self.last_turn + TURN_PAUSE);
    }

    /// Looks into the outbox as soon as possible.
    pub(super) fn look_now(&mut self) {
        self.look_at = Instant::now();
    }

    /// When something is due, unless something else happens before.
    pub(super) fn next_timer(&self, paced: Option<Instant>) -> Instant {
        let lane = &self.lane;
        let is_idle = self.turn.is_none();
        let look = (is_idle && self.wants_rows()).then_some(self.look_at);
        let finish = (is_idle && lane.queue.finished() > 0).then(|| self.last_turn + TURN_PAUSE);
        let can_try = is_idle && self.may_send && self.trying.is_none();
        let due = can_try.then(|| lane.refused.next_due()).flatten();
        let works = (!self.has_worked).then(|| self.connected_at + QUICK);
        let receiving = lane.receiving.as_ref().map(LaneReceiving::next_timer);
        let retire = self.retire_at.filter(|at| *at > Instant::now());
        [look, finish, due, paced, works, receiving, retire]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + LOOK_PERIOD)
    }

    /// Whether a look into the outbox would bring anything.
    fn wants_rows(&self) -> bool {
        !self.may_send || self.trying.is_some() || self.lane.queue.room(self.window()) > 0
    }
}
