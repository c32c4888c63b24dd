//! Takes requests from the broker, answers each in its turn, and publishes the response.
//!
//! It waits for nothing between two requests: what exceeds the budget of a sender, or the queue, is
//! refused at once. It decides no answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{self, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::devices::{Admission, DeviceApi};
use super::operators::OperatorApi;
use super::turns::{Sender, SenderGroup, Turns};
use crate::broker::exchange::{Exchange, ExchangeState};
use crate::domain::exchange::{OutgoingMessage, RequestMessage};
use crate::domain::message::ConnectionId;
use crate::domain::time::{Clock, Timestamp};
use crate::telemetry::mqtt_api::{MqttApiMetrics, RequestDrop};

/// Requests that are answered at a time.
const AT_WORK_MAX: usize = 32;

/// Requests of one topic of operators that are answered at a time.
const OPERATOR_AT_WORK_MAX: usize = 8;

/// Longest time of a request at work, with the publication of its response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(27);

/// What the topics of devices begin with.
const DEVICE_ROOT: &[u8] = b"tenant/";

/// Answers the requests of one connection.
#[derive(Debug)]
pub struct Dispatcher {
    desk: Arc<Desk>,
    turns: Turns,
    jobs: JoinSet<()>,
    senders: HashMap<task::Id, Arc<str>>,
}

/// What a request needs on its way.
#[derive(Debug)]
struct Desk {
    devices: Option<DeviceApi>,
    operators: Option<OperatorApi>,
    exchange: Exchange,
    metrics: MqttApiMetrics,
    clock: Clock,
}

/// A request without a place in the queue.
#[derive(Debug)]
enum Unplaced {
    /// It gets this response.
    Refused(Box<OutgoingMessage>),
    /// It gets none.
    Dropped(RequestDrop),
}

// === impl Dispatcher ===

impl Dispatcher {
    /// Answers those for whom there is an API.
    pub fn new(
        devices: Option<DeviceApi>,
        operators: Option<OperatorApi>,
        exchange: Exchange,
        metrics: MqttApiMetrics,
        clock: Clock,
    ) -> Self {
        let desk = Arc::new(Desk { devices, operators, exchange, metrics, clock });
        Self { desk, turns: Turns::default(), jobs: JoinSet::new(), senders: HashMap::new() }
    }

    /// Answers requests until `stop`, or until the connection's task has ended.
    pub async fn run(
        mut self,
        mut requests: mpsc::Receiver<RequestMessage>,
        stop: CancellationToken,
    ) {
        loop {
            self.start_jobs();
            tokio::select! {
                () = stop.cancelled() => return,
                Some(ended) = self.jobs.join_next_with_id() => {
                    let id = ended.map_or_else(|error| report(&error), |(id, ())| id);
                    if let Some(sender) = self.senders.remove(&id) {
                        self.turns.done(&sender);
                    }
                }
                request = requests.recv() => match request {
                    Some(request) => self.take(Box::new(request)),
                    // The exchange ends before `stop` only with an error, which it reports.
                    None => return stop.cancelled().await,
                }
            }
        }
    }

    fn start_jobs(&mut self) {
        while self.jobs.len() < AT_WORK_MAX
            && let Some((sender, request)) = self.turns.next()
        {
            let desk = Arc::clone(&self.desk);
            let handle = self.jobs.spawn(async move { desk.answer(request).await });
            self.senders.insert(handle.id(), sender);
        }
        self.desk
            .metrics
            .plain
            .waiting
            .set(i64::try_from(self.turns.waiting()).unwrap_or(i64::MAX));
    }

    /// Gives a request a place, or refuses it.
    fn take(&mut self, request: Box<RequestMessage>) {
        match self.desk.admit(&request) {
            Ok(sender) => {
                if let Err(request) = self.turns.push(&sender, request) {
                    let response = self.desk.busy(&request).map(Box::new);
                    let refusal =
                        response.map_or(Unplaced::Dropped(RequestDrop::Full), Unplaced::Refused);
                    self.desk.refuse(request.connection, refusal);
                }
            }
            Err(refusal) => self.desk.refuse(request.connection, refusal),
        }
    }
}

/// A panic in one answer costs only that answer.
fn report(error: &task::JoinError) -> task::Id {
    tracing::error!(
        "the answer to a request over MQTT failed: {error}; the sender gets no response; report this as a defect"
    );
    error.id()
}

// === impl Desk ===

impl Desk {
    /// The sender in whose line the request waits, or how it is refused.
    fn admit(&self, request: &RequestMessage) -> Result<Sender, Unplaced> {
        if request.is_retained {
            return Err(Unplaced::Dropped(RequestDrop::Retained));
        }
        match (request.topic.starts_with(DEVICE_ROOT), &self.devices, &self.operators) {
            (true, Some(devices), _) => match devices.admit(request, (self.clock)()) {
                Admission::Admitted(sender) => Ok(sender),
                Admission::Refused(response) => Err(Unplaced::Refused(response)),
                Admission::Dropped(why) => Err(Unplaced::Dropped(why)),
            },
            (false, _, Some(_)) => {
                let name = String::from_utf8_lossy(&request.topic).into();
                let (at_work_max, group) = (OPERATOR_AT_WORK_MAX, SenderGroup::Operators);
                Ok(Sender { name, at_work_max, group })
            }
            _ => Err(Unplaced::Dropped(RequestDrop::Topic)),
        }
    }

    /// The response to a request that has no place in the queue.
    fn busy(&self, request: &RequestMessage) -> Option<OutgoingMessage> {
        if request.topic.starts_with(DEVICE_ROOT) {
            self.devices.as_ref()?.busy(request, (self.clock)())
        } else {
            self.operators.as_ref()?.busy(request)
        }
    }

    /// Publishes the response to a request that is not answered, without waiting, or counts it.
    fn refuse(&self, connection: ConnectionId, refusal: Unplaced) {
        let sent = match refusal {
            Unplaced::Dropped(why) => Err(why),
            Unplaced::Refused(response) => self.check_connection(connection).and_then(|()| {
                self.exchange.try_send(*response).map(drop).map_err(|_| RequestDrop::Full)
            }),
        };
        if let Err(why) = sent {
            self.metrics.dropped(why).inc();
        }
    }

    /// Answers a request whose turn it is.
    async fn answer(&self, request: Box<RequestMessage>) {
        if let Err(why) = self.try_answer(&request).await {
            self.metrics.dropped(why).inc();
        }
    }

    async fn try_answer(&self, request: &RequestMessage) -> Result<(), RequestDrop> {
        if is_expired(request, (self.clock)()) {
            return Err(RequestDrop::Expired);
        }
        let answered = timeout(REQUEST_TIMEOUT, async {
            let response = if request.topic.starts_with(DEVICE_ROOT) {
                self.devices.as_ref()?.answer(request).await?
            } else {
                self.operators.as_ref()?.answer(request).await?
            };
            // The outcome does not matter: a sender without a response sends its request again.
            let sent = self.check_connection(request.connection);
            if sent.is_ok() {
                drop(self.exchange.send(response).await);
            }
            Some(sent)
        });
        match answered.await {
            Ok(Some(Ok(()))) => {
                let seconds = (self.clock)().seconds_since(request.received_at);
                self.metrics.plain.seconds.observe(seconds.max(0.0));
                Ok(())
            }
            Ok(Some(Err(why))) => Err(why),
            // The API has counted why it does not respond.
            Ok(None) => Ok(()),
            Err(_) => Err(RequestDrop::Expired),
        }
    }

    /// Whether the connection that a request arrived on is still there: a later one of the sender
    /// may not wait for the response, and the sender sends its request again.
    fn check_connection(&self, arrived_on: ConnectionId) -> Result<(), RequestDrop> {
        match &*self.exchange.state().borrow() {
            ExchangeState::Connected { connection, .. } if *connection == arrived_on => Ok(()),
            _ => Err(RequestDrop::Connection),
        }
    }
}

/// Whether the Message Expiry Interval has passed since the request was received.
fn is_expired(request: &RequestMessage, now: Timestamp) -> bool {
    request
        .expires_in
        .is_some_and(|left| now.seconds_since(request.received_at) > left.as_secs_f64())
}
