//! One lane of a link: it connects, serves its connection, and connects again.
//!
//! It never ends because of the other broker: each failure becomes a state, a line of the log and a
//! pause. It ends with `stop`, or when the outbox no longer answers: then this replica may have lost
//! the lock, and sends nothing more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::board::{LaneState, LinkBoard};
use super::endings::{Conclusion, Endings, LastPacket};
use super::lane_queue::LaneQueue;
use super::pace::Pace;
use super::receiving::LaneReceiving;
use super::refused_topics::RefusedTopics;
use super::serving::{ServedEnd, ServedFailure, Serving};
use super::turn::{LaneTurn, TurnAnswer};
use crate::broker::error::BrokerError;
use crate::broker::remote::connection::RemoteConnection;
use crate::broker::remote::facts::RemoteFacts;
use crate::domain::message::ConnectionId;
use crate::domain::outbox::{DeadLetterCause, DeadLetterReason};
use crate::domain::time::Clock;
use crate::lifecycle::backoff::Backoff;
use crate::lifecycle::outage_log::OutageLog;
use crate::link::explain::errors::{of_error, of_login};
use crate::link::explain::{Explanation, FailureClass};
use crate::link::login::LoginSource;
use crate::link::settings::LinkSettings;
use crate::telemetry::links::LinkMetrics;

/// Pauses after a refusal, and while the other broker is away.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_REFUSED: Duration = Duration::from_mins(5);
const LONGEST_AWAY: Duration = Duration::from_secs(30);

/// The least pause after another client has taken the session, and while the link is flapping.
const SLOW_PAUSE: Duration = Duration::from_secs(30);

/// The same failure is logged again after this time.
const REMINDER: Duration = Duration::from_hours(1);

/// Upper bound for one connect, beyond those of its steps.
const CONNECT_PATIENCE: Duration = Duration::from_mins(1);

/// Upper bound for one turn at the outbox: a look, deletions, and dead letters.
const TURN_PATIENCE: Duration = Duration::from_mins(2);

/// What all lanes of a link share.
#[derive(Debug)]
pub(super) struct LaneContext {
    pub(super) settings: LinkSettings,
    pub(super) login: LoginSource,
    pub(super) node: Arc<str>,
    pub(super) metrics: LinkMetrics,
    pub(super) board: Arc<LinkBoard>,
    pub(super) clock: Clock,
    /// The number of this link within the process.
    pub(super) link_number: u32,
    /// Number of connections so far.
    pub(super) connections: AtomicU32,
}

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
    pub(super) endings: Endings,
    pub(super) pace: Pace,
    /// Messages that become dead letters with the next turn.
    pub(super) dead: Vec<(i64, DeadLetterReason)>,
    outage: OutageLog,
    refused_pauses: Backoff,
    away_pauses: Backoff,
    /// Whether the next connect follows at once, for a new token or new credentials.
    at_once: bool,
}

/// The outbox does not answer: this replica may no longer send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutboxGone;

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
        let pace = Pace::new(&context.settings.limits, Instant::now());
        Self {
            context,
            number,
            turns,
            bell,
            receiving,
            queue: LaneQueue::new(),
            refused,
            endings: Endings::default(),
            pace,
            dead: Vec::new(),
            outage: OutageLog::reminding_every(REMINDER),
            refused_pauses: Backoff::new(FIRST_PAUSE, LONGEST_REFUSED),
            away_pauses: Backoff::new(FIRST_PAUSE, LONGEST_AWAY),
            at_once: false,
        }
    }

    /// Runs until `stop`, or until the outbox is gone.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => return,
                opened = self.connect() => match opened {
                    Err(pause) => pause,
                    Ok(connection) => match self.serve(connection, &stop).await {
                        Ok(Some(pause)) => pause,
                        Ok(None) | Err(OutboxGone) => return,
                    },
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Connects; an error is the pause before the next attempt.
    async fn connect(&mut self) -> Result<RemoteConnection, Duration> {
        let context = Arc::clone(&self.context);
        let settings = &context.settings;
        let target = match context.login.target(settings, self.number).await {
            Ok(target) => target,
            Err(error) => {
                self.count_connect("failed");
                return Err(self.failed(&of_login(settings, &error)));
            }
        };
        if let Some(receiving) = &mut self.receiving {
            receiving.receiver.connecting();
        }
        let count = context.connections.fetch_add(1, Ordering::Relaxed);
        let id = ConnectionId::of_link(context.link_number, count);
        let mut facts = RemoteFacts::default();
        let opening = RemoteConnection::open(&target, context.clock, id, &mut facts);
        let opened = match timeout(CONNECT_PATIENCE, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(BrokerError::NoAnswer {
                packet: "CONNECT",
                seconds: CONNECT_PATIENCE.as_secs(),
            }),
        };
        match opened {
            Ok(connection) => {
                self.count_connect("connected");
                self.show_expiries();
                Ok(connection)
            }
            Err(error) => Err(self.connect_failed(&error).await),
        }
    }

    async fn connect_failed(&mut self, error: &BrokerError) -> Duration {
        let context = Arc::clone(&self.context);
        let explained = of_error(&context.settings, error);
        let is_refused = explained.class != FailureClass::Unavailable;
        self.count_connect(if is_refused { "refused" } else { "failed" });
        self.count_refusal(error);
        let pause = self.failed(&explained);
        let is_signature = matches!(error, BrokerError::Upgrade { status: 401 | 403, .. });
        if is_signature && context.login.refused().await {
            // Credentials older than a minute may be the cause: once, others follow at once.
            return Duration::ZERO;
        }
        pause.max(error.pause())
    }

    /// Serves a connection; `Some` is the pause before the next one, `None` follows a stop.
    async fn serve(
        &mut self,
        connection: RemoteConnection,
        stop: &CancellationToken,
    ) -> Result<Option<Duration>, OutboxGone> {
        let mut serving = Serving::new(self, connection);
        let end = serving.run(stop).await;
        let failure = match end {
            ServedEnd::Stopped => {
                serving.wind_down().await;
                self.flush().await?;
                return Ok(None);
            }
            ServedEnd::OutboxGone => return Err(OutboxGone),
            ServedEnd::Failed(failure) => failure,
            ServedEnd::Retired => {
                serving.close().await;
                self.queue.connection_ended();
                self.flush().await?;
                return Ok(Some(Duration::ZERO));
            }
        };
        let pause = self.conclude(*failure);
        self.flush().await?;
        Ok(Some(pause))
    }

    /// What follows from the end of a connection; returns the pause.
    fn conclude(&mut self, failure: ServedFailure) -> Duration {
        let ServedFailure { error, mut end, window } = failure;
        let context = Arc::clone(&self.context);
        let (oldest, in_flight) = self.queue.connection_ended();
        self.refused.connection_ended(Instant::now());
        if let Some(receiving) = &mut self.receiving {
            receiving.receiver.connection_ended();
        }
        context.board.progress(self.number, 0, 0);
        (end.oldest, end.was_alone) = (oldest, in_flight == 1);
        self.count_refusal(&error);
        if end.made_progress {
            self.refused_pauses.reset();
            self.away_pauses.reset();
        }
        let explained = of_error(&context.settings, &error);
        if matches!(&error, BrokerError::Dismissed(reason) if matches!(reason.code, 0x96 | 0x97)) {
            self.pace.throttle(Instant::now());
        }
        // A token that has aged or was refused in a renewal is replaced at once, once.
        let is_renewal =
            matches!(error, BrokerError::LoginAges | BrokerError::RenewalRefused { .. });
        if is_renewal && !std::mem::replace(&mut self.at_once, true) {
            tracing::info!(link = %context.settings.name, lane = self.number, "{explained}; Sluice connects again with a new token");
            return Duration::ZERO;
        }
        match self.endings.ended(&end, window) {
            Conclusion::Retry => self.failed(&explained).max(error.pause()),
            Conclusion::Flapping => self.flapping(&explained, end.last),
            Conclusion::Culprit(id) => {
                self.refuse_culprit(id, &explained);
                FIRST_PAUSE
            }
        }
    }

    fn flapping(&mut self, explained: &Explanation, last: LastPacket) -> Duration {
        let guess = match last {
            LastPacket::Connect => {
                "likely another client uses the same client id, or a policy denies the connection"
            }
            LastPacket::Subscribe => "likely a policy denies the subscription",
            LastPacket::Publish => "likely a policy denies the topic of the message",
        };
        let what = format!(
            "the other broker ends each connection within 5 s of CONNACK ({}): {guess}",
            explained.what
        );
        let explained = Explanation { what, cause: None, ..explained.clone() };
        let pause = self.failed(&explained).max(SLOW_PAUSE);
        self.show(LaneState::Flapping, Some(&explained));
        pause
    }

    fn refuse_culprit(&mut self, id: i64, explained: &Explanation) {
        let detail = format!("the other broker ended four connections on it: {explained}");
        tracing::warn!(
            link = %self.context.settings.name,
            id,
            "the other broker ends the connection on one message: {explained}; Sluice moves it to \
             the dead letters"
        );
        self.queue.take(id);
        let reason = DeadLetterCause::ClosesConnection;
        self.dead.push((id, DeadLetterReason { reason, code: None, detail }));
    }

    /// A failure: state, log and the pause.
    fn failed(&mut self, explained: &Explanation) -> Duration {
        let link = &self.context.settings.name;
        let text = explained.to_string();
        if let Some(suppressed) = self.outage.failed(&text, Instant::now().into_std()) {
            tracing::warn!(
                %link,
                lane = self.number,
                suppressed,
                "the link {link} does not work: {text}; the messages wait, retrying; {}",
                explained.advice
            );
        }
        let (state, pause) = match explained.class {
            FailureClass::Unavailable => (LaneState::Connecting, self.away_pauses.next_pause()),
            FailureClass::Refused => (LaneState::Refused, self.refused_pauses.next_pause()),
            FailureClass::TakenOver => {
                (LaneState::Refused, self.refused_pauses.next_pause().max(SLOW_PAUSE))
            }
        };
        self.show(state, Some(explained));
        pause
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

    pub(super) fn show(&self, state: LaneState, explained: Option<&Explanation>) {
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

    pub(super) fn forget_gone(&mut self, answer: &TurnAnswer) {
        for id in &answer.gone {
            self.queue.take(*id);
            self.refused.forget(*id);
        }
    }
}
