//! One connection to another broker, from CONNECT to its end.
//!
//! Its caller drives it: [`RemoteConnection::next`] writes what is buffered, reads, pings and renews the
//! login. It keeps no message: what the broker has not answered at the end is the caller's to send again.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, sleep_until, timeout};

use super::event::RemoteEvent;
use super::facts::RemoteFacts;
use super::grants::RemoteGrants;
use super::minting::{Minting, minted};
use super::remote_timers::{Outstanding, RemoteTimers};
use super::subscriptions::OpenSubscribes;
use super::target::RemoteTarget;
use crate::broker::error::BrokerError;
use crate::broker::login::{self, BrokerCredentials, Due, Renewal};
use crate::broker::session::backlog::next_receipt;
use crate::broker::session::read_pacing::ReadPacing;
use crate::broker::transport::malformed::Malformed;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing;
use crate::broker::transport::packets::{Incoming, Publish};
use crate::broker::transport::publish_encoder::{PublishLimits, Unpublishable, WINDOW_FULL};
use crate::broker::transport::publish_properties::EventProperties;
use crate::broker::transport::unanswered::Unanswered;
use crate::domain::exchange::OutgoingMessage;
use crate::domain::message::{AckToken, ConnectionId};
use crate::domain::remote::RemoteMessage;
use crate::domain::time::{Clock, Timestamp};

/// With this many unwritten bytes, the next call writes before it reports an event.
const EAGER_BYTES: usize = 16 * 1024;

/// Upper bound for the last packet after an error.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long answers and messages wait in the socket for others: a wake-up for each would cost more than
/// all other work, and would send each next message alone.
const READ_PAUSE: Duration = Duration::from_millis(1);

/// Upper bound for an idle timer.
pub(super) const FAR: Duration = Duration::from_hours(1);

/// A connection after CONNACK.
pub struct RemoteConnection {
    id: ConnectionId,
    clock: Clock,
    target: RemoteTarget,
    pub(super) link: MqttStream,
    grants: RemoteGrants,
    limits: PublishLimits,
    /// Packets that were read and not yet handled.
    incoming: Vec<Incoming>,
    pacing: ReadPacing,
    /// Nothing is read before.
    paused_until: Option<Instant>,
    /// Bytes that the next turn writes.
    pub(super) unwritten: BytesMut,
    /// What was handled and not yet reported.
    events: VecDeque<RemoteEvent>,
    /// Why the connection ended; reported after all events before it.
    ended: Option<BrokerError>,
    is_over: bool,
    unanswered: Unanswered<()>,
    pub(super) subscribes: OpenSubscribes,
    pub(super) timers: RemoteTimers,
    /// When the login must be replaced; `None` means never.
    pub(super) renewal: Option<Renewal>,
    pub(super) minting: Option<Minting>,
    last_receipt: Timestamp,
    /// Whether the caller takes no message.
    pub(super) is_paused: bool,
    /// When it last began to take messages again: no answer is late before that.
    resumed_at: Instant,
    has_warned: bool,
}

// === impl RemoteConnection ===

impl RemoteConnection {
    /// Connects, logs in, and waits for CONNACK. Each step has an upper bound. `facts` is filled as far
    /// as the connect comes, also if it fails.
    pub async fn open(
        target: &RemoteTarget,
        clock: Clock,
        id: ConnectionId,
        facts: &mut RemoteFacts,
    ) -> Result<Self, BrokerError> {
        let config = &target.broker;
        let login = BrokerCredentials::for_connection_by(config, &target.names, clock).await?;
        let connect = outgoing::remote_connect(config, &login, target.clean_start)?;
        let mut link = MqttStream::open_remote(target, facts).await?;
        let mut incoming = Vec::new();
        let connack = link.send_connect(&connect, &mut incoming).await?;
        let grants = RemoteGrants::of(&connack, config.session_expiry_seconds)?;
        let now = Instant::now();
        let mut connection = Self {
            id,
            clock,
            target: target.clone(),
            link,
            limits: PublishLimits::of(&connack),
            incoming,
            pacing: ReadPacing::new(READ_PAUSE),
            paused_until: None,
            unwritten: BytesMut::new(),
            events: VecDeque::new(),
            ended: None,
            is_over: false,
            unanswered: Unanswered::new(Some(grants.receive_maximum), u16::MAX),
            subscribes: OpenSubscribes::default(),
            timers: RemoteTimers::new(
                now,
                config.keepalive,
                grants.server_keep_alive,
                target.packet_patience,
            ),
            renewal: login.renewal(),
            minting: None,
            last_receipt: Timestamp::default(),
            is_paused: false,
            resumed_at: now,
            has_warned: false,
            grants,
        };
        // Messages of a kept session may arrive right behind CONNACK.
        connection.ended = connection.handle_incoming().err();
        Ok(connection)
    }

    /// Its number.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// What CONNACK granted.
    pub fn granted(&self) -> &RemoteGrants {
        &self.grants
    }

    /// Whether the broker accepts another message before it answers one.
    pub fn has_room(&self) -> bool {
        self.unanswered.has_room()
    }

    /// Messages that the broker has not answered.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// When the login token expires; `None`: there is none.
    pub fn token_expires_at(&self) -> Option<Instant> {
        self.renewal.as_ref().map(Renewal::expires_at)
    }

    /// Bytes that are buffered and not written.
    pub fn unwritten_bytes(&self) -> usize {
        self.unwritten.len()
    }

    /// Buffers a message at QoS 1 and returns its packet identifier. What the broker would end the
    /// connection for is not sent; [`WINDOW_FULL`] means that the broker must first answer another.
    pub fn publish(&mut self, message: &OutgoingMessage) -> Result<u16, Unpublishable> {
        if !self.unanswered.has_room() {
            return Err(Unpublishable(WINDOW_FULL));
        }
        let packet_id = self.unanswered.next_id();
        self.limits.encode(message, packet_id, &mut self.unwritten)?;
        self.unanswered.record_sent(packet_id, Instant::now(), ());
        Ok(packet_id)
    }

    /// Renews the login with the next turn, before it is due; void for a login that the connection
    /// cannot renew.
    pub fn renew_now(&mut self) {
        if let Some(renewal) = &mut self.renewal {
            renewal.bring_forward();
        }
    }

    /// Buffers PUBACK or PUBREC. A token of another connection is void; then it returns false.
    pub fn acknowledge(&mut self, token: &AckToken) -> bool {
        let is_mine = token.connection == self.id;
        if is_mine {
            self.unwritten.extend_from_slice(&if token.exactly_once {
                outgoing::pubrec(token.packet_id)
            } else {
                outgoing::puback(token.packet_id)
            });
        }
        is_mine
    }

    /// Writes what is buffered and waits for the next event. Cancel safe. An error ends the connection.
    pub async fn next(&mut self) -> Result<RemoteEvent, BrokerError> {
        if std::mem::take(&mut self.is_paused) {
            self.resumed_at = Instant::now();
        }
        loop {
            if self.unwritten.len() >= EAGER_BYTES && !self.is_over {
                self.link.write_ready(&mut self.unwritten).await;
            }
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if self.ended.is_some() || self.is_over {
                self.say_farewell().await;
                return Err(self.ended.take().unwrap_or(BrokerError::Closed));
            }
            self.ended = self.turn().await.err();
        }
    }

    /// Waits for one thing to happen, and handles it.
    async fn turn(&mut self) -> Result<(), BrokerError> {
        if let Some(until) = self.paused_until {
            self.link.write_ready(&mut self.unwritten).await;
            sleep_until(until).await;
            self.paused_until = None;
        }
        let due = self.next_timer();
        tokio::select! {
            biased;
            () = sleep_until(due) => {
                self.read_what_is_there().await?;
                self.run_timers()
            }
            minted = minted(&mut self.minting), if self.minting.is_some() => {
                self.minting = None;
                self.unwritten.extend(minted?);
                Ok(())
            }
            drained = self.link.exchange(&mut self.unwritten, &mut self.incoming) => {
                drained?;
                self.handle_incoming()
            }
        }
    }

    /// Reads without a wait. The caller may not have polled for long: an answer that is in the socket
    /// arrived in time, and no timer may take it for missing.
    async fn read_what_is_there(&mut self) -> Result<(), BrokerError> {
        let read = tokio::select! {
            biased;
            read = self.link.exchange(&mut self.unwritten, &mut self.incoming) => read,
            () = std::future::ready(()) => return Ok(()),
        };
        read?;
        self.handle_incoming()
    }

    /// The DISCONNECT that an error requires, once.
    async fn say_farewell(&mut self) {
        let final_packet = self.ended.as_ref().and_then(outgoing::final_packet);
        if !std::mem::replace(&mut self.is_over, true)
            && let Some(final_packet) = final_packet
        {
            let mut last = std::mem::take(&mut self.unwritten);
            last.extend_from_slice(final_packet);
            let _ends_anyway = timeout(FAREWELL_TIMEOUT, self.link.write(&last)).await;
        }
    }

    /// Handles every packet that was read.
    fn handle_incoming(&mut self) -> Result<(), BrokerError> {
        self.last_receipt = next_receipt((self.clock)(), self.last_receipt);
        let packets = self.incoming.len();
        let mut incoming = std::mem::take(&mut self.incoming);
        let result = incoming.drain(..).try_for_each(|packet| self.handle_packet(packet));
        self.incoming = incoming;
        result?;
        self.paused_until = self.pacing.pause_until(Instant::now(), packets, 0);
        if self.paused_until.is_some() { self.link.stop_watching() } else { Ok(()) }
    }

    fn handle_packet(&mut self, packet: Incoming) -> Result<(), BrokerError> {
        match packet {
            Incoming::Publish(publish) => return self.handle_publish(publish),
            Incoming::PubAck { packet_id, code, reason } => {
                if self.unanswered.answered(packet_id).is_some() {
                    self.events.push_back(RemoteEvent::Answered { packet_id, code, reason });
                } else {
                    tracing::debug!(
                        packet_id,
                        "the broker answered a message that it was not sent"
                    );
                }
            }
            Incoming::SubAck { packet_id, codes } => {
                if self.subscribes.answered(packet_id, &codes)? {
                    self.events.push_back(RemoteEvent::Granted { packet_id, codes });
                }
            }
            Incoming::UnsubAck { packet_id, codes } => {
                if self.subscribes.answered(packet_id, &codes)? {
                    self.events.push_back(RemoteEvent::Unsubscribed { packet_id, codes });
                }
            }
            Incoming::PubRel { packet_id } => {
                self.unwritten.extend_from_slice(&outgoing::pubcomp(packet_id));
            }
            Incoming::Auth { code } => {
                login::take_answer(self.renewal.as_mut(), code)?;
                self.events.push_back(RemoteEvent::Renewed);
            }
            Incoming::Disconnect(reason) => {
                return Err(login::dismissed(self.renewal.as_ref(), reason));
            }
            Incoming::ConnAck(connack) => {
                return Err(login::second_connack(self.renewal.as_ref(), &connack));
            }
            Incoming::Unreadable => self.warn_of_unreadable(),
            Incoming::PingResp => {}
        }
        Ok(())
    }

    /// Each message gets its own microsecond, which tells equal messages apart.
    fn handle_publish(&mut self, publish: Publish) -> Result<(), BrokerError> {
        if publish.topic.is_empty() {
            return Err(Malformed::Alias.into());
        }
        self.last_receipt = Timestamp::from_micros(self.last_receipt.micros() + 1);
        let Publish { topic, payload, cut_from, qos, packet_id, dup, retain, properties, .. } =
            publish;
        let EventProperties { common, content_type, user_properties } =
            EventProperties::read(&properties);
        let ack = (packet_id != 0).then_some(AckToken {
            connection: self.id,
            packet_id,
            exactly_once: qos == 2,
        });
        self.events.push_back(RemoteEvent::Message(RemoteMessage {
            topic,
            payload,
            cut_from,
            content_type,
            user_properties,
            correlation: common.correlation,
            expires_in: common.expires_in,
            is_retained: retain,
            dup,
            received_at: self.last_receipt,
            ack,
        }));
        Ok(())
    }

    fn warn_of_unreadable(&mut self) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                host = self.target.broker.host,
                "the other broker sent a message without a readable topic; Sluice skips such messages"
            );
        }
    }

    fn outstanding(&self) -> Outstanding {
        let since = |sent: Instant| sent.max(self.resumed_at);
        Outstanding {
            last_received: since(self.link.last_received()),
            packet_began: self.link.packet_began().map(since),
            oldest_message: self.unanswered.oldest().map(since),
            oldest_subscribe: self.subscribes.oldest().map(since),
            write_overdue: self.link.write_overdue_at(),
        }
    }

    fn next_timer(&self) -> Instant {
        let login = self.renewal.as_ref().map(Renewal::next);
        let due = self.timers.next(self.outstanding());
        // A packet that begins meanwhile is judged at the next look.
        let look = Instant::now() + self.target.packet_patience / 4;
        [due, login].into_iter().flatten().min().map_or(look, |due| due.min(look))
    }

    fn run_timers(&mut self) -> Result<(), BrokerError> {
        let now = Instant::now();
        if self.timers.check(now, self.outstanding())? {
            self.unwritten.extend_from_slice(&outgoing::PINGREQ);
        }
        self.renew_if_due(now)
    }

    pub(super) fn renew_if_due(&mut self, now: Instant) -> Result<(), BrokerError> {
        match self.renewal.as_mut().map_or(Due::Nothing, |renewal| renewal.due(now)) {
            Due::Nothing => {}
            Due::Reconnect => return Err(BrokerError::LoginAges),
            Due::Reauthenticate => {
                let (config, names) = (self.target.broker.clone(), self.target.names.clone());
                self.minting = Some(Box::pin(login::mint_reauthentication(config, names)));
            }
        }
        Ok(())
    }
}
