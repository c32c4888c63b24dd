//! The life of a lane: it connects, serves its connection, and connects again.
//!
//! It never ends because of the other broker: each failure becomes a state, a line of the log and a
//! pause. It ends with `stop`, or when the outbox no longer answers: then this replica may have lost
//! the lock, and sends nothing more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::blame;
use super::board::LaneState;
use super::endings::{Conclusion, LastPacket};
use super::lane::{FIRST_PAUSE, Lane};
use super::lane_context::OutboxGone;
use super::serving::{LaneConnection, ServedEnd, ServedFailure};
use super::topic_fault::TopicFault;
use crate::broker::error::BrokerError;
use crate::broker::remote::connection::RemoteConnection;
use crate::broker::remote::facts::RemoteFacts;
use crate::domain::message::ConnectionId;
use crate::domain::outbox::{DeadLetterCause, DeadLetterReason};
use crate::link::explain::errors::{of_error, of_login};
use crate::link::explain::{FailureClass, LinkExplanation};

/// The least pause after another client has taken the session, and while the link is flapping.
const SLOW_PAUSE: Duration = Duration::from_secs(30);

/// Upper bound for one connect, beyond those of its steps.
const CONNECT_PATIENCE: Duration = Duration::from_mins(1);

// === impl Lane ===

impl Lane {
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
        let mut serving = LaneConnection::new(self, connection);
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
                self.connection_ended();
                self.flush().await?;
                return Ok(Some(Duration::ZERO));
            }
        };
        let pause = self.conclude(*failure);
        self.flush().await?;
        Ok(Some(pause))
    }

    /// Nothing is in flight any more; returns the oldest message that was, and their number.
    fn connection_ended(&mut self) -> (Option<i64>, usize) {
        self.refused.connection_ended(Instant::now());
        if let Some(receiving) = &mut self.receiving {
            receiving.receiver.connection_ended();
        }
        self.context.board.progress(self.number, 0, 0);
        let ended = self.queue.connection_ended();
        // A message that was in flight when its topic was refused waits with the topic.
        for topic in self.queue.topics_sent_before() {
            if self.refused.has(&topic) {
                for (id, queued_at) in self.queue.leave_out_topic(&topic) {
                    self.refused.hold(&topic, id, queued_at);
                }
            }
        }
        ended
    }

    /// What follows from the end of a connection; returns the pause.
    fn conclude(&mut self, failure: ServedFailure) -> Duration {
        let ServedFailure { error, mut end, window } = failure;
        let context = Arc::clone(&self.context);
        let may_be_a_message = blame::may_be_a_message(&error);
        let was_try = end.by_broker && may_be_a_message && self.hold_failed_try();
        let (oldest, in_flight) = self.connection_ended();
        // No message is a suspect if the other broker has named another cause, or the cause is known.
        end.oldest = oldest.filter(|_| may_be_a_message && !was_try);
        end.was_alone = in_flight == 1;
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
            Conclusion::Retry if self.endings.is_seeking() => {
                self.failed(&explained).min(FIRST_PAUSE).max(error.pause())
            }
            Conclusion::Retry => self.failed(&explained).max(error.pause()),
            Conclusion::Flapping => self.flapping(&explained, end.last),
            Conclusion::Culprit(id) => {
                self.refuse_culprit(id, &explained);
                FIRST_PAUSE
            }
            Conclusion::HoldTopic(id) => {
                self.hold_topic_of(id);
                if self.endings.has_held_many() {
                    return self.flapping(&explained, end.last);
                }
                self.failed(&explained).min(FIRST_PAUSE)
            }
        }
    }

    /// The only message in flight tried a topic on which the other broker ends connections, and it did
    /// so again; false: there was no such message.
    fn hold_failed_try(&mut self) -> bool {
        let Some(tried) = self.queue.lone_try() else { return false };
        if !self.refused.hangs_up(&tried.topic) {
            return false;
        }
        let tried = tried.clone();
        self.hold_topic(&tried, TopicFault::HangsUp, Instant::now());
        true
    }

    /// Several messages in a row have ended connections: the topic of this one waits.
    fn hold_topic_of(&mut self, id: i64) {
        let Some(waiting) = self.queue.take(id) else { return };
        let fault = TopicFault::HangsUp;
        let explained = fault.explained(&self.context.settings, Some(&waiting.forward.topic));
        self.warn_of_refusal(&format!(
            "{explained}; the messages of this topic wait, and the others are sent; {}",
            explained.advice
        ));
        self.hold_topic(&waiting.forward, fault, Instant::now());
    }

    fn flapping(&mut self, explained: &LinkExplanation, last: LastPacket) -> Duration {
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
        let explained = LinkExplanation { what, cause: None, ..explained.clone() };
        let pause = self.failed(&explained).max(SLOW_PAUSE);
        self.show(LaneState::Flapping, Some(&explained));
        pause
    }

    fn refuse_culprit(&mut self, id: i64, explained: &LinkExplanation) {
        let detail = format!("the other broker ended four connections on it: {explained}");
        self.warn_of_refusal(&format!(
            "the other broker ends the connection on the message {id}: {explained}; Sluice moves it to the \
             dead letters"
        ));
        self.queue.take(id);
        let reason = DeadLetterCause::ClosesConnection;
        self.dead.push((id, DeadLetterReason { reason, code: None, detail }));
    }

    /// A failure: state, log and the pause.
    fn failed(&mut self, explained: &LinkExplanation) -> Duration {
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
}
