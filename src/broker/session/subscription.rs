//! Compares the session at the broker with the one an earlier run left: which messages are lost,
//! which filters are obsolete.
//!
//! A changed `MQTT_TOPIC` or `MQTT_SHARE_GROUP` leaves the former subscription in the session. The
//! new one is granted before the former is removed: no message is lost in between, nor when the
//! broker refuses the new one. It writes nothing to the database; changes go to a channel that
//! keeps only the latest.

use bytes::BytesMut;
use tokio::sync::{oneshot, watch};

use super::backlog::SessionBacklog;
use super::context::SessionContext;
use crate::broker::error::BrokerError;
use crate::broker::transport::outgoing::{self, DROPPED_TOPIC};
use crate::broker::transport::packets::ConnAck;
use crate::domain::broker_subscription::{SessionMemory, Subscribed};
use crate::domain::time::Timestamp;

/// UNSUBACK: no such subscription existed.
const NONE_EXISTED: u8 = 0x11;

/// UNSUBACK: codes from this one on mean a refusal.
const REFUSED: u8 = 0x80;

/// State of the session at the broker.
#[derive(Debug)]
pub struct SubscriptionMemory {
    session: SessionMemory,
    sessions: watch::Sender<SessionMemory>,
    /// Filters of the open UNSUBSCRIBE, in its order.
    unsubscribing: Vec<String>,
    backlog: SessionBacklog,
    /// Delivers what an earlier run left; `None` once it is known.
    recalled: Option<oneshot::Receiver<SessionMemory>>,
    /// The broker began a new session before that was known.
    began_unrecalled: bool,
}

// === impl SubscriptionMemory ===

impl SubscriptionMemory {
    /// Starts with the state an earlier run left; sends changes to `sessions`.
    pub fn new(session: SessionMemory, sessions: watch::Sender<SessionMemory>) -> Self {
        let backlog = SessionBacklog::new(session.subscribed.as_ref().map(|last| last.at));
        Self {
            session,
            sessions,
            unsubscribing: Vec::new(),
            backlog,
            recalled: None,
            began_unrecalled: false,
        }
    }

    /// Starts before the database answered: `recalled` delivers the state later.
    pub fn unrecalled(
        recalled: oneshot::Receiver<SessionMemory>,
        sessions: watch::Sender<SessionMemory>,
    ) -> Self {
        Self { recalled: Some(recalled), ..Self::new(SessionMemory::default(), sessions) }
    }

    /// Records CONNACK number `connects` of this run, and logs whether the broker still has the
    /// session.
    pub(super) fn record_connack(
        &mut self,
        context: &SessionContext,
        connects: u64,
        connack: &ConnAck,
    ) {
        let is_first = connects == 1;
        if !is_first {
            context.metrics.reconnects.inc();
        }
        self.unsubscribing.clear();
        self.backlog.connected((context.clock)(), connack.session_present);
        if connack.session_present {
            return self.log_resumed(&context.config.client_id, connects);
        }
        if self.recalled.is_some() {
            self.began_unrecalled = true;
        } else {
            report_new_session(context, is_first, self.session.subscribed.as_ref());
        }
        self.session.filters.clear();
    }

    /// Records a granted subscription. Returns UNSUBSCRIBE for the obsolete filters, or no bytes.
    pub(super) fn record_granted(
        &mut self,
        context: &SessionContext,
    ) -> Result<BytesMut, BrokerError> {
        let filter = context.config.filter();
        self.session.filters.retain(|held| *held != filter);
        self.unsubscribing.clone_from(&self.session.filters);
        self.session.filters.push(filter);
        self.session.subscribed =
            Some(Subscribed { broker: context.config.address(), at: (context.clock)() });
        self.publish();
        if self.unsubscribing.is_empty() {
            return Ok(BytesMut::new());
        }
        tracing::info!(
            former = ?self.unsubscribing,
            "MQTT_TOPIC or MQTT_SHARE_GROUP has changed; removing the former subscription"
        );
        outgoing::unsubscribe(outgoing::FORMER_SUBSCRIPTIONS, &self.unsubscribing)
    }

    /// Records the codes of UNSUBACK.
    pub(super) fn record_unsubscribed(&mut self, codes: &[u8]) {
        let requested = std::mem::take(&mut self.unsubscribing);
        for (former, code) in
            requested.into_iter().zip(codes.iter().copied().chain(std::iter::repeat(REFUSED)))
        {
            match code {
                REFUSED.. => {
                    tracing::warn!(
                        former,
                        code,
                        "the broker refused to remove the former subscription, so its messages still arrive; \
                         retrying at the next connection; let this user unsubscribe, or end the session"
                    );
                    continue;
                }
                NONE_EXISTED => {
                    tracing::debug!(former, "the broker no longer has the former subscription");
                }
                _ => tracing::info!(former, "the broker removed the former subscription"),
            }
            self.session.filters.retain(|held| *held != former);
        }
        self.publish();
    }

    /// UNSUBSCRIBE for all filters that the session may have.
    pub(super) fn leave(&self, context: &SessionContext) -> Result<BytesMut, BrokerError> {
        let mut filters = self.session.filters.clone();
        let own = context.config.filter();
        if !filters.contains(&own) {
            filters.push(own);
        }
        filters.push(DROPPED_TOPIC.to_owned());
        outgoing::unsubscribe(outgoing::LEFT_SUBSCRIPTIONS, &filters)
    }

    /// Since when the broker may have held a message that arrives now.
    pub(super) fn held_since(&mut self, now: Timestamp) -> Timestamp {
        self.backlog.held_since(now)
    }

    /// Records whether all waiting messages are read, and persists that from time to time for the
    /// rate limit of the next run. Returns UNSUBSCRIBE when the database has just delivered
    /// obsolete filters.
    pub(super) fn update_backlog(
        &mut self,
        context: &SessionContext,
        is_caught_up: bool,
    ) -> Result<BytesMut, BrokerError> {
        let now = (context.clock)();
        self.backlog.update(now, is_caught_up);
        if self.backlog.should_persist(now)
            && let Some(subscribed) = &mut self.session.subscribed
        {
            subscribed.at = now;
            self.publish();
        }
        match self.recalled.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(session)) => self.recall(context, session),
            _ => Ok(BytesMut::new()),
        }
    }

    /// The database delivered the state of an earlier run.
    fn recall(
        &mut self,
        context: &SessionContext,
        earlier: SessionMemory,
    ) -> Result<BytesMut, BrokerError> {
        self.recalled = None;
        self.backlog.recalled(earlier.subscribed.as_ref().map(|last| last.at));
        if self.began_unrecalled {
            report_new_session(context, true, earlier.subscribed.as_ref());
        } else {
            self.session.filters.extend(earlier.filters);
        }
        if self.session.subscribed.is_some() {
            return self.record_granted(context);
        }
        self.session.subscribed = earlier.subscribed;
        Ok(BytesMut::new())
    }

    fn log_resumed(&self, client_id: &str, connects: u64) {
        if connects == 1 && self.recalled.is_none() && self.session == SessionMemory::default() {
            tracing::warn!(
                client_id,
                "the broker resumes a session that this database does not know: \
                 if it began with another MQTT_TOPIC or MQTT_SHARE_GROUP, its messages still arrive; \
                 in that case end the session at the broker"
            );
        } else {
            tracing::info!(client_id, connection = connects, "the broker resumes the session");
        }
    }

    fn publish(&self) {
        // Until the former subscriptions are known, the row must not be replaced.
        if self.recalled.is_none() {
            self.sessions.send_replace(self.session.clone());
        }
    }
}

// --- private helpers ---

/// Logs that the broker began a new session; `last` is the last known subscription.
fn report_new_session(context: &SessionContext, is_first: bool, last: Option<&Subscribed>) {
    let (client_id, broker) = (&context.config.client_id, context.config.address());
    match last {
        None if is_first => tracing::info!(client_id, "the broker begins a new session"),
        Some(last) if is_first && last.broker != broker => tracing::warn!(
            client_id,
            broker,
            former_broker = last.broker,
            "the broker begins a new session, because MQTT_HOST or MQTT_PORT has changed; \
             messages that wait at the former broker stay there until Sluice connects to it again"
        ),
        last => {
            context.metrics.session_lost.inc();
            tracing::warn!(
                client_id,
                subscribed_at = last.as_ref().map(|last| last.at.to_string()),
                "the broker lost the session, and perhaps messages that waited in it: \
                 it restarted without persistence, it was killed before a save, \
                 or Sluice was disconnected for longer than MQTT_SESSION_EXPIRY_SECONDS"
            );
        }
    }
}
