//! The loop of one connection of the exchange, from CONNACK to its end: messages to the broker, their
//! outcomes back, requests to the dispatcher.
//!
//! It never connects and never waits for the dispatcher. A request is acknowledged as soon as it is
//! handed over: requests are not durable, and their senders repeat them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::exchange_context::{ExchangeContext, ExchangeLasting, OpenExchange};
use super::exchange_timers::{ExchangeTimers, Pending};
use super::sent_message::{SentMessage, WINDOW_MAX};
use super::subscriptions::{MARKER_SUBSCRIPTION, OpenSubscriptions, SubscriptionAnswer};
use super::{ExchangeState, QueuedMessage};
use crate::broker::error::BrokerError;
use crate::broker::login::{self, Renewal};
use crate::broker::transport::malformed::Malformed;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing;
use crate::broker::transport::packets::{Incoming, Publish};
use crate::broker::transport::publish_encoder::{PublishLimits, Unpublishable};
use crate::broker::transport::unanswered::Unanswered;
use crate::domain::exchange::{ExchangeOutcome, OutgoingMessage, PublishTopic};
use crate::domain::message::ConnectionId;

/// How long the messages that are queued at `stop` may take.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// The connection that messages wait for which were sent without one.
const FIRST_CONNECTION: ConnectionId = ConnectionId(1);

/// Codes of PUBACK from this one on mean a refusal.
const REFUSED: u8 = 0x80;

/// One connection of the exchange.
pub(super) struct Serving<'a> {
    context: &'a ExchangeContext,
    id: ConnectionId,
    link: MqttStream,
    lasting: ExchangeLasting<'a>,
    incoming: Vec<Incoming>,
    unwritten: BytesMut,
    limits: PublishLimits,
    unanswered: Unanswered<SentMessage>,
    subscriptions: OpenSubscriptions,
    /// Topics to try before the next message.
    tries: VecDeque<PublishTopic>,
    renewal: Option<Renewal>,
    timers: ExchangeTimers,
}

// === impl Serving ===

impl<'a> Serving<'a> {
    pub(super) fn new(
        context: &'a ExchangeContext,
        id: ConnectionId,
        open: OpenExchange,
        lasting: ExchangeLasting<'a>,
    ) -> Self {
        let OpenExchange { link, connack, incoming, renewal } = open;
        let keepalive = connack
            .server_keep_alive
            .map_or(context.config.keepalive, |secs| Duration::from_secs(secs.into()))
            .clamp(Duration::from_secs(1), context.config.keepalive);
        Self {
            context,
            id,
            link,
            lasting,
            incoming,
            unwritten: BytesMut::new(),
            limits: PublishLimits::of(&connack),
            unanswered: Unanswered::new(connack.receive_maximum, WINDOW_MAX),
            subscriptions: OpenSubscriptions::new(&context.subscriptions, &context.config),
            tries: VecDeque::new(),
            renewal,
            timers: ExchangeTimers::new(Instant::now(), keepalive),
        }
    }

    /// Serves until `stop` (`Ok`) or the end of the connection (`Err`).
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<(), BrokerError> {
        let required = self.context.subscriptions.writes.iter().filter(|write| write.is_required);
        self.tries = required.filter_map(|write| write.try_topic.clone()).collect();
        let packet = self.subscriptions.begin()?;
        self.push_subscribe(&packet);
        self.advance()?;
        self.handle_incoming()?;
        loop {
            self.send_tries();
            self.flush().await?;
            self.show_depths();
            let timer = sleep_until(self.next_timer());
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = timer => self.run_timers()?,
                Some(queued) = self.lasting.ends.outgoing.recv(), if self.may_send() => {
                    self.send_queued(queued);
                }
                drained = self.link.drain(&mut self.incoming) => {
                    drained?;
                    self.handle_incoming()?;
                }
            }
        }
    }

    /// Publishes what is queued until every handle is gone and every message is answered, for a
    /// bounded time; then disconnects.
    pub(super) async fn wind_down(mut self) {
        let publishing = async {
            let mut is_open = true;
            while is_open || self.unanswered.len() > 0 {
                self.flush().await?;
                tokio::select! {
                    biased;
                    queued = self.lasting.ends.outgoing.recv(), if is_open && self.may_send() => {
                        match queued {
                            Some(queued) => self.send_queued(queued),
                            None => is_open = false,
                        }
                    }
                    drained = self.link.drain(&mut self.incoming) => {
                        drained?;
                        self.handle_answers();
                    }
                }
            }
            Ok::<(), BrokerError>(())
        };
        match timeout(STOP_PATIENCE, publishing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the exchange ended before its last message"),
            Err(_) => tracing::debug!("the exchange has unanswered messages at the stop"),
        }
        self.link.close(&outgoing::DISCONNECT).await;
    }

    /// Writes the final packet that an error requires; the outcome of unanswered messages is
    /// unknown.
    pub(super) async fn end_with(mut self, error: BrokerError) -> BrokerError {
        if let Some(final_packet) = outgoing::final_packet(&error) {
            let _connection_ends_anyway = self.link.write(final_packet).await;
        }
        error
    }

    /// Shows that there is no connection.
    pub(super) fn show_disconnected(&self) {
        self.lasting.ends.state.send_replace(ExchangeState::Disconnected);
        self.context.metrics.connection.connected.set(0);
        self.context.metrics.connection.unacked.set(0);
    }

    /// Whether the next message may be sent. Tries come first.
    fn may_send(&self) -> bool {
        self.tries.is_empty() && self.unanswered.has_room()
    }

    /// Buffers a message, and those that wait behind it, as one write. Those of an earlier connection
    /// are not sent.
    fn send_queued(&mut self, queued: QueuedMessage) {
        let mut next = Some(queued);
        while let Some(QueuedMessage { message, outcome, connection }) = next {
            if connection.unwrap_or(FIRST_CONNECTION) == self.id {
                self.send(message, Some(outcome));
            } else {
                let _nobody_waits = outcome.send(ExchangeOutcome::Unknown);
            }
            next = self.may_send().then(|| self.lasting.ends.outgoing.try_recv().ok()).flatten();
        }
    }

    /// Buffers an empty message to each topic that is due for a try.
    fn send_tries(&mut self) {
        while self.unanswered.has_room()
            && let Some(topic) = self.tries.pop_front()
        {
            let message = OutgoingMessage::json(topic, Bytes::new()).expiring(1);
            self.send(OutgoingMessage { content_type: None, ..message }, None);
        }
    }

    fn send(
        &mut self,
        message: OutgoingMessage,
        outcome: Option<oneshot::Sender<ExchangeOutcome>>,
    ) {
        let packet_id = self.unanswered.next_id();
        let encoded = self.limits.encode(&message, packet_id, &mut self.unwritten);
        let sent = SentMessage { topic: message.topic, outcome };
        match encoded {
            Ok(()) => self.unanswered.record_sent(packet_id, Instant::now(), sent),
            Err(Unpublishable(code)) => {
                self.context.metrics.count_refused(code);
                tracing::debug!(topic = %sent.topic, code, "the broker cannot accept the message");
                sent.finish(ExchangeOutcome::Refused(code));
            }
        }
    }

    async fn flush(&mut self) -> Result<(), BrokerError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let written = self.link.write(&self.unwritten).await;
        self.unwritten.clear();
        written
    }

    fn push_subscribe(&mut self, packet: &[u8]) {
        if !packet.is_empty() {
            self.timers.subscribed(Instant::now());
        }
        self.unwritten.extend_from_slice(packet);
    }

    /// Handles every packet that was read.
    fn handle_incoming(&mut self) -> Result<(), BrokerError> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let result = incoming.drain(..).try_for_each(|packet| self.handle_packet(packet));
        self.incoming = incoming;
        result
    }

    fn handle_packet(&mut self, packet: Incoming) -> Result<(), BrokerError> {
        match packet {
            Incoming::Publish(publish) => return self.handle_publish(&publish),
            Incoming::PubAck { packet_id, code, .. } => self.handle_puback(packet_id, code),
            Incoming::SubAck { packet_id, codes } => return self.handle_suback(packet_id, &codes),
            Incoming::PubRel { packet_id } => {
                self.unwritten.extend_from_slice(&outgoing::pubcomp(packet_id));
            }
            Incoming::Unreadable => self.context.metrics.connection.malformed.inc(),
            Incoming::Disconnect(reason) => {
                return Err(login::dismissed(self.renewal.as_ref(), reason));
            }
            Incoming::Auth { code } => return login::take_answer(self.renewal.as_mut(), code),
            Incoming::ConnAck(connack) => {
                return Err(login::second_connack(self.renewal.as_ref(), &connack));
            }
            Incoming::PingResp if self.subscriptions.pong() => return self.advance(),
            Incoming::UnsubAck { .. } | Incoming::PingResp => {}
        }
        Ok(())
    }

    fn handle_publish(&mut self, publish: &Publish) -> Result<(), BrokerError> {
        match publish.qos {
            0 => {}
            1 => self.unwritten.extend_from_slice(&outgoing::puback(publish.packet_id)),
            _ => self.unwritten.extend_from_slice(&outgoing::pubrec(publish.packet_id)),
        }
        if publish.malformed {
            self.context.metrics.connection.malformed.inc();
        } else if self.subscriptions.is_marker(&publish.topic) {
            self.subscriptions.marker_arrived(Bytes::copy_from_slice(&publish.payload));
            return self.advance();
        } else {
            let at = ((self.context.clock)(), self.id);
            self.lasting.requests.push(publish, at, &self.context.metrics);
        }
        Ok(())
    }

    fn handle_puback(&mut self, packet_id: u16, code: u8) {
        let Some(sent) = self.unanswered.answered(packet_id) else { return };
        let writes = &self.context.subscriptions.writes;
        if code < REFUSED {
            self.lasting.refusals.write_accepted(&sent.topic, writes);
            sent.finish(ExchangeOutcome::Accepted);
        } else {
            self.context.metrics.count_refused(code);
            self.lasting.refusals.write_refused(&sent.topic, code, writes, Instant::now());
            sent.finish(ExchangeOutcome::Refused(code));
        }
        if code >= REFUSED || self.unanswered.tries() == 0 {
            self.report();
        }
    }

    fn handle_suback(&mut self, packet_id: u16, codes: &[u8]) -> Result<(), BrokerError> {
        match self.subscriptions.answered(packet_id, codes) {
            SubscriptionAnswer::Foreign => return Err(Malformed::Body(9).into()),
            SubscriptionAnswer::Granted(filter) => {
                self.lasting.refusals.subscription_granted(&filter);
            }
            SubscriptionAnswer::Refused(filter, code) => {
                self.lasting.refusals.subscription_refused(&filter, code, Instant::now());
            }
        }
        if packet_id == MARKER_SUBSCRIPTION && self.subscriptions.is_marker_awaited() {
            self.timers.await_marker(Instant::now());
            self.unwritten.extend_from_slice(&outgoing::PINGREQ);
        }
        self.advance()
    }

    /// Subscribes to requests once the marker is known, and shows the state of the connection.
    fn advance(&mut self) -> Result<(), BrokerError> {
        let packet = self.subscriptions.next_subscribe()?;
        self.push_subscribe(&packet);
        if !self.subscriptions.is_subscribing() {
            self.timers.subscribe_answered();
        }
        if self.subscriptions.is_complete() {
            let connection = self.id;
            let state =
                ExchangeState::Connected { connection, marker: self.subscriptions.marker() };
            self.lasting.ends.state.send_if_modified(|shown| {
                let is_new = *shown != state;
                *shown = state;
                is_new
            });
            let is_whole = !self.lasting.refusals.has_subscription();
            self.context.metrics.connection.connected.set(is_whole.into());
        }
        self.report();
        Ok(())
    }

    /// Reports what the broker refuses, once all tries are answered.
    fn report(&mut self) {
        let is_trying = !self.tries.is_empty() || self.unanswered.tries() > 0;
        if is_trying || !self.subscriptions.is_complete() {
            return;
        }
        let now = Instant::now().into_std();
        match self.lasting.refusals.sentence() {
            None => self.lasting.health.worked(now),
            Some(refused) => self.lasting.health.failed(&refused, now),
        }
    }

    fn show_depths(&mut self) {
        let shown = |depth: usize| i64::try_from(depth).unwrap_or(i64::MAX);
        let metrics = &self.context.metrics;
        metrics.connection.outgoing_depth.set(shown(self.lasting.ends.outgoing.len()));
        metrics.connection.unacked.set(shown(self.unanswered.len()));
        self.lasting.requests.show_depth(metrics);
    }

    fn pending(&self) -> Pending {
        Pending {
            last_received: self.link.last_received(),
            oldest_message: self.unanswered.oldest(),
        }
    }

    fn next_timer(&self) -> Instant {
        let login = self.renewal.as_ref().map(Renewal::next);
        let due = self.timers.next(self.pending());
        let next = [due, login, self.lasting.refusals.retry_at()].into_iter().flatten().min();
        next.unwrap_or_else(|| Instant::now() + self.context.config.keepalive)
    }

    fn run_timers(&mut self) -> Result<(), BrokerError> {
        let now = Instant::now();
        let due = self.timers.check(now, self.pending())?;
        if due.ping {
            self.unwritten.extend_from_slice(&outgoing::PINGREQ);
        }
        if due.marker_is_late {
            self.subscriptions.give_up_marker();
            self.advance()?;
        }
        self.try_refused(now)?;
        let clock = (now, (self.context.clock)());
        let packet = login::renew(self.renewal.as_mut(), &self.context.config, clock)?;
        self.unwritten.extend_from_slice(&packet);
        Ok(())
    }

    /// Tries again what the broker has refused, if that is due: its access rules may be others now.
    fn try_refused(&mut self, now: Instant) -> Result<(), BrokerError> {
        let Some(topics) = self.lasting.refusals.due(now) else { return Ok(()) };
        self.tries.extend(topics);
        let refusals = &self.lasting.refusals;
        let packet = self.subscriptions.retry(|filter| refusals.is_subscription_refused(filter))?;
        self.push_subscribe(&packet);
        self.report();
        Ok(())
    }

    /// Handles the answers to messages, and nothing else: requests stay at the broker.
    fn handle_answers(&mut self) {
        for packet in std::mem::take(&mut self.incoming) {
            if let Incoming::PubAck { packet_id, code, .. } = packet {
                self.handle_puback(packet_id, code);
            }
        }
    }
}
