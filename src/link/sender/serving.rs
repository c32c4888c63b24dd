//! One connection of a lane after CONNACK: what is known of it, and how it may end.
//!
//! It waits for nothing: the loop is in a file of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::blame;
use super::endings::{ConnectionEnd, LastPacket};
use super::lane::Lane;
use super::lane_context::{LaneContext, OutboxGone};
use super::lane_queue::HeldForward;
use super::turn::TurnAnswer;
use crate::broker::error::BrokerError;
use crate::broker::remote::connection::RemoteConnection;
use crate::domain::outbox::DeadLetterReason;
use crate::link::explain::LinkExplanation;
use crate::link::settings::LinkSettings;

/// Part of the life of a connection that is drawn off at random, so that the lanes are not replaced at
/// the same time: half an hour of 23.
const JITTER_PART: f64 = 1.0 / 46.0;

/// One connection of a lane.
pub(super) struct LaneConnection<'a> {
    pub(super) lane: &'a mut Lane,
    pub(super) connection: RemoteConnection,
    pub(super) context: Arc<LaneContext>,
    pub(super) connected_at: Instant,
    /// Whether the outbox has answered on this connection.
    pub(super) may_send: bool,
    pub(super) turn: Option<oneshot::Receiver<TurnAnswer>>,
    pub(super) turn_limit: usize,
    pub(super) turn_rows: TurnRows,
    pub(super) look_at: Instant,
    pub(super) last_turn: Instant,
    /// The message that tries a refused topic.
    pub(super) trying: Option<i64>,
    pub(super) retire_at: Option<Instant>,
    pub(super) last: LastPacket,
    pub(super) made_progress: bool,
    pub(super) has_worked: bool,
    pub(super) show_at: Instant,
    /// Why nothing can be published on this connection.
    pub(super) blocked: Option<LinkExplanation>,
}

/// What the turn that is under way reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TurnRows {
    /// The next messages.
    #[default]
    Complete,
    /// A topic was released meanwhile, and the messages of it that waited are missing.
    Partial,
}

/// How a connection ended.
pub(super) enum ServedEnd {
    Stopped,
    OutboxGone,
    /// It is old; all messages are answered.
    Retired,
    /// It failed.
    Failed(Box<ServedFailure>),
}

/// A connection that failed.
pub(super) struct ServedFailure {
    pub(super) error: BrokerError,
    pub(super) end: ConnectionEnd,
    /// Most messages that were allowed in flight.
    pub(super) window: usize,
}

impl From<OutboxGone> for ServedEnd {
    fn from(_: OutboxGone) -> Self {
        Self::OutboxGone
    }
}

// === impl LaneConnection ===

impl<'a> LaneConnection<'a> {
    pub(super) fn new(lane: &'a mut Lane, connection: RemoteConnection) -> Self {
        let context = Arc::clone(&lane.context);
        let now = Instant::now();
        let life = context.settings.replace_after.map(jittered);
        let grants = connection.granted();
        tracing::info!(
            link = %context.settings.name,
            lane = lane.number,
            session_present = grants.session_present,
            receive_maximum = grants.receive_maximum,
            maximum_packet = grants.maximum_packet,
            server_keep_alive = grants.server_keep_alive,
            session_expiry = grants.session_expiry,
            "the link {} is connected",
            context.settings.name
        );
        if lane.receiving.is_some()
            && let Some(text) = short_expiry(&context.settings, grants.session_expiry)
        {
            lane.warn_of_connection(&text);
        }
        Self {
            lane,
            connection,
            context,
            connected_at: now,
            may_send: false,
            turn: None,
            turn_limit: 0,
            turn_rows: TurnRows::Complete,
            look_at: now,
            last_turn: now,
            trying: None,
            retire_at: life.map(|life| now + life),
            last: LastPacket::Connect,
            made_progress: false,
            has_worked: false,
            show_at: now,
            blocked: None,
        }
    }

    /// Most messages in flight now.
    pub(super) fn window(&self) -> usize {
        let granted = self.connection.granted().receive_maximum;
        let allowed = usize::from(granted.min(self.context.settings.limits.unacked));
        allowed.min(self.lane.endings.window()).max(1)
    }

    pub(super) fn note_works(&mut self) {
        if !std::mem::replace(&mut self.has_worked, true) {
            self.lane.worked();
        }
    }

    /// Makes a dead letter of a message.
    pub(super) fn refuse(&mut self, waiting: &HeldForward, reason: DeadLetterReason) {
        self.lane.dead.push((waiting.forward.id, reason));
        if waiting.is_try {
            self.trying = None;
            self.lane.refused.connection_ended(Instant::now());
        }
    }

    pub(super) fn is_retiring(&self, now: Instant) -> bool {
        self.retire_at.is_some_and(|at| at <= now)
    }

    /// The end with this error.
    pub(super) fn failed(&self, error: BrokerError) -> ServedEnd {
        let end = ConnectionEnd {
            oldest: None,
            was_alone: false,
            lasted: self.connected_at.elapsed(),
            last: self.last,
            by_broker: blame::is_by_broker(&error),
            made_progress: self.made_progress,
        };
        ServedEnd::Failed(Box::new(ServedFailure { error, end, window: self.window() }))
    }

    /// Disconnects.
    pub(super) async fn close(self) {
        self.connection.close().await;
    }
}

/// Messages that wait longer than the session lives are lost, and the broker may shorten it silently.
fn short_expiry(settings: &LinkSettings, granted: u32) -> Option<String> {
    let wanted = settings.limits.session_expiry_seconds;
    let (link, host) = (&settings.name, &settings.host);
    (granted < wanted).then(|| {
        format!(
            "{host} keeps the session of the link {link} for {granted} s, not {wanted} s: messages for Sluice \
             that wait longer are lost; raise the limit there, or set link.{link}.session_expiry to {granted} s"
        )
    })
}

fn jittered(life: Duration) -> Duration {
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    life.mul_f64(1.0 - JITTER_PART * random)
}
