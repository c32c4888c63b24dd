//! The exchange: a connection to the broker beside the session of the spine. It receives requests and
//! publishes responses, commands and documents at QoS 1.
//!
//! The spine's session is not used for this: up to `MQTT_RECEIVE_MAXIMUM` unacknowledged deliveries
//! would stand before a response, and a refused publish must not cost the ingest connection.
//!
//! [`Exchange`] is the handle; clones share the connection. In reading order: [`connection`] connects
//! and reconnects with what [`exchange_context`] holds, [`serving`] is the loop of one connection, [`exchange_timers`] when it acts,
//! [`subscriptions`] what it subscribes to, [`needed_writes`] what it must be able to publish, [`sent_message`] what the broker has not
//! answered, [`refusals`] what it has refused, [`request_queue`] the way to the dispatcher.

pub mod connection;
pub(crate) mod exchange_context;
pub(crate) mod exchange_timers;
pub mod needed_writes;
pub(crate) mod refusals;
pub(crate) mod request_queue;
pub(crate) mod sent_message;
pub(crate) mod serving;
pub mod subscriptions;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::exchange::{ExchangeOutcome, OutgoingMessage};
use crate::domain::message::ConnectionId;

/// Messages that wait for the connection.
pub const OUTGOING_QUEUE: usize = 256;

/// The handle of the exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    outgoing: mpsc::Sender<QueuedMessage>,
    state: watch::Receiver<ExchangeState>,
    wanted: watch::Sender<bool>,
}

/// The other ends of a handle: what the connection reads and reports.
#[derive(Debug)]
pub struct ExchangeEnds {
    /// Messages to publish, in this order.
    pub outgoing: mpsc::Receiver<QueuedMessage>,
    /// The state that the handles see.
    pub state: watch::Sender<ExchangeState>,
    /// Becomes true when a handle needs a connection. Without subscriptions there is none before.
    pub wanted: watch::Receiver<bool>,
}

/// A message that waits for the connection, and where its outcome goes.
#[derive(Debug)]
pub struct QueuedMessage {
    /// The message.
    pub message: OutgoingMessage,
    /// Where its outcome goes.
    pub outcome: oneshot::Sender<ExchangeOutcome>,
    /// The connection that its sender saw; `None`: none. It is sent on no other one: what its sender
    /// knew may be out of date by then.
    pub connection: Option<ConnectionId>,
}

/// Whether the exchange is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExchangeState {
    /// No connection.
    #[default]
    Disconnected,
    /// Connected; the broker has answered every SUBSCRIBE.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// What the broker retains on the marker's topic; `None`: nothing.
        marker: Option<Bytes>,
    },
}

/// The queue of outgoing messages is full, or the exchange has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue of outgoing messages is full")]
pub struct OutgoingFull;

/// A handle and its other ends.
pub fn exchange() -> (Exchange, ExchangeEnds) {
    let (outgoing_in, outgoing) = mpsc::channel(OUTGOING_QUEUE);
    let (state_in, state) = watch::channel(ExchangeState::default());
    let (wanted_in, wanted) = watch::channel(false);
    let handle = Exchange { outgoing: outgoing_in, state, wanted: wanted_in };
    (handle, ExchangeEnds { outgoing, state: state_in, wanted })
}

// === impl Exchange ===

impl Exchange {
    /// Queues a message, and waits for a place in the queue. The order of calls is the order on the
    /// wire. The receiver gets the outcome; a closed one means [`ExchangeOutcome::Unknown`]. A message
    /// is published on the connection there is now. Before the first connection it waits until that
    /// one is there or an attempt to connect fails.
    pub async fn send(&self, message: OutgoingMessage) -> oneshot::Receiver<ExchangeOutcome> {
        let (queued, answer) = self.queued(message);
        // An exchange that has ended drops the outcome, which the receiver reads as unknown.
        let _ended = self.outgoing.send(queued).await;
        answer
    }

    /// Queues a message if the queue has room.
    pub fn try_send(
        &self,
        message: OutgoingMessage,
    ) -> Result<oneshot::Receiver<ExchangeOutcome>, OutgoingFull> {
        let (queued, answer) = self.queued(message);
        self.outgoing.try_send(queued).map_err(|_| OutgoingFull)?;
        Ok(answer)
    }

    /// Publishes a message and waits for its outcome.
    pub async fn publish(&self, message: OutgoingMessage) -> ExchangeOutcome {
        self.send(message).await.await.unwrap_or(ExchangeOutcome::Unknown)
    }

    /// The state of the connection.
    pub fn state(&self) -> watch::Receiver<ExchangeState> {
        self.state.clone()
    }

    /// Lets the exchange connect, if it is not connected for its subscriptions anyway.
    pub fn request_connection(&self) {
        self.wanted.send_if_modified(|wanted| !std::mem::replace(wanted, true));
    }

    /// A message for the connection there is now.
    fn queued(
        &self,
        message: OutgoingMessage,
    ) -> (QueuedMessage, oneshot::Receiver<ExchangeOutcome>) {
        let connection = match &*self.state.borrow() {
            ExchangeState::Connected { connection, .. } => Some(*connection),
            ExchangeState::Disconnected => None,
        };
        self.request_connection();
        let (outcome, answer) = oneshot::channel();
        (QueuedMessage { message, outcome, connection }, answer)
    }
}
