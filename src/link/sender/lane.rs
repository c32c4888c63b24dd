//! One lane of a link: what it holds over all its connections, and its turns at the outbox.
//!
//! It opens no connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::board::LaneState;
use super::endings::LaneEndings;
use super::lane_context::{LaneContext, OutboxGone};
use super::lane_queue::LaneQueue;
use super::line_budget::LineBudgets;
use super::pace::LanePace;
use super::receiving::LaneReceiving;
use super::refused_topics::RefusedTopics;
use super::topic_fault::TopicFault;
use super::turn::{LaneTurn, TurnAnswer};
use crate::domain::outbox::{DeadLetterReason, QueuedForward};
use crate::lifecycle::backoff::Backoff;
use crate::lifecycle::outage_log::OutageLog;
use crate::link::explain::LinkExplanation;

/// Pauses after a refusal, and while the other broker is away.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_REFUSED: Duration = Duration::from_mins(5);
const LONGEST_AWAY: Duration = Duration::from_secs(30);

/// The same failure is logged again after this time.
const REMINDER: Duration = Duration::from_hours(1);

/// Upper bound for one turn at the outbox: a look, deletions, and dead letters.
const TURN_PATIENCE: Duration = Duration::from_mins(2);

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) context: Arc<LaneContext>,
    pub(super) number: u16,
    pub(super) turns: mpsc::Sender<LaneTurn>,
    pub(super) bell: Arc<Notify>,
    /// Lane 0 of a link with ingest rules receives.
    pub(super) receiving: Option<LaneReceiving>,
    pub(super) queue: LaneQueue,
    pub(super) refused: RefusedTopics,
    pub(super) endings: LaneEndings,
    pub(super) pace: LanePace,
    /// Messages that become dead letters with the next turn.
    pub(super) dead: Vec<(i64, DeadLetterReason)>,
    pub(super) outage: OutageLog,
    pub(super) lines: LineBudgets,
    pub(super) refused_pauses: Backoff,
    pub(super) away_pauses: Backoff,
    /// Whether the next connect follows at once, for a new token or new credentials.
    pub(super) at_once: bool,
}

// === impl Lane ===

impl Lane {
    pub(super) fn new(
        context: Arc<LaneContext>,
        number: u16,
        turns: mpsc::Sender<LaneTurn>,
        bell: Arc<Notify>,
        receiving: Option<LaneReceiving>,
    ) -> Self {
        let refused = RefusedTopics::new(context.settings.refuse_after);
        let pace = LanePace::new(&context.settings.limits, Instant::now());
        Self {
            context,
            number,
            turns,
            bell,
            receiving,
            queue: LaneQueue::new(),
            refused,
            endings: LaneEndings::default(),
            pace,
            dead: Vec::new(),
            outage: OutageLog::reminding_every(REMINDER),
            lines: LineBudgets::default(),
            refused_pauses: Backoff::new(FIRST_PAUSE, LONGEST_REFUSED),
            away_pauses: Backoff::new(FIRST_PAUSE, LONGEST_AWAY),
            at_once: false,
        }
    }

    /// The connection works: a message or the subscriptions were accepted, or it has lasted.
    pub(super) fn worked(&mut self) {
        self.refused_pauses.reset();
        self.away_pauses.reset();
        self.at_once = false;
        if let Some(failures) = self.outage.worked(Instant::now().into_std()) {
            let link = &self.context.settings.name;
            tracing::info!(%link, lane = self.number, failures, "the link {link} works again");
        }
    }

    pub(super) fn show(&self, state: LaneState, explained: Option<&LinkExplanation>) {
        let detail = explained.map(ToString::to_string);
        let advice = explained.map(|explained| explained.advice.clone());
        self.context.board.set(self.number, state, detail, advice);
    }

    /// Hands what is finished to the outbox, also without a connection.
    pub(super) async fn flush(&mut self) -> Result<(), OutboxGone> {
        if self.queue.finished() == 0 && self.dead.is_empty() {
            return Ok(());
        }
        let answer = self.begin_turn(0)?;
        match timeout(TURN_PATIENCE, answer).await {
            Ok(Ok(answer)) => {
                self.forget_gone(&answer);
                Ok(())
            }
            _ => Err(OutboxGone),
        }
    }

    /// Begins a turn that reads at most `limit` messages.
    pub(super) fn begin_turn(
        &mut self,
        limit: usize,
    ) -> Result<oneshot::Receiver<TurnAnswer>, OutboxGone> {
        let (answer, answered) = oneshot::channel();
        let dead = std::mem::take(&mut self.dead);
        let link = self.context.settings.name.as_str();
        for (_, reason) in &dead {
            self.context
                .metrics
                .dead_lettered
                .with_label_values(&[link, reason.reason.label()])
                .inc();
        }
        let mut held = Vec::new();
        if limit > 0 {
            held = self.queue.held();
            held.extend(self.refused.held());
        }
        let turn = LaneTurn {
            lane: i16::try_from(self.number).unwrap_or(i16::MAX),
            finished: self.queue.take_finished(),
            dead,
            held,
            limit,
            answer,
        };
        // One turn at a time: the queue has room for one of each lane.
        self.turns.try_send(turn).map_err(|_| OutboxGone)?;
        Ok(answered)
    }

    /// A topic waits with this message and those of it that are ready; all others are sent.
    pub(super) fn hold_topic(&mut self, refused: &QueuedForward, fault: TopicFault, now: Instant) {
        let topic = refused.topic.as_str();
        let by = (&*refused.tenant, &*refused.device);
        self.refused.refused(topic, by, fault, now);
        self.refused.hold(topic, refused.id, refused.queued_at);
        for (id, queued_at) in self.queue.leave_out_topic(topic) {
            self.refused.hold(topic, id, queued_at);
        }
    }

    pub(super) fn forget_gone(&mut self, answer: &TurnAnswer) {
        for id in &answer.gone {
            self.queue.take(*id);
            self.refused.forget(*id);
        }
    }
}
