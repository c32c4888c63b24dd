//! Compares the session the broker has with the one that was left there: what is gone, and what is there too much.
//!
//! A changed `MQTT_TOPIC` or `MQTT_SHARE_GROUP` leaves the former subscription in the session, where it would go on for
//! ever. The new one is granted before the former is given up: in between both hold, and without a gap nothing is lost,
//! also when the broker refuses the new one. It writes nothing down: what changed goes out by a channel that keeps only
//! the latest, so nobody waits.

use bytes::BytesMut;
use tokio::sync::{oneshot, watch};

use super::SessionContext;
use super::backlog::Backlog;
use crate::broker::error::BrokerError;
use crate::broker::transport::outgoing;
use crate::broker::transport::packets::ConnAck;
use crate::domain::broker_subscription::{SessionMemory, Subscribed};
use crate::domain::time::Timestamp;

/// UNSUBACK: there was no such subscription.
const NONE_EXISTED: u8 = 0x11;

/// UNSUBACK: from here on it is refused.
const REFUSED: u8 = 0x80;

/// What is known of the session.
#[derive(Debug)]
pub struct SubscriptionMemory {
    session: SessionMemory,
    news: watch::Sender<SessionMemory>,
    /// What the broker was asked to give up, in that order.
    leaving: Vec<String>,
    backlog: Backlog,
    /// What an earlier run left, while the database has not been asked yet.
    recalled: Option<oneshot::Receiver<SessionMemory>>,
    /// The broker had no session for us while that was so.
    began_unrecalled: bool,
}

// === impl Memory ===

impl SubscriptionMemory {
    /// Begins with what an earlier run left; what changes is told by `news`.
    pub fn new(session: SessionMemory, news: watch::Sender<SessionMemory>) -> Self {
        let backlog = Backlog::new(session.subscribed.as_ref().map(|last| last.at));
        Self { session, news, leaving: Vec::new(), backlog, recalled: None, began_unrecalled: false }
    }

    /// Begins before the database could be asked: what an earlier run left comes by `recalled`.
    pub fn unrecalled(recalled: oneshot::Receiver<SessionMemory>, news: watch::Sender<SessionMemory>) -> Self {
        Self { recalled: Some(recalled), ..Self::new(SessionMemory::default(), news) }
    }

    /// The broker has welcomed us, and this is the `welcomes`th time in this run: says whether it still has the session.
    pub(super) fn welcomed(&mut self, around: &SessionContext, welcomes: u64, welcome: &ConnAck) {
        let is_first = welcomes == 1;
        if !is_first {
            around.metrics.reconnects.inc();
        }
        self.leaving.clear();
        self.backlog.connected((around.clock)(), welcome.session_present);
        if welcome.session_present {
            return self.resumed(&around.config.client_id, welcomes);
        }
        if self.recalled.is_some() {
            self.began_unrecalled = true;
        } else {
            report_new_session(around, is_first, self.session.subscribed.as_ref());
        }
        self.session.filters.clear();
    }

    /// The broker has granted the subscription: UNSUBSCRIBE for what it has to give up now, nothing when that is nothing.
    pub(super) fn granted(&mut self, around: &SessionContext) -> Result<BytesMut, BrokerError> {
        let filter = around.config.filter();
        self.session.filters.retain(|held| *held != filter);
        self.leaving.clone_from(&self.session.filters);
        self.session.filters.push(filter);
        self.session.subscribed = Some(Subscribed { broker: around.config.address(), at: (around.clock)() });
        self.tell();
        if self.leaving.is_empty() {
            return Ok(BytesMut::new());
        }
        tracing::info!(
            former = ?self.leaving,
            "MQTT_TOPIC or MQTT_SHARE_GROUP has changed: the broker is asked to give up the former subscription"
        );
        outgoing::unsubscribe(&self.leaving)
    }

    /// The broker has answered what it was asked to give up.
    pub(super) fn given_up(&mut self, codes: &[u8]) {
        let asked = std::mem::take(&mut self.leaving);
        for (former, code) in asked.into_iter().zip(codes.iter().copied().chain(std::iter::repeat(REFUSED))) {
            match code {
                REFUSED.. => {
                    tracing::warn!(
                        former,
                        code,
                        "the broker refuses to give up the former subscription, so its messages still come: let this \
                         user unsubscribe, or end the session; it is asked again at the next connection"
                    );
                    continue;
                }
                NONE_EXISTED => tracing::debug!(former, "the broker had no such subscription any more"),
                _ => tracing::info!(former, "the broker gave up the former subscription"),
            }
            self.session.filters.retain(|held| *held != former);
        }
        self.tell();
    }

    /// Since when the broker may have held what arrives now.
    pub(super) fn held_since(&mut self, now: Timestamp) -> Timestamp {
        self.backlog.held_since(now)
    }

    /// Whether all that the broker has for us is read. Now and then the next run is told, which charges by it.
    /// UNSUBSCRIBE, when the database has just told of former subscriptions.
    pub(super) fn looked(&mut self, around: &SessionContext, is_abreast: bool) -> Result<BytesMut, BrokerError> {
        let now = (around.clock)();
        self.backlog.looked(now, is_abreast);
        if self.backlog.is_to_be_noted(now)
            && let Some(subscribed) = &mut self.session.subscribed
        {
            subscribed.at = now;
            self.tell();
        }
        match self.recalled.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(session)) => self.recall(around, session),
            _ => Ok(BytesMut::new()),
        }
    }

    /// The database has answered while the session was at work.
    fn recall(&mut self, around: &SessionContext, left: SessionMemory) -> Result<BytesMut, BrokerError> {
        self.recalled = None;
        self.backlog.recalled(left.subscribed.as_ref().map(|last| last.at));
        if self.began_unrecalled {
            report_new_session(around, true, left.subscribed.as_ref());
        } else {
            self.session.filters.extend(left.filters);
        }
        if self.session.subscribed.is_some() {
            return self.granted(around);
        }
        self.session.subscribed = left.subscribed;
        Ok(BytesMut::new())
    }

    fn resumed(&self, client_id: &str, welcomes: u64) {
        if welcomes == 1 && self.recalled.is_none() && self.session == SessionMemory::default() {
            tracing::warn!(
                client_id,
                "the broker resumes a session this database knows nothing of: if MQTT_TOPIC or MQTT_SHARE_GROUP was another \
                 when it began, its messages still come; then end that session at the broker"
            );
        } else {
            tracing::info!(client_id, connection = welcomes, "the broker resumes the session");
        }
    }

    fn tell(&self) {
        // Until the former subscriptions are known, the row must not be replaced.
        if self.recalled.is_none() {
            self.news.send_replace(self.session.clone());
        }
    }
}

// --- private helpers ---

/// The broker has no session, and so much is known of the last one.
fn report_new_session(around: &SessionContext, is_first: bool, last: Option<&Subscribed>) {
    let (client_id, broker) = (&around.config.client_id, around.config.address());
    match last {
        None if is_first => tracing::info!(client_id, "the broker begins a new session"),
        Some(last) if is_first && last.broker != broker => tracing::warn!(
            client_id,
            broker,
            former_broker = last.broker,
            "the broker begins a new session, for this is another one than before: what the former one holds for us \
             stays there until MQTT_HOST and MQTT_PORT name it again"
        ),
        last => {
            around.metrics.session_lost.inc();
            tracing::warn!(
                client_id,
                subscribed_at = last.as_ref().map(|last| last.at.to_string()),
                "the broker did not remember the session: messages it held for us may be lost (was it restarted \
                 without persistence or killed before a save, or was sluice away for longer than \
                 MQTT_SESSION_EXPIRY_SECONDS?)"
            );
        }
    }
}
