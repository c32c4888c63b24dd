//! The loop of one connection, from CONNACK to its end: messages to the queue, acknowledgements to
//! the broker.
//!
//! It never connects, and it never waits for the queue while acknowledgements or pings are due. If
//! the queue is full or too much is in flight, it stops reading, and TCP slows the broker.
//! Meanwhile it notices a lost connection only by a failed write, or after it reads again.

use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::backlog::{LOOK_SECONDS, MANY_PACKETS, next_receipt};
use super::context::{COMPONENT, ConnectedSession, SessionContext};
use super::inflight::Inflight;
use super::resumed_identifiers::ResumedIdentifiers;
use super::subscription::SubscriptionMemory;
use super::timers::Timers;
use super::window::InflightWindow;
use crate::broker::error::BrokerError;
use crate::broker::login::{self, Due, Renewal};
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing::{
    self, DROPPED_SUBSCRIPTION, DROPPED_TOPIC, FORMER_SUBSCRIPTIONS, MAIN_SUBSCRIPTION,
};
use crate::broker::transport::packets::{Incoming, Malformed, Publish};
use crate::domain::message::{AckToken, ConnectionId, Delivery};
use crate::domain::time::Timestamp;

/// How often the byte budget is checked while it is exceeded: no event reports that the queue
/// shrinks.
const BUDGET_RECHECK: Duration = Duration::from_millis(5);

/// Upper bound for an idle timer.
const FAR: Duration = Duration::from_hours(1);

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
    pending: Vec<Delivery>,
    pending_bytes: usize,
    /// Bytes of those at QoS 0.
    pending_at_most_once: usize,
    /// Bytes to write at the end of this iteration.
    outbox: BytesMut,
    inflight: &'a mut Inflight,
    resumed: &'a mut ResumedIdentifiers,
    /// Number of next messages that the broker may have sent before.
    maybe_repeated_left: usize,
    timers: Timers,
    /// When the login must be replaced; `None` means never.
    renewal: Option<Renewal>,
    paused_until: Option<Instant>,
    window: InflightWindow,
    last_receipt: Timestamp,
    /// Since when the broker may have held the messages that are being read.
    held_since: Timestamp,
    /// The last read may have left packets unread.
    read_much: bool,
}

// === impl Connection ===

impl<'a> Connection<'a> {
    /// Starts with a connection after CONNACK and the packets that followed it.
    pub(super) fn new(
        context: &'a SessionContext,
        id: ConnectionId,
        connected: ConnectedSession,
        memory: &'a mut SubscriptionMemory,
        acks: &'a mut mpsc::Receiver<Vec<AckToken>>,
        (inflight, resumed): (&'a mut Inflight, &'a mut ResumedIdentifiers),
    ) -> Self {
        let ConnectedSession { link, connack, incoming, renewal } = connected;
        let now = Instant::now();
        let keepalive = connack
            .server_keep_alive
            .map_or(context.config.keepalive, |secs| Duration::from_secs(secs.into()));
        Self {
            context,
            id,
            link,
            memory,
            acks,
            acks_open: true,
            incoming,
            pending: Vec::new(),
            pending_bytes: 0,
            pending_at_most_once: 0,
            outbox: BytesMut::new(),
            inflight,
            resumed,
            maybe_repeated_left: if connack.session_present {
                context.config.receive_maximum.into()
            } else {
                0
            },
            timers: Timers::new(now, keepalive),
            renewal,
            paused_until: None,
            window: InflightWindow::new(context.config.receive_maximum),
            last_receipt: Timestamp::default(),
            held_since: Timestamp::default(),
            read_much: false,
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
        if let Err(trouble) = &ended {
            self.try_enqueue(deliveries);
            let not_enqueued = self.pending.iter().filter(|message| message.ack.is_some()).count();
            self.resumed.connection_ended(self.inflight.connection_ended(not_enqueued));
            if trouble.is_takeover() {
                self.resumed.forget();
            }
            if let Some(final_packet) = outgoing::final_packet(trouble) {
                let _connection_ends_anyway = self.link.write(final_packet).await;
            }
        }
        ended
    }

    /// Whether the broker granted the subscription.
    pub fn was_subscribed(&self) -> bool {
        !self.timers.is_subscribing()
    }

    /// Stops reading, then writes pending acknowledgements until `acks` closes or `patience`
    /// elapses, and disconnects.
    pub async fn wind_down(mut self, patience: Duration) {
        let writing = async {
            while let Some(tokens) = self.next_acks().await {
                self.acknowledge(tokens);
                self.flush().await?;
            }
            Ok::<(), BrokerError>(())
        };
        match timeout(patience, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(trouble)) => {
                return tracing::warn!(%trouble, "the connection ended before the last acknowledgements");
            }
            Err(_) => tracing::warn!("acknowledgements are still due, but the time to stop is up"),
        }
        self.link.close(&outgoing::DISCONNECT).await;
    }

    async fn run_loop(
        &mut self,
        deliveries: &mpsc::Sender<Vec<Delivery>>,
        stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        self.outbox.extend_from_slice(&outgoing::subscribe(&self.context.config)?);
        self.flush().await?;
        self.handle_incoming()?;
        loop {
            self.flush().await?;
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
                () = timer => self.run_timers(is_held_back)?,
                permit = deliveries.reserve(), if !self.pending.is_empty() => match permit {
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
        // One clock reading serves all packets; each gets its own microsecond, which tells equal
        // messages apart.
        let mut received_at = next_receipt((self.context.clock)(), self.last_receipt);
        self.held_since = self.memory.held_since(received_at);
        self.read_much = packets >= MANY_PACKETS;
        let result = incoming.drain(..).try_for_each(|packet| {
            received_at = Timestamp::from_micros(received_at.micros() + 1);
            self.handle_packet(packet, received_at)
        });
        self.last_receipt = received_at;
        self.incoming = incoming;
        self.window.watch(self.inflight.unacked(), &self.context.metrics);
        result?;
        self.paused_until =
            self.context.pacing.pause_until(Instant::now(), packets, self.pending_bytes);
        if self.paused_until.is_some() { self.link.stop_watching() } else { Ok(()) }
    }

    fn handle_packet(
        &mut self,
        packet: Incoming,
        received_at: Timestamp,
    ) -> Result<(), BrokerError> {
        match packet {
            Incoming::Publish(publish) => self.handle_publish(publish, received_at),
            Incoming::Unreadable => self.context.metrics.malformed.inc(),
            Incoming::SubAck { packet_id: MAIN_SUBSCRIPTION, codes } => {
                return self.handle_suback(&codes);
            }
            Incoming::SubAck { packet_id: DROPPED_SUBSCRIPTION, codes }
                if codes.iter().any(|&code| code >= 0x80) =>
            {
                tracing::debug!(
                    "the broker does not let us see {DROPPED_TOPIC}: messages it drops are not counted here"
                );
            }
            Incoming::UnsubAck { packet_id: FORMER_SUBSCRIPTIONS, codes } => {
                self.memory.record_unsubscribed(&codes)
            }
            Incoming::PubRel { packet_id } => {
                self.outbox.extend_from_slice(&outgoing::pubcomp(packet_id))
            }
            Incoming::Disconnect(farewell) => return Err(BrokerError::Dismissed(farewell)),
            Incoming::Auth { code } => return login::take_answer(self.renewal.as_mut(), code),
            Incoming::ConnAck(_) => return Err(Malformed::Type(2).into()),
            Incoming::SubAck { .. }
            | Incoming::UnsubAck { .. }
            | Incoming::PubAck { .. }
            | Incoming::PingResp => {}
        }
        Ok(())
    }

    fn handle_publish(&mut self, publish: Publish, received_at: Timestamp) {
        if publish.topic.starts_with(b"$SYS/") {
            return self.handle_sys_message(&publish);
        }
        let Publish { topic, payload, cut_from, qos, packet_id, dup, malformed } = publish;
        if malformed {
            self.context.metrics.malformed.inc();
        }
        let maybe_repeated = dup || self.maybe_repeated_left > 0;
        self.maybe_repeated_left = self.maybe_repeated_left.saturating_sub(1);
        let bytes = topic.len() + payload.len();
        self.pending_bytes += bytes;
        let ack = (packet_id != 0).then_some(AckToken {
            connection: self.id,
            packet_id,
            exactly_once: qos == 2,
        });
        let redelivered = ack.is_some() && self.resumed.check_resent(packet_id, dup);
        if ack.is_some() {
            self.inflight.record_received(packet_id, bytes);
        } else {
            self.pending_at_most_once += bytes;
        }
        let (held_since, replay) = (self.held_since, None);
        self.pending.push(Delivery {
            topic,
            payload,
            cut_from,
            received_at,
            held_since,
            dup,
            redelivered,
            maybe_repeated,
            ack,
            replay,
        });
    }

    /// A `$SYS` message sets a gauge; it is not stored.
    fn handle_sys_message(&mut self, note: &Publish) {
        let number =
            std::str::from_utf8(&note.payload).ok().and_then(|text| text.trim().parse().ok());
        if let (DROPPED_TOPIC, Some(dropped)) =
            (str::from_utf8(&note.topic).unwrap_or_default(), number)
        {
            self.context.metrics.broker_dropped.set(dropped);
        }
        if note.packet_id != 0 {
            self.outbox.extend_from_slice(&outgoing::puback(note.packet_id));
        }
    }

    fn handle_suback(&mut self, codes: &[u8]) -> Result<(), BrokerError> {
        let filter = || self.context.config.filter();
        match *codes {
            [1 | 2] => {
                self.timers.subscribe_answered();
                self.context.metrics.connected.set(1);
                self.context.readiness.well(COMPONENT);
                tracing::info!(
                    filter = filter(),
                    connection = self.id.0,
                    "connected to the broker and subscribed"
                );
                self.outbox.extend_from_slice(&self.memory.record_granted(self.context)?);
                Ok(())
            }
            [0] => Err(BrokerError::Downgraded { filter: filter() }),
            [code] => Err(BrokerError::SubscriptionRefused { filter: filter(), code }),
            _ => Err(Malformed::Body(9).into()),
        }
    }

    /// Enqueues the pending messages if the queue has room. Returns whether reading must pause.
    fn try_enqueue(&mut self, deliveries: &mpsc::Sender<Vec<Delivery>>) -> bool {
        if !self.pending.is_empty()
            && let Ok(permit) = deliveries.try_reserve()
        {
            self.enqueue(permit);
        }
        self.inflight.set_queue_len(deliveries.max_capacity() - deliveries.capacity());
        // SUBACK arrives behind the messages of a resumed session: until it is read, only the byte
        // budget pauses reading.
        let waits = !self.pending.is_empty()
            || self.inflight.is_over_window(self.context.config.receive_maximum);
        waits && !self.timers.is_subscribing()
            || self.inflight.is_over_budget(self.pending_at_most_once)
    }

    fn update_backlog(&mut self, is_held_back: bool) -> Result<(), BrokerError> {
        let half_the_window = usize::from(self.context.config.receive_maximum / 2);
        let has_room = !is_held_back && self.inflight.unacked() <= half_the_window;
        let is_abreast = has_room && !self.read_much && self.was_subscribed();
        self.outbox.extend_from_slice(&self.memory.update_backlog(self.context, is_abreast)?);
        Ok(())
    }

    fn enqueue(&mut self, permit: mpsc::Permit<'_, Vec<Delivery>>) {
        let chunk = std::mem::take(&mut self.pending);
        let (whole, at_most_once) = (&mut self.pending_bytes, &mut self.pending_at_most_once);
        self.inflight.record_enqueued(std::mem::take(whole), std::mem::take(at_most_once));
        self.context.metrics.received.inc_by(chunk.len() as u64);
        self.context.metrics.queue_depth.add(i64::try_from(chunk.len()).unwrap_or(i64::MAX));
        permit.send(chunk);
    }

    /// Buffers acknowledgements for `tokens` and for all that wait in the channel, as one write.
    fn acknowledge(&mut self, tokens: Vec<AckToken>) {
        let mut next = Some(tokens);
        while let Some(tokens) = next {
            for token in tokens {
                if token.connection != self.id {
                    self.context.metrics.void_acks.inc();
                    continue;
                }
                self.inflight.acknowledged(token.packet_id);
                let packet = if token.exactly_once {
                    outgoing::pubrec(token.packet_id)
                } else {
                    outgoing::puback(token.packet_id)
                };
                self.outbox.extend_from_slice(&packet);
            }
            next = self.acks.try_recv().ok();
        }
        self.window.watch(self.inflight.unacked(), &self.context.metrics);
    }

    /// Waits for the next acknowledgements and pings meanwhile.
    async fn next_acks(&mut self) -> Option<Vec<AckToken>> {
        loop {
            tokio::select! {
                biased;
                tokens = self.acks.recv() => return tokens,
                () = sleep(self.timers.keepalive().unwrap_or(FAR)) => {
                    self.outbox.extend_from_slice(&outgoing::PINGREQ);
                    self.flush().await.ok()?;
                }
            }
        }
    }

    async fn flush(&mut self) -> Result<(), BrokerError> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let written = self.link.write(&self.outbox).await;
        self.outbox.clear();
        written
    }

    /// When the next timer is due.
    fn next_timer(&self, is_held_back: bool) -> Instant {
        let now = Instant::now();
        let recheck = (self.pending.is_empty()
            && self.inflight.is_over_budget(self.pending_at_most_once))
        .then(|| now + BUDGET_RECHECK);
        let due = self.timers.next(self.link.last_received(), is_held_back);
        let login = self.renewal.as_ref().map(Renewal::next);
        let backlog_update = Some(now + Duration::from_secs(LOOK_SECONDS));
        [due, recheck, self.paused_until, login, backlog_update]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + FAR)
    }

    fn run_timers(&mut self, is_held_back: bool) -> Result<(), BrokerError> {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|&until| until > now);
        if self.timers.check(now, self.link.last_received(), is_held_back)? {
            self.outbox.extend_from_slice(&outgoing::PINGREQ);
        }
        match self.renewal.as_mut().map_or(Due::Nothing, |renewal| renewal.due(now)) {
            Due::Nothing => Ok(()),
            Due::Reconnect => Err(BrokerError::LoginAges),
            Due::Reauthenticate => {
                let packet = login::reauthentication(&self.context.config, (self.context.clock)())?;
                self.outbox.extend_from_slice(&packet);
                Ok(())
            }
        }
    }
}
