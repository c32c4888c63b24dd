//! How a connection ends on purpose: with a stop, after which the broker keeps the session, or with a
//! drain, after which nothing of it is left.
//!
//! A drain unsubscribes, acknowledges until nothing arrives any longer, and ends the session. A broker
//! that does not answer is not quiet: the last step is a ping behind the last acknowledgement. It ends
//! no session that holds a message.

use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::context::SessionContext;
use super::inflight::Inflight;
use super::subscription::SubscriptionMemory;
use super::timers::Timers;
use super::write_buffer::WriteBuffer;
use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing;
use crate::domain::message::{AckToken, Delivery};
use crate::lifecycle::draining::{DrainDesk, DrainPhase, DrainState};
use crate::telemetry::broker::BrokerMetrics;

/// Without a message for so long, nothing waits at a broker that answers a ping.
const QUIET: Duration = Duration::from_secs(1);

/// UNSUBACK: codes from this one on mean a refusal.
const REFUSED: u8 = 0x80;

/// What a connection knows of a drain.
pub(super) struct Leaving {
    desk: DrainDesk,
    orders: watch::Receiver<DrainState>,
    stage: LeavingStage,
    /// When the last message arrived, or when the broker removed the subscription.
    last_message: Instant,
    /// Pings without an answer, those of the keepalive included: the broker answers in order.
    open_pings: u32,
}

/// How far this connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeavingStage {
    /// It is a member.
    Member,
    /// UNSUBSCRIBE is not answered.
    Unsubscribing,
    /// What waits arrives.
    Draining,
    /// It was quiet, and a ping is not answered.
    Pinging,
    /// The ping is answered, and nothing came before the answer.
    Empty,
}

// === impl Leaving ===

impl Leaving {
    pub(super) fn new(desk: &DrainDesk, now: Instant) -> Self {
        let (desk, orders) = (desk.clone(), desk.follow());
        Self { desk, orders, stage: LeavingStage::Member, last_message: now, open_pings: 0 }
    }

    /// Waits until a drain is ordered or given up.
    pub(super) async fn changed(&mut self) {
        let is_leaving = self.stage != LeavingStage::Member;
        // It holds the desk, so the sender exists.
        let _ = self.orders.wait_for(|state| state.is_ordered() != is_leaving).await;
    }

    /// A message arrived.
    pub(super) fn received(&mut self) {
        if matches!(
            self.stage,
            LeavingStage::Draining | LeavingStage::Pinging | LeavingStage::Empty
        ) {
            self.stage = LeavingStage::Draining;
            self.last_message = Instant::now();
        }
    }

    /// A ping is sent.
    pub(super) fn pinged(&mut self) {
        self.open_pings = self.open_pings.saturating_add(1);
    }

    /// The broker has answered a ping. Only the answer to the last one comes behind all messages.
    pub(super) fn answered(&mut self) {
        self.open_pings = self.open_pings.saturating_sub(1);
        if self.stage == LeavingStage::Pinging && self.open_pings == 0 {
            self.stage = LeavingStage::Empty;
        }
    }

    /// The first packets of a connection: SUBSCRIBE, or UNSUBSCRIBE if a drain is ordered.
    pub(super) fn begin(
        &mut self,
        context: &SessionContext,
        memory: &SubscriptionMemory,
    ) -> Result<BytesMut, BrokerError> {
        if self.desk.is_ordered() {
            self.stage = LeavingStage::Unsubscribing;
            return memory.leave(context);
        }
        outgoing::subscribe(&context.config)
    }

    /// A drain was ordered, or given up: then this is a member again. An adopted session has none to
    /// return to.
    pub(super) fn follow_order(
        &mut self,
        context: &SessionContext,
        memory: &SubscriptionMemory,
        timers: &mut Timers,
    ) -> Result<BytesMut, BrokerError> {
        self.stage = LeavingStage::Member;
        if !self.desk.is_ordered() {
            if context.is_adopting {
                return Ok(BytesMut::new());
            }
            timers.subscribe_again(Instant::now());
        }
        self.begin(context, memory)
    }

    /// The codes of UNSUBACK; that no subscription existed is no refusal. Returns whether what waits
    /// arrives now.
    pub(super) fn unsubscribed(&mut self, codes: &[u8]) -> bool {
        if let Some(code) = codes.iter().find(|code| **code >= REFUSED) {
            self.desk.give_up(&format!("the broker refuses UNSUBSCRIBE with code 0x{code:02X}"));
            return false;
        }
        let is_awaited = self.stage == LeavingStage::Unsubscribing;
        if is_awaited {
            self.stage = LeavingStage::Draining;
            self.last_message = Instant::now();
            self.desk.reach(DrainPhase::Unsubscribed);
        }
        is_awaited
    }

    /// Counts acknowledged messages.
    pub(super) fn count(&self, taken: usize, unacknowledged: usize) {
        if self.stage != LeavingStage::Member {
            let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
            self.desk.count(number(taken), number(unacknowledged));
        }
    }

    /// Returns the ping that is due when it was quiet for a while; `is_idle`: nothing is received and not
    /// acknowledged.
    pub(super) fn look(&mut self, is_idle: bool) -> &'static [u8] {
        let is_due =
            self.stage == LeavingStage::Draining && is_idle && self.last_message.elapsed() >= QUIET;
        if !is_due {
            return &[];
        }
        self.stage = LeavingStage::Pinging;
        self.pinged();
        &outgoing::PINGREQ
    }

    /// Whether nothing waits at the broker.
    pub(super) fn is_empty(&self) -> bool {
        self.stage == LeavingStage::Empty
    }

    /// When to look again whether it is quiet.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.stage {
            LeavingStage::Draining => Some(Instant::now().max(self.last_message) + QUIET / 4),
            LeavingStage::Empty => Some(Instant::now()),
            _ => None,
        }
    }
}

/// The end of a connection whose session stays.
pub(super) struct Parting<'a> {
    pub(super) metrics: &'a BrokerMetrics,
    pub(super) link: MqttStream,
    pub(super) acks: &'a mut mpsc::Receiver<Vec<AckToken>>,
    pub(super) unwritten: WriteBuffer,
    pub(super) inflight: &'a mut Inflight,
    /// How often to ping.
    pub(super) keepalive: Duration,
}

// === impl Parting ===

impl Parting<'_> {
    /// Writes pending acknowledgements until `acks` closes or `patience` elapses, and disconnects.
    pub(super) async fn wind_down(mut self, patience: Duration) {
        let writing = async {
            while let Some(tokens) = self.next_acks().await {
                let void = self.unwritten.acknowledge(tokens, self.inflight);
                self.metrics.void_acks.inc_by(void);
                self.unwritten.flush(&mut self.link).await?;
            }
            Ok::<(), BrokerError>(())
        };
        match timeout(patience, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return tracing::warn!(
                    %error,
                    "the last acknowledgements were not sent; the broker redelivers their messages"
                );
            }
            Err(_) => tracing::warn!(
                "acknowledgements are still due at the shutdown timeout; \
                 disconnecting, and the broker redelivers their messages"
            ),
        }
        self.link.close(&outgoing::DISCONNECT).await;
    }

    /// Waits for the next acknowledgements and pings meanwhile.
    async fn next_acks(&mut self) -> Option<Vec<AckToken>> {
        loop {
            tokio::select! {
                biased;
                tokens = self.acks.recv() => return tokens,
                () = sleep(self.keepalive) => {
                    self.unwritten.push(&outgoing::PINGREQ);
                    self.unwritten.flush(&mut self.link).await.ok()?;
                }
            }
        }
    }
}

/// Waits for the daemon to stop after the session has ended: what was received at QoS 0 is stored
/// meanwhile, and no acknowledgement is due.
pub(super) async fn wait_for_stop(
    deliveries: mpsc::Sender<Vec<Delivery>>,
    acks: &mut mpsc::Receiver<Vec<AckToken>>,
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_void) = acks.recv() => {}
        }
    }
    drop(deliveries);
}
