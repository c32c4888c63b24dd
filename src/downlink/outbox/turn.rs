//! One turn of the publisher, and what it remembers from turn to turn while it has the lock.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::command_lane::CommandLane;
use super::marker::{BrokerView, OutboxMarker};
use super::push_lane::PushLane;
use crate::broker::exchange::{Exchange, ExchangeState};
use crate::config::sections::downlink::DownlinkConfig;
use crate::domain::device_topics;
use crate::domain::exchange::{ExchangeOutcome, OutgoingMessage};
use crate::domain::ports::Outage;
use crate::store::downlink::outbox::{CommandCounts, CommandLimits, OutboxSession};
use crate::telemetry::downlink::DownlinkMetrics;

/// Time between two rounds of expiry and of publishing again; longer if a round is slow.
const UPKEEP_PERIOD: Duration = Duration::from_secs(2);

/// A round of upkeep takes at most this part of the time.
const UPKEEP_SHARE: u32 = 20;

/// Time between two counts of the commands.
const COUNT_PERIOD: Duration = Duration::from_secs(15);

/// Time between two markers while documents change.
const MARKER_PERIOD: Duration = Duration::from_secs(10);

/// Pause after a turn that found nothing and is not through with the queue.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Pause after the broker did not answer.
const CUT_PAUSE: Duration = Duration::from_millis(200);

/// The state of a publisher.
pub(super) struct OutboxTurn {
    exchange: Exchange,
    metrics: DownlinkMetrics,
    view: BrokerView,
    commands: CommandLane,
    pushes: PushLane,
    database: Option<Uuid>,
    /// Whether the broker's marker does not cover what it has accepted.
    owes_marker: bool,
    marker_at: Instant,
    upkeep_at: Instant,
    count_at: Instant,
    open: CommandCounts,
}

/// When the next turn is due, unless something wakes the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextTurn {
    /// There is nothing to do.
    Idle,
    /// There may be more at this time.
    MoreAt(Instant),
}

// === impl OutboxTurn ===

impl OutboxTurn {
    pub(super) fn new(
        config: &DownlinkConfig,
        exchange: Exchange,
        metrics: &DownlinkMetrics,
        view: BrokerView,
    ) -> Self {
        let limits = CommandLimits {
            window: config.command_window,
            ttl: config.command_ttl,
            resend: config.command_resend,
            attempts: config.command_attempts,
        };
        let now = Instant::now();
        Self {
            exchange,
            metrics: metrics.clone(),
            view,
            commands: CommandLane::new(limits),
            pushes: PushLane::new(config.shadow_retain),
            database: None,
            owes_marker: false,
            marker_at: now,
            upkeep_at: now,
            count_at: now,
            open: CommandCounts::default(),
        }
    }

    /// Does what is due.
    pub(super) async fn run(&mut self, session: &mut OutboxSession) -> Result<NextTurn, Outage> {
        let state = self.exchange.state().borrow().clone();
        if self.view.is_new(&state) {
            self.view.note(&state, session.now().await?);
        }
        let is_upkeep = Instant::now() >= self.upkeep_at;
        let expires_more = is_upkeep && self.expire(session).await?;
        let end = if matches!(state, ExchangeState::Connected { .. }) {
            self.publish(session, is_upkeep).await?
        } else {
            if session.has_work().await? {
                self.exchange.request_connection();
            }
            let has_pending = self.open.pending > 0;
            self.commands.note_waiting(has_pending);
            NextTurn::Idle
        };
        self.report(session, end).await?;
        Ok(if expires_more { NextTurn::MoreAt(Instant::now()) } else { end })
    }

    /// A sentence if the broker refuses messages.
    pub(super) fn complaint(&self) -> Option<String> {
        let both = [self.commands.complaint(), self.pushes.complaint()];
        let texts: Vec<String> = both.into_iter().flatten().collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    async fn publish(
        &mut self,
        session: &mut OutboxSession,
        is_upkeep: bool,
    ) -> Result<NextTurn, Outage> {
        self.mark_lost(session).await?;
        let exchange = self.exchange.clone();
        let mut commands = self.commands.publish_due(session, &exchange, &self.metrics).await?;
        if is_upkeep && !commands.is_cut {
            let (again, took) =
                self.commands.publish_unanswered(session, &exchange, &self.metrics).await?;
            commands.is_cut |= again.is_cut;
            self.upkeep_at += took * UPKEEP_SHARE;
        }
        if commands.is_cut {
            return Ok(NextTurn::MoreAt(Instant::now() + CUT_PAUSE));
        }
        let pushes = self.pushes.publish_dirty(session, &exchange).await?;
        self.owes_marker |= pushes.published;
        if pushes.is_cut {
            return Ok(NextTurn::MoreAt(Instant::now() + CUT_PAUSE));
        }
        let is_complete = self.view.is_checked() && !pushes.has_more;
        if self.owes_marker && is_complete && Instant::now() >= self.marker_at {
            self.publish_marker(session).await?;
        }
        let mut next = None;
        if commands.published {
            next = Some(Instant::now());
        } else if commands.has_more {
            next = Some(Instant::now() + LOOK_PAUSE);
        }
        if pushes.has_more || pushes.published {
            let at = self.pushes.not_before();
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        Ok(next.map_or(NextTurn::Idle, NextTurn::MoreAt))
    }

    /// Marks what this broker may have lost, once for each connection.
    async fn mark_lost(&mut self, session: &mut OutboxSession) -> Result<(), Outage> {
        let database = match self.database {
            Some(database) => database,
            None => *self.database.insert(session.marker().await?),
        };
        let Some((lost, has_own_marker)) = self.view.lost(database, self.pushes.retains()) else {
            return Ok(());
        };
        let (marked, is_complete) = session.mark_lost(lost.after, lost.until).await?;
        if is_complete {
            self.view.checked();
        }
        self.pushes.remove_retained(!has_own_marker);
        if marked > 0 {
            tracing::info!(
                documents = marked,
                "the broker may have lost documents that it retained; Sluice publishes them again"
            );
            self.marker_at = Instant::now();
        }
        Ok(())
    }

    /// Retains a marker that covers all documents accepted so far. Without it they are published
    /// again after the next connect, so a refusal costs no document.
    async fn publish_marker(&mut self, session: &mut OutboxSession) -> Result<(), Outage> {
        self.marker_at = Instant::now() + MARKER_PERIOD;
        let Some(database) = self.database else { return Ok(()) };
        let complete_until = session.now().await?;
        let marker = OutboxMarker { database, complete_until, retains: self.pushes.retains() };
        let message = OutgoingMessage::json(device_topics::marker(), marker.content());
        let message = OutgoingMessage { content_type: None, ..message.retained() };
        let sent = self.exchange.publish(message);
        let outcome = tokio::time::timeout(super::delivery::FRESH, sent).await;
        if outcome == Ok(ExchangeOutcome::Accepted) {
            self.owes_marker = false;
            self.pushes.remove_retained(false);
        }
        Ok(())
    }

    /// Ends commands whose time is over; returns whether more may be left.
    async fn expire(&mut self, session: &mut OutboxSession) -> Result<bool, Outage> {
        let start = Instant::now();
        let has_more = session.expire_commands(self.commands.limits()).await?;
        session.forget_withdrawn().await?;
        let pause = UPKEEP_PERIOD.max(start.elapsed() * UPKEEP_SHARE);
        self.upkeep_at = if has_more { start } else { Instant::now() + pause };
        Ok(has_more)
    }

    /// Updates the gauges: those of the documents when the turn ends a run of work, those of the
    /// commands rarely.
    async fn report(&mut self, session: &mut OutboxSession, end: NextTurn) -> Result<(), Outage> {
        let now = Instant::now();
        let is_due = now >= self.count_at;
        if is_due {
            self.count_at = now + COUNT_PERIOD;
            self.open = session.open_commands().await?;
            let CommandCounts { pending, published, in_progress } = self.open;
            for (state, count) in
                [("PENDING", pending), ("PUBLISHED", published), ("IN_PROGRESS", in_progress)]
            {
                self.metrics.commands.with_label_values(&[state]).set(count);
            }
        }
        if is_due || end == NextTurn::Idle {
            let backlog = session.push_backlog().await?;
            self.metrics.dirty.set(backlog.dirty);
            let age = backlog.oldest.map_or(0.0, |since| (backlog.now - since).as_seconds_f64());
            self.metrics.oldest_seconds.set(age.max(self.commands.waiting_seconds()).max(0.0));
        }
        Ok(())
    }
}
