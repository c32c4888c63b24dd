//! The loop of one connection, from CONNACK to its end: messages out to the queue, acknowledgements back to the broker.
//!
//! It never connects, and it never waits for the queue while acknowledgements or pings are due: when the queue is full or
//! too much is in flight, it only stops reading, and TCP tells the broker. That the broker went away is noticed then only
//! by a write that fails, or when reading goes on.

use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::backlog::{LOOK_SECONDS, MANY_PACKETS, next_receipt};
use super::inflight::Inflight;
use super::resumed_identifiers::Returning;
use super::subscription::SubscriptionMemory;
use super::timers::Timers;
use super::window::InflightWindow;
use super::{ConnectedSession, PART, SessionContext};
use crate::broker::error::BrokerError;
use crate::broker::login::{self, Due, Renewal};
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing::{
    self, DROPPED_SUBSCRIPTION, DROPPED_TOPIC, FORMER_SUBSCRIPTIONS, MAIN_SUBSCRIPTION,
};
use crate::broker::transport::packets::{Incoming, Malformed, Publish};
use crate::domain::message::{AckToken, ConnectionId, Delivery};
use crate::domain::time::Timestamp;

/// How often the budget of bytes is looked at again while it is used up: nothing wakes us when the queue shrinks.
const BUDGET_RECHECK: Duration = Duration::from_millis(5);

/// Longer than this to wait for nothing.
const FAR: Duration = Duration::from_hours(1);

/// One connection at work.
pub struct Connection<'a> {
    around: &'a SessionContext,
    id: ConnectionId,
    link: MqttStream,
    memory: &'a mut SubscriptionMemory,
    acks: &'a mut mpsc::Receiver<Vec<AckToken>>,
    acks_open: bool,
    /// Read, not yet looked at.
    incoming: Vec<Incoming>,
    /// Looked at, not yet in the queue.
    pending: Vec<Delivery>,
    pending_bytes: usize,
    /// Those at QoS 0 among them.
    pending_at_most_once: usize,
    /// To be written at the end of this turn.
    outbox: BytesMut,
    inflight: &'a mut Inflight,
    returning: &'a mut Returning,
    /// The next so many messages may be ones the broker sent before.
    suspects: usize,
    timers: Timers,
    /// When the login must be replaced; none: never.
    renewal: Option<Renewal>,
    paused_until: Option<Instant>,
    window: InflightWindow,
    last_receipt: Timestamp,
    /// Of what is being read.
    held_since: Timestamp,
    /// The last read may have left more behind.
    read_much: bool,
}

// === impl Steady ===

impl<'a> Connection<'a> {
    /// Takes over a connection that was just welcomed, with what came right behind the welcome.
    pub(super) fn new(
        around: &'a SessionContext,
        id: ConnectionId,
        welcomed: ConnectedSession,
        memory: &'a mut SubscriptionMemory,
        acks: &'a mut mpsc::Receiver<Vec<AckToken>>,
        (inflight, returning): (&'a mut Inflight, &'a mut Returning),
    ) -> Self {
        let ConnectedSession { link, welcome, incoming, renewal } = welcomed;
        let now = Instant::now();
        let keepalive =
            welcome.server_keep_alive.map_or(around.config.keepalive, |secs| Duration::from_secs(secs.into()));
        Self {
            around,
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
            returning,
            suspects: if welcome.session_present { around.config.receive_maximum.into() } else { 0 },
            timers: Timers::new(now, keepalive),
            renewal,
            paused_until: None,
            window: InflightWindow::new(around.config.receive_maximum),
            last_receipt: Timestamp::default(),
            held_since: Timestamp::default(),
            read_much: false,
        }
    }

    /// Subscribes and works until `stop` or the queue's other end is gone (`Ok`), or the connection ends.
    pub async fn run(
        &mut self,
        deliveries: &mpsc::Sender<Vec<Delivery>>,
        stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        let ended = self.work(deliveries, stop).await;
        self.around.metrics.connected.set(0);
        self.around.metrics.unacked.set(0);
        if let Err(trouble) = &ended {
            self.offer(deliveries);
            let kept_back = self.pending.iter().filter(|message| message.ack.is_some()).count();
            self.returning.connection_ended(self.inflight.connection_ended(kept_back));
            if trouble.is_takeover() {
                self.returning.forget();
            }
            if let Some(last_word) = outgoing::last_word(trouble) {
                let _it_ends_anyway = self.link.write(last_word).await;
            }
        }
        ended
    }

    /// Whether it ever worked.
    pub fn was_subscribed(&self) -> bool {
        !self.timers.is_asking()
    }

    /// Takes no more messages, writes acknowledgements until no more can come or `patience` is over, and says goodbye.
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

    async fn work(
        &mut self,
        deliveries: &mpsc::Sender<Vec<Delivery>>,
        stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        self.outbox.extend_from_slice(&outgoing::subscribe(&self.around.config)?);
        self.flush().await?;
        self.digest()?;
        loop {
            self.flush().await?;
            let is_held_back = self.offer(deliveries);
            self.look_at_the_backlog(is_held_back)?;
            let timer = sleep_until(self.next_timer(is_held_back));
            let may_read = !is_held_back && self.paused_until.is_none();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                tokens = self.acks.recv(), if self.acks_open => match tokens {
                    Some(tokens) => self.acknowledge(tokens),
                    None => self.acks_open = false,
                },
                () = timer => self.look_at_the_clock(is_held_back)?,
                permit = deliveries.reserve(), if !self.pending.is_empty() => match permit {
                    Ok(permit) => self.hand_over(permit),
                    Err(_) => return Ok(()),
                },
                drained = self.link.drain(&mut self.incoming), if may_read => {
                    drained?;
                    self.digest()?;
                }
            }
            if is_held_back {
                self.timers.hold_back(Instant::now());
            }
        }
    }

    /// Puts what was read where it belongs.
    fn digest(&mut self) -> Result<(), BrokerError> {
        let packets = self.incoming.len();
        let mut incoming = std::mem::take(&mut self.incoming);
        // The clock is read once for all of them, yet each has a moment of its own: a message without a time of its own is
        // told from its like by it.
        let mut received_at = next_receipt((self.around.clock)(), self.last_receipt);
        self.held_since = self.memory.held_since(received_at);
        self.read_much = packets >= MANY_PACKETS;
        let result = incoming.drain(..).try_for_each(|packet| {
            received_at = Timestamp::from_micros(received_at.micros() + 1);
            self.take(packet, received_at)
        });
        self.last_receipt = received_at;
        self.incoming = incoming;
        self.window.watch(self.inflight.unacked(), &self.around.metrics);
        result?;
        self.paused_until = self.around.pace.pause_until(Instant::now(), packets, self.pending_bytes);
        if self.paused_until.is_some() { self.link.leave_alone() } else { Ok(()) }
    }

    fn take(&mut self, packet: Incoming, received_at: Timestamp) -> Result<(), BrokerError> {
        match packet {
            Incoming::Publish(publish) => self.take_message(publish, received_at),
            Incoming::Unreadable => self.around.metrics.malformed.inc(),
            Incoming::SubAck { packet_id: MAIN_SUBSCRIPTION, codes } => return self.take_grant(&codes),
            Incoming::SubAck { packet_id: DROPPED_SUBSCRIPTION, codes } if codes.iter().any(|&code| code >= 0x80) => {
                tracing::debug!(
                    "the broker does not let us see {DROPPED_TOPIC}: messages it drops are not counted here"
                );
            }
            Incoming::UnsubAck { packet_id: FORMER_SUBSCRIPTIONS, codes } => self.memory.given_up(&codes),
            Incoming::PubRel { packet_id } => self.outbox.extend_from_slice(&outgoing::pubcomp(packet_id)),
            Incoming::Disconnect(farewell) => return Err(BrokerError::Dismissed(farewell)),
            Incoming::Auth { code } => return login::take_answer(self.renewal.as_mut(), code),
            Incoming::ConnAck(_) => return Err(Malformed::Type(2).into()),
            Incoming::SubAck { .. } | Incoming::UnsubAck { .. } | Incoming::PubAck { .. } | Incoming::PingResp => {}
        }
        Ok(())
    }

    fn take_message(&mut self, publish: Publish, received_at: Timestamp) {
        if publish.topic.starts_with(b"$SYS/") {
            return self.take_broker_note(&publish);
        }
        let Publish { topic, payload, cut_from, qos, packet_id, dup, malformed } = publish;
        if malformed {
            self.around.metrics.malformed.inc();
        }
        let maybe_repeated = dup || self.suspects > 0;
        self.suspects = self.suspects.saturating_sub(1);
        let bytes = topic.len() + payload.len();
        self.pending_bytes += bytes;
        let ack = (packet_id != 0).then_some(AckToken { connection: self.id, packet_id, exactly_once: qos == 2 });
        let redelivered = ack.is_some() && self.returning.came(packet_id, dup);
        if ack.is_some() {
            self.inflight.arrived(packet_id, bytes);
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

    /// What the broker says of itself is for the gauge, not for the tables.
    fn take_broker_note(&mut self, note: &Publish) {
        let number = std::str::from_utf8(&note.payload).ok().and_then(|text| text.trim().parse().ok());
        if let (DROPPED_TOPIC, Some(dropped)) = (str::from_utf8(&note.topic).unwrap_or_default(), number) {
            self.around.metrics.broker_dropped.set(dropped);
        }
        if note.packet_id != 0 {
            self.outbox.extend_from_slice(&outgoing::puback(note.packet_id));
        }
    }

    fn take_grant(&mut self, codes: &[u8]) -> Result<(), BrokerError> {
        let filter = || self.around.config.filter();
        match *codes {
            [1 | 2] => {
                self.timers.answered();
                self.around.metrics.connected.set(1);
                self.around.readiness.well(PART);
                tracing::info!(filter = filter(), connection = self.id.0, "connected to the broker and subscribed");
                self.outbox.extend_from_slice(&self.memory.granted(self.around)?);
                Ok(())
            }
            [0] => Err(BrokerError::Downgraded { filter: filter() }),
            [code] => Err(BrokerError::SubscriptionRefused { filter: filter(), code }),
            _ => Err(Malformed::Body(9).into()),
        }
    }

    /// Hands over what was read if the queue has room; whether reading must be held back.
    fn offer(&mut self, deliveries: &mpsc::Sender<Vec<Delivery>>) -> bool {
        if !self.pending.is_empty()
            && let Ok(permit) = deliveries.try_reserve()
        {
            self.hand_over(permit);
        }
        self.inflight.queue_holds(deliveries.max_capacity() - deliveries.capacity());
        // SUBACK stands behind the messages of a resumed session: until it is read, only the budget holds back.
        let waits = !self.pending.is_empty() || self.inflight.is_over_window(self.around.config.receive_maximum);
        waits && !self.timers.is_asking() || self.inflight.is_over_budget(self.pending_at_most_once)
    }

    fn look_at_the_backlog(&mut self, is_held_back: bool) -> Result<(), BrokerError> {
        let half_the_window = usize::from(self.around.config.receive_maximum / 2);
        let has_room = !is_held_back && self.inflight.unacked() <= half_the_window;
        let is_abreast = has_room && !self.read_much && self.was_subscribed();
        self.outbox.extend_from_slice(&self.memory.looked(self.around, is_abreast)?);
        Ok(())
    }

    fn hand_over(&mut self, permit: mpsc::Permit<'_, Vec<Delivery>>) {
        let lot = std::mem::take(&mut self.pending);
        let (whole, at_most_once) = (&mut self.pending_bytes, &mut self.pending_at_most_once);
        self.inflight.handed_over(std::mem::take(whole), std::mem::take(at_most_once));
        self.around.metrics.received.inc_by(lot.len() as u64);
        self.around.metrics.queue_depth.add(i64::try_from(lot.len()).unwrap_or(i64::MAX));
        permit.send(lot);
    }

    /// All that were given, and all that wait behind them, as one write at the end of the turn.
    fn acknowledge(&mut self, tokens: Vec<AckToken>) {
        let mut next = Some(tokens);
        while let Some(tokens) = next {
            for token in tokens {
                if token.connection != self.id {
                    self.around.metrics.void_acks.inc();
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
        self.window.watch(self.inflight.unacked(), &self.around.metrics);
    }

    /// The next acknowledgements; pings while there are none.
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

    /// The next moment at which something is due.
    fn next_timer(&self, is_held_back: bool) -> Instant {
        let now = Instant::now();
        let recheck = (self.pending.is_empty() && self.inflight.is_over_budget(self.pending_at_most_once))
            .then(|| now + BUDGET_RECHECK);
        let due = self.timers.next(self.link.heard(), is_held_back);
        let login = self.renewal.as_ref().map(Renewal::next);
        let look = Some(now + Duration::from_secs(LOOK_SECONDS));
        [due, recheck, self.paused_until, login, look].into_iter().flatten().min().unwrap_or(now + FAR)
    }

    fn look_at_the_clock(&mut self, is_held_back: bool) -> Result<(), BrokerError> {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|&until| until > now);
        if self.timers.check(now, self.link.heard(), is_held_back)? {
            self.outbox.extend_from_slice(&outgoing::PINGREQ);
        }
        match self.renewal.as_mut().map_or(Due::Nothing, |renewal| renewal.due(now)) {
            Due::Nothing => Ok(()),
            Due::Reconnect => Err(BrokerError::LoginAges),
            Due::Reauthenticate => {
                let packet = login::reauthentication(&self.around.config, (self.around.clock)())?;
                self.outbox.extend_from_slice(&packet);
                Ok(())
            }
        }
    }
}
