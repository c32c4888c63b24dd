//! One framed connection over TCP, TLS or a websocket: bytes in and out, packets in.
//!
//! It never reconnects and knows no session: unwritten bytes are lost when it ends.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::coop;
use tokio::time::{Instant, timeout};

use super::dial::{self, BrokerRoute};
use super::duplex::{Duplex, Stream};
use super::malformed::Malformed;
use super::packets::{ConnAck, Incoming, Splitter};
use super::tls::BrokerTlsConnector;
use crate::broker::error::BrokerError;
use crate::broker::remote::facts::RemoteFacts;
use crate::broker::remote::target::RemoteTarget;
use crate::config::sections::broker::BrokerConfig;

/// Upper bound for CONNACK and SUBACK.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A broker that accepts no bytes for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Upper bound for the broker's close after DISCONNECT. Packets it has not read by then lead to
/// redeliveries.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Read buffer: some two hundred messages. They share its memory, so its size is the most that one
/// message can retain.
const CHUNK: usize = 64 * 1024;

/// With less room than this, a new buffer is used.
const LEAST_ROOM: usize = 4 * 1024;

/// A buffer that grew beyond this for a large packet is released after it.
const LARGEST_KEPT: usize = 4 * CHUNK;

/// The most bytes of one turn of reading, so that other tasks run too.
const TURN_BYTES: usize = 1024 * 1024;

/// About the most packets of one turn.
const TURN_PACKETS: usize = 2048;

/// A connection to the broker.
pub struct MqttStream {
    stream: Stream,
    splitter: Splitter,
    inbox: BytesMut,
    /// Why reading ended; returned after all packets before it.
    ended: Option<BrokerError>,
    last_received: Instant,
    /// When the packet began of which a part is here.
    packet_began: Option<Instant>,
    /// Since when the socket has taken no byte of those that [`Self::exchange`] writes.
    write_stalled: Option<Instant>,
    /// Whether a layer may still hold written bytes.
    is_unflushed: bool,
}

/// Why a turn of reading ended.
enum TurnEnd {
    /// The socket has no further bytes.
    SocketEmpty,
    /// The turn's share is used up; other tasks get their turn.
    ShareUsed,
    /// The connection ended, with the error in `ended`.
    Closed,
}

// === impl MqttStream ===

impl MqttStream {
    /// Connects as `MQTT_HOST`, `MQTT_PORT` and the TLS settings say.
    pub async fn open(config: &BrokerConfig) -> Result<Self, BrokerError> {
        let stream =
            BrokerRoute::to_daemons_broker(config).open(&mut RemoteFacts::default()).await?;
        Ok(Self::over(stream, config.max_packet_bytes))
    }

    /// Connects to another broker, and records what it sees on the way.
    pub async fn open_remote(
        target: &RemoteTarget,
        facts: &mut RemoteFacts,
    ) -> Result<Self, BrokerError> {
        let stream = BrokerRoute::to(target).open(facts).await?;
        Ok(Self::over(stream, target.broker.max_packet_bytes))
    }

    /// Connects to any address by TLS.
    pub(crate) async fn open_tls(
        host: &str,
        port: u16,
        connector: &BrokerTlsConnector,
    ) -> Result<Self, BrokerError> {
        Ok(Self::over(dial::open_tls(host, port, connector).await?, CHUNK))
    }

    /// Sends CONNECT and waits for CONNACK. Packets that follow it directly are added to
    /// `incoming`.
    pub async fn send_connect(
        &mut self,
        connect: &[u8],
        incoming: &mut Vec<Incoming>,
    ) -> Result<ConnAck, BrokerError> {
        let answer = timeout(ANSWER_TIMEOUT, async {
            self.write(connect).await?;
            self.drain(incoming).await
        });
        match answer.await {
            Ok(drained) => drained.map_err(BrokerError::before_connack)?,
            Err(_) => {
                return Err(BrokerError::NoAnswer {
                    packet: "CONNECT",
                    seconds: ANSWER_TIMEOUT.as_secs(),
                });
            }
        }
        match incoming.remove(0) {
            Incoming::ConnAck(answer) if answer.code == 0 => Ok(answer),
            Incoming::ConnAck(ConnAck { code, reason, server, .. }) => {
                Err(BrokerError::Refused { code, reason, server })
            }
            Incoming::Disconnect(reason) => Err(BrokerError::Dismissed(reason)),
            Incoming::Auth { code } => Err(BrokerError::AuthContinued { code }),
            _ => Err(Malformed::NotConnAck.into()),
        }
    }

    /// Waits for bytes, then reads all that are there, up to one turn's share, without yielding.
    /// Adds at least one packet to `incoming`, or fails. Cancel safe.
    pub async fn drain(&mut self, incoming: &mut Vec<Incoming>) -> Result<(), BrokerError> {
        std::future::poll_fn(|cx| self.poll_drain(cx, incoming)).await
    }

    /// Leaves arriving bytes in the socket, without wake-ups, until the next [`Self::drain`].
    pub fn stop_watching(&mut self) -> Result<(), BrokerError> {
        self.stream.wire().stop_watching().map_err(BrokerError::of_io)
    }

    /// Writes all bytes or ends the connection: a peer that does not read cannot block for long.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BrokerError> {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(WRITE_TIMEOUT, writing).await {
            Ok(written) => {
                self.stream.wire().send_quick_ack();
                written.map_err(BrokerError::of_io)
            }
            Err(_) => Err(BrokerError::WriteStalled { seconds: WRITE_TIMEOUT.as_secs() }),
        }
    }

    /// Writes what the socket takes of `out`, and reads as [`Self::drain`] does, until packets arrive.
    /// Cancel safe: `out` keeps what is not written.
    pub async fn exchange(
        &mut self,
        out: &mut BytesMut,
        incoming: &mut Vec<Incoming>,
    ) -> Result<(), BrokerError> {
        std::future::poll_fn(|cx| {
            let written = self.poll_write_out(cx, out);
            // What the broker said before it closed explains a failed write.
            match (self.poll_drain(cx, incoming), written) {
                (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                (drained, _) => drained,
            }
        })
        .await
    }

    /// Writes what the socket takes of `out` now. An error shows at the next [`Self::exchange`].
    pub async fn write_ready(&mut self, out: &mut BytesMut) {
        std::future::poll_fn(|cx| {
            let _the_next_write_fails_too = self.poll_write_out(cx, out);
            Poll::Ready(())
        })
        .await;
    }

    /// When a write is overdue that the broker does not take; `None`: all bytes are written.
    pub fn write_overdue_at(&self) -> Option<Instant> {
        self.write_stalled.map(|since| since + WRITE_TIMEOUT)
    }

    /// The error of an overdue write.
    pub fn write_stall() -> BrokerError {
        BrokerError::WriteStalled { seconds: WRITE_TIMEOUT.as_secs() }
    }

    /// Writes a final packet and waits, for a bounded time, until the broker closes: then it has
    /// read everything.
    pub async fn close(mut self, final_packet: &[u8]) {
        let closing = async {
            self.write(final_packet).await?;
            let mut unread = BytesMut::with_capacity(CHUNK);
            while self.stream.read_buf(&mut unread).await.map_err(BrokerError::of_io)? > 0 {
                unread.clear();
            }
            self.stream.shutdown().await.map_err(BrokerError::of_io)
        };
        match timeout(CLOSE_TIMEOUT, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "the broker did not close the connection after DISCONNECT");
            }
            Err(_) => tracing::debug!("the broker did not close the connection after DISCONNECT"),
        }
    }

    /// When the last bytes came.
    pub fn last_received(&self) -> Instant {
        self.last_received
    }

    /// When the packet began of which only a part has come; `None`: there is none.
    pub fn packet_began(&self) -> Option<Instant> {
        self.packet_began
    }

    fn over(stream: Stream, max_packet_bytes: usize) -> Self {
        Self {
            stream,
            splitter: Splitter::new(max_packet_bytes),
            inbox: BytesMut::with_capacity(CHUNK),
            ended: None,
            last_received: Instant::now(),
            packet_began: None,
            write_stalled: None,
            is_unflushed: false,
        }
    }

    /// Ready once all bytes are written.
    fn poll_write_out(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut BytesMut,
    ) -> Poll<Result<(), BrokerError>> {
        while !out.is_empty() {
            self.is_unflushed = true;
            match Pin::new(&mut self.stream).poll_write(cx, out) {
                Poll::Ready(Ok(0)) => {
                    let error = io::Error::from(io::ErrorKind::WriteZero);
                    return Poll::Ready(Err(BrokerError::Broken(error)));
                }
                Poll::Ready(Ok(bytes)) => {
                    out.advance(bytes);
                    self.write_stalled = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(BrokerError::of_io(error))),
                Poll::Pending => return self.stalled(),
            }
        }
        if self.is_unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.stream.wire().send_quick_ack(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(BrokerError::of_io(error))),
                Poll::Pending => return self.stalled(),
            }
            self.is_unflushed = false;
            self.write_stalled = None;
        }
        Poll::Ready(Ok(()))
    }

    fn stalled(&mut self) -> Poll<Result<(), BrokerError>> {
        self.write_stalled.get_or_insert_with(Instant::now);
        Poll::Pending
    }

    /// Ready with packets, or with the error that ended the connection. Pending without either: the
    /// task is woken when bytes arrive, or at once if the turn's share is used up within a packet.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        incoming: &mut Vec<Incoming>,
    ) -> Poll<Result<(), BrokerError>> {
        let before = incoming.len();
        let end = self.read_turn(cx, incoming);
        if incoming.len() > before {
            self.stream.wire().send_quick_ack();
            return Poll::Ready(Ok(()));
        }
        match end {
            TurnEnd::Closed => Poll::Ready(Err(self.ended.take().unwrap_or(BrokerError::Closed))),
            TurnEnd::SocketEmpty => Poll::Pending,
            TurnEnd::ShareUsed => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Reads and splits until one of the three ends.
    fn read_turn(&mut self, cx: &mut Context<'_>, incoming: &mut Vec<Incoming>) -> TurnEnd {
        let before = incoming.len();
        let mut read = 0;
        while self.ended.is_none() {
            if read >= TURN_BYTES || incoming.len() - before >= TURN_PACKETS {
                return TurnEnd::ShareUsed;
            }
            self.make_room();
            // Outside tokio's budget: this turn has its own limit, and the budget would cut the
            // read short.
            let reading = coop::unconstrained(self.stream.read_buf(&mut self.inbox));
            match pin!(reading).poll(cx) {
                Poll::Pending => return TurnEnd::SocketEmpty,
                Poll::Ready(Ok(0)) => self.ended = Some(BrokerError::Closed),
                Poll::Ready(Ok(bytes)) => {
                    read += bytes;
                    self.last_received = Instant::now();
                    let known = incoming.len();
                    self.ended =
                        self.splitter.split(&mut self.inbox, incoming).err().map(BrokerError::from);
                    self.note_part(incoming.len() > known);
                    let wire = self.stream.wire();
                    if wire.is_empty() && incoming.len() > before && !wire.has_more() {
                        return TurnEnd::SocketEmpty;
                    }
                }
                Poll::Ready(Err(error)) => self.ended = Some(BrokerError::of_io(error)),
            }
        }
        TurnEnd::Closed
    }

    /// Records since when a packet is incomplete; `has_ended`: one before it has just ended.
    fn note_part(&mut self, has_ended: bool) {
        let is_part = !self.inbox.is_empty() || self.splitter.is_dropping();
        if has_ended || !is_part {
            self.packet_began = is_part.then_some(self.last_received);
        } else {
            self.packet_began.get_or_insert(self.last_received);
        }
    }

    fn make_room(&mut self) {
        if self.inbox.is_empty() && self.inbox.capacity() > LARGEST_KEPT {
            self.inbox = BytesMut::with_capacity(CHUNK);
        } else if self.inbox.capacity() - self.inbox.len() < LEAST_ROOM {
            self.inbox.reserve(CHUNK);
        }
    }
}
