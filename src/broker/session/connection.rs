//! The loop of one connection, from CONNACK to its end: messages to the queue, acknowledgements to
//! the broker.
//!
//! It never connects, and it never waits for the queue while acknowledgements or pings are due. If
//! the queue is full or too much is in flight, it stops reading, and TCP slows the broker.
//! Meanwhile it notices a lost connection only by a failed write, or after it reads again.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::backlog::UPDATE_SECONDS;
use super::context::{ConnectedSession, SessionContext};
use super::inflight::Inflight;
use super::leaving::{Leaving, Parting};
use super::receive_buffer::ReceiveBuffer;
use super::resumed_identifiers::ResumedIdentifiers;
use super::subscription::SubscriptionMemory;
use super::timers::Timers;
use super::window::InflightWindow;
use super::write_buffer::WriteBuffer;
use crate::broker::error::BrokerError;
use crate::broker::login::{self, Renewal};
use crate::broker::transport::malformed::Malformed;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing::{
    self, DROPPED_SUBSCRIPTION, DROPPED_TOPIC, FORMER_SUBSCRIPTIONS, LEFT_SUBSCRIPTIONS,
    MAIN_SUBSCRIPTION,
};
use crate::broker::transport::packets::{Incoming, Publish};
use crate::domain::message::{AckToken, ConnectionId, Delivery};
use crate::lifecycle::health_reporter::HealthReporter;

/// How often the byte budget is checked while it is exceeded: no event reports that the queue
/// shrinks.
const BUDGET_RECHECK: Duration = Duration::from_millis(5);

/// Upper bound for an idle timer.
const FAR: Duration = Duration::from_hours(1);

/// State that outlives a connection.
pub(super) struct LastingState<'a> {
    pub(super) memory: &'a mut SubscriptionMemory,
    pub(super) acks: &'a mut mpsc::Receiver<Vec<AckToken>>,
    pub(super) inflight: &'a mut Inflight,
    pub(super) resumed: &'a mut ResumedIdentifiers,
    pub(super) health: &'a mut HealthReporter,
}

/// One connection after CONNACK.
pub struct Connection<'a> {
    context: &'a SessionContext,
    id: ConnectionId,
    link: MqttStream,
    memory: &'a mut SubscriptionMemory,
    acks: &'a mut mpsc::Receiver<Vec<AckToken>>,
    acks_open: bool,
    /// Packets that were read and not yet handled.
    incoming: Vec<Incoming>,
    /// Messages that were handled and are not yet in the queue.
    received: ReceiveBuffer,
    /// Bytes to write at the end of this iteration.
    unwritten: WriteBuffer,
    inflight: &'a mut Inflight,
    resumed: &'a mut ResumedIdentifiers,
    health: &'a mut HealthReporter,
    timers: Timers,
    /// When the login must be replaced; `None` means never.
    renewal: Option<Renewal>,
    paused_until: Option<Instant>,
    window: InflightWindow,
    leaving: Leaving,
}

// === impl Connection ===

impl<'a> Connection<'a> {
    /// Starts with a connection after CONNACK and the packets that followed it.
    pub(super) fn new(
        context: &'a SessionContext,
        id: ConnectionId,
        connected: ConnectedSession,
        lasting: LastingState<'a>,
    ) -> Self {
        let LastingState { memory, acks, inflight, resumed, health } = lasting;
        let ConnectedSession { link, connack, incoming, renewal } = connected;
        let now = Instant::now();
        let keepalive = connack
            .server_keep_alive
            .map_or(context.config.keepalive, |secs| Duration::from_secs(secs.into()));
        let window = context.config.receive_maximum;
        let maybe_repeated = if connack.session_present { window } else { 0 };
        Self {
            context,
            id,
            link,
            memory,
            acks,
            acks_open: true,
            incoming,
            received: ReceiveBuffer::new(id, maybe_repeated.into()),
            unwritten: WriteBuffer::new(id),
            inflight,
            resumed,
            health,
            timers: Timers::new(now, keepalive),
            renewal,
            paused_until: None,
            window: InflightWindow::new(window),
            leaving: Leaving::new(&context.drain, now),
        }
    }

    /// Subscribes and serves until `stop` or the queue is closed (`Ok`), or the connection ends
    /// (`Err`).
    pub async fn run(
        &mut self,
        deliveries: &mpsc::Sender<Vec<Delivery>>,
        stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        let ended = self.run_loop(deliveries, stop).await;
        self.context.metrics.connected.set(0);
        self.context.metrics.unacked.set(0);
        if let Err(error) = &ended {
            self.try_enqueue(deliveries);
            let unacknowledged = self.inflight.connection_ended(self.received.to_acknowledge());
            self.resumed.connection_ended(unacknowledged);
            if error.is_takeover() {
                self.resumed.forget();
            }
            if let Some(final_packet) = outgoing::final_packet(error) {
                let _connection_ends_anyway = self.link.write(final_packet).await;
            }
        }
        ended
    }

    /// Whether the broker granted the subscription.
    pub fn was_subscribed(&self) -> bool {
        !self.timers.is_subscribing()
    }

    /// Whether the loop ended because a drain has left nothing at the broker.
    pub fn is_empty(&self) -> bool {
        self.leaving.is_empty()
    }

    /// Ends the session at the broker, which holds no message of it.
    pub async fn end_session(self) {
        self.link.close(&outgoing::DISCONNECT_SESSION).await;
    }

    /// Stops reading, then writes pending acknowledgements until `acks` closes or `patience`
    /// elapses, and disconnects.
    pub async fn wind_down(self, patience: Duration) {
        let keepalive = self.timers.keepalive().unwrap_or(FAR);
        let Self { context, link, acks, unwritten, inflight, .. } = self;
        let metrics = &context.metrics;
        let parting = Parting { metrics, link, acks, unwritten, inflight, keepalive };
        parting.wind_down(patience).await;
    }

    async fn run_loop(
        &mut self,
        deliveries: &mpsc::Sender<Vec<Delivery>>,
        stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        self.unwritten.push(&self.leaving.begin(self.context, self.memory)?);
        self.unwritten.flush(&mut self.link).await?;
        self.handle_incoming()?;
        loop {
            self.unwritten.flush(&mut self.link).await?;
            let is_held_back = self.try_enqueue(deliveries);
            self.update_backlog(is_held_back)?;
            let timer = sleep_until(self.next_timer(is_held_back));
            let may_read = !is_held_back && self.paused_until.is_none();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                tokens = self.acks.recv(), if self.acks_open => match tokens {
                    Some(tokens) => self.acknowledge(tokens),
                    None => self.acks_open = false,
                },
                () = timer => {
                    self.run_timers(is_held_back)?;
                    if self.has_left() {
                        return Ok(());
                    }
                }
                () = self.leaving.changed() => self.follow_order()?,
                permit = deliveries.reserve(), if !self.received.is_empty() => match permit {
                    Ok(permit) => self.enqueue(permit),
                    Err(_) => return Ok(()),
                },
                drained = self.link.drain(&mut self.incoming), if may_read => {
                    drained?;
                    self.handle_incoming()?;
                }
            }
            if is_held_back {
                self.timers.hold_back(Instant::now());
            }
        }
    }

    /// Handles every packet that was read.
    fn handle_incoming(&mut self) -> Result<(), BrokerError> {
        let packets = self.incoming.len();
        let mut incoming = std::mem::take(&mut self.incoming);
        self.received.start_read(packets, (self.context.clock)(), self.memory);
        let result = incoming.drain(..).try_for_each(|packet| self.handle_packet(packet));
        self.incoming = incoming;
        self.window.watch(self.inflight.unacked(), &self.context.metrics);
        result?;
        self.paused_until =
            self.context.pacing.pause_until(Instant::now(), packets, self.received.bytes());
        if self.paused_until.is_some() { self.link.stop_watching() } else { Ok(()) }
    }

    fn handle_packet(&mut self, packet: Incoming) -> Result<(), BrokerError> {
        match packet {
            Incoming::Publish(publish) => self.handle_publish(publish),
            Incoming::Unreadable => self.context.metrics.malformed.inc(),
            Incoming::SubAck { packet_id: MAIN_SUBSCRIPTION, codes } => {
                return self.handle_suback(&codes);
            }
            Incoming::SubAck { packet_id: DROPPED_SUBSCRIPTION, codes }
                if codes.iter().any(|&code| code >= 0x80) =>
            {
                tracing::debug!(
                    "the broker refused the subscription to {DROPPED_TOPIC}; \
                     Sluice does not count the messages that the broker drops"
                );
            }
            Incoming::UnsubAck { packet_id: FORMER_SUBSCRIPTIONS, codes } => {
                self.memory.record_unsubscribed(&codes);
            }
            Incoming::UnsubAck { packet_id: LEFT_SUBSCRIPTIONS, codes } => self.handle_left(&codes),
            Incoming::PingResp => self.leaving.answered(),
            Incoming::PubRel { packet_id } => self.unwritten.push(&outgoing::pubcomp(packet_id)),
            Incoming::Disconnect(reason) => {
                return Err(login::dismissed(self.renewal.as_ref(), reason));
            }
            Incoming::Auth { code } => return login::take_answer(self.renewal.as_mut(), code),
            Incoming::ConnAck(connack) => {
                return Err(login::second_connack(self.renewal.as_ref(), &connack));
            }
            Incoming::SubAck { .. } | Incoming::UnsubAck { .. } | Incoming::PubAck { .. } => {}
        }
        Ok(())
    }

    fn handle_publish(&mut self, publish: Publish) {
        if publish.topic.starts_with(b"$SYS/") {
            return self.handle_sys_message(&publish);
        }
        if publish.malformed {
            self.context.metrics.malformed.inc();
        }
        self.leaving.received();
        self.received.receive(publish, self.inflight, self.resumed);
    }

    /// A `$SYS` message sets a gauge; it is not stored.
    fn handle_sys_message(&mut self, message: &Publish) {
        let number =
            std::str::from_utf8(&message.payload).ok().and_then(|text| text.trim().parse().ok());
        if let (DROPPED_TOPIC, Some(dropped)) =
            (str::from_utf8(&message.topic).unwrap_or_default(), number)
        {
            self.context.metrics.broker_dropped.set(dropped);
        }
        if message.packet_id != 0 {
            self.unwritten.push(&outgoing::puback(message.packet_id));
        }
    }

    fn handle_suback(&mut self, codes: &[u8]) -> Result<(), BrokerError> {
        let filter = || self.context.config.filter();
        match *codes {
            [1 | 2] => {
                self.timers.subscribe_answered();
                self.context.metrics.connected.set(1);
                self.health.worked(Instant::now().into_std());
                tracing::info!(
                    filter = filter(),
                    connection = self.id.0,
                    "connected to the broker and subscribed"
                );
                self.unwritten.push(&self.memory.record_granted(self.context)?);
                Ok(())
            }
            [0] => Err(BrokerError::Downgraded { filter: filter() }),
            [code] => Err(BrokerError::SubscriptionRefused { filter: filter(), code }),
            _ => Err(Malformed::Body(9).into()),
        }
    }

    /// Enqueues the pending messages if the queue has room. Returns whether reading must pause.
    fn try_enqueue(&mut self, deliveries: &mpsc::Sender<Vec<Delivery>>) -> bool {
        if !self.received.is_empty()
            && let Ok(permit) = deliveries.try_reserve()
        {
            self.enqueue(permit);
        }
        self.inflight.set_queue_len(deliveries.max_capacity() - deliveries.capacity());
        // SUBACK arrives behind the messages of a resumed session: until it is read, only the byte
        // budget pauses reading.
        let waits = !self.received.is_empty()
            || self.inflight.is_over_window(self.context.config.receive_maximum);
        waits && !self.timers.is_subscribing()
            || self.inflight.is_over_budget(self.received.at_most_once_bytes())
    }

    fn update_backlog(&mut self, is_held_back: bool) -> Result<(), BrokerError> {
        let half_the_window = usize::from(self.context.config.receive_maximum / 2);
        let has_room = !is_held_back && self.inflight.unacked() <= half_the_window;
        let is_caught_up = has_room && !self.received.read_much() && self.was_subscribed();
        self.unwritten.push(&self.memory.update_backlog(self.context, is_caught_up)?);
        Ok(())
    }

    fn enqueue(&mut self, permit: mpsc::Permit<'_, Vec<Delivery>>) {
        self.received.enqueue(permit, self.inflight, &self.context.metrics);
    }

    /// Buffers acknowledgements for `tokens` and for all that wait in the channel, as one write.
    fn acknowledge(&mut self, tokens: Vec<AckToken>) {
        let (mut next, mut taken) = (Some(tokens), 0);
        while let Some(tokens) = next {
            taken += tokens.len();
            let void = self.unwritten.acknowledge(tokens, self.inflight);
            self.context.metrics.void_acks.inc_by(void);
            next = self.acks.try_recv().ok();
        }
        self.window.watch(self.inflight.unacked(), &self.context.metrics);
        self.leaving.count(taken, self.inflight.unacked());
    }

    fn follow_order(&mut self) -> Result<(), BrokerError> {
        let packets = self.leaving.follow_order(self.context, self.memory, &mut self.timers)?;
        self.unwritten.push(&packets);
        Ok(())
    }

    /// The codes of the UNSUBACK of a drain: this connection works, as after SUBACK.
    fn handle_left(&mut self, codes: &[u8]) {
        if self.leaving.unsubscribed(codes) {
            self.timers.subscribe_answered();
            self.context.metrics.connected.set(1);
            self.health.worked(Instant::now().into_std());
        }
    }

    /// Whether a drain has left nothing at the broker.
    fn has_left(&mut self) -> bool {
        let is_idle =
            self.inflight.unacked() == 0 && self.received.is_empty() && self.incoming.is_empty();
        self.unwritten.push(self.leaving.look(is_idle));
        is_idle && self.leaving.is_empty()
    }

    /// When the next timer is due.
    fn next_timer(&self, is_held_back: bool) -> Instant {
        let now = Instant::now();
        let recheck = (self.received.is_empty()
            && self.inflight.is_over_budget(self.received.at_most_once_bytes()))
        .then(|| now + BUDGET_RECHECK);
        let due = self.timers.next(self.link.last_received(), is_held_back);
        let login = self.renewal.as_ref().map(Renewal::next);
        let backlog_update = Some(now + Duration::from_secs(UPDATE_SECONDS));
        [due, recheck, self.paused_until, login, backlog_update, self.leaving.next()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + FAR)
    }

    fn run_timers(&mut self, is_held_back: bool) -> Result<(), BrokerError> {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|&until| until > now);
        if self.timers.check(now, self.link.last_received(), is_held_back)? {
            self.leaving.pinged();
            self.unwritten.push(&outgoing::PINGREQ);
        }
        let clock = (now, (self.context.clock)());
        let packet = login::renew(self.renewal.as_mut(), &self.context.config, clock)?;
        self.unwritten.push(&packet);
        Ok(())
    }
}
