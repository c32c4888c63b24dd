//! One framed connection, TCP or TLS: bytes in and out, packets in.
//!
//! It never reconnects and knows no session: unwritten bytes are lost when it ends.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::coop;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::packets::{ConnAck, Incoming, Malformed, Splitter};
use super::quiet_tcp::QuietTcp;
use super::tls;
use crate::broker::error::BrokerError;
use crate::config::sections::broker::BrokerConfig;
use crate::{disk, tls_roots};

/// Upper bound for name lookup, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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

type Stream = Box<dyn Duplex>;

/// Bytes both ways over TCP.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    /// The connection beneath.
    fn wire(&mut self) -> &mut QuietTcp;
}

impl Duplex for QuietTcp {
    fn wire(&mut self) -> &mut QuietTcp {
        self
    }
}

impl Duplex for TlsStream<QuietTcp> {
    fn wire(&mut self) -> &mut QuietTcp {
        self.get_mut().0
    }
}

// === impl MqttStream ===

impl MqttStream {
    /// Connects as `MQTT_HOST`, `MQTT_PORT` and the TLS settings say.
    pub async fn open(config: &BrokerConfig) -> Result<Self, BrokerError> {
        let opening = timeout(CONNECT_TIMEOUT, open_stream(config)).await;
        let stream = opening.map_err(|_| BrokerError::ConnectTimeout {
            address: format!("{}:{}", config.host, config.port),
            seconds: CONNECT_TIMEOUT.as_secs(),
        })??;
        Ok(Self::over(stream, config.max_packet_bytes))
    }

    /// Connects to any address by TLS.
    pub(crate) async fn open_tls(
        host: &str,
        port: u16,
        connector: &TlsConnector,
    ) -> Result<Self, BrokerError> {
        let opening = timeout(CONNECT_TIMEOUT, async {
            let tcp = open_tcp(host, port).await?;
            secure(connector, host, "BROKER_PROBE_ADDR", tcp).await
        });
        let stream = opening.await.map_err(|_| BrokerError::ConnectTimeout {
            address: format!("{host}:{port}"),
            seconds: CONNECT_TIMEOUT.as_secs(),
        })??;
        Ok(Self::over(stream, CHUNK))
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
            Incoming::ConnAck(ConnAck { code, reason, .. }) => {
                Err(BrokerError::Refused { code, reason })
            }
            Incoming::Disconnect(reason) => Err(BrokerError::Dismissed(reason)),
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

    fn over(stream: Stream, max_packet_bytes: usize) -> Self {
        Self {
            stream,
            splitter: Splitter::new(max_packet_bytes),
            inbox: BytesMut::with_capacity(CHUNK),
            ended: None,
            last_received: Instant::now(),
        }
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
                    self.ended =
                        self.splitter.split(&mut self.inbox, incoming).err().map(BrokerError::from);
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

    fn make_room(&mut self) {
        if self.inbox.is_empty() && self.inbox.capacity() > LARGEST_KEPT {
            self.inbox = BytesMut::with_capacity(CHUNK);
        } else if self.inbox.capacity() - self.inbox.len() < LEAST_ROOM {
            self.inbox.reserve(CHUNK);
        }
    }
}

// --- private helpers ---

async fn open_stream(config: &BrokerConfig) -> Result<Stream, BrokerError> {
    let tcp = open_tcp(&config.host, config.port).await?;
    let Some(settings) = config.tls.clone() else { return Ok(Box::new(tcp)) };
    let path = settings.ca_cert.clone().unwrap_or_else(|| tls_roots::SYSTEM.into());
    let connector =
        disk::run(&path, move || tls::connector(&settings)).await.map_err(BrokerError::Disk)??;
    secure(&connector, &config.host, "MQTT_HOST", tcp).await
}

async fn open_tcp(host: &str, port: u16) -> Result<QuietTcp, BrokerError> {
    let found = lookup_host((host, port)).await;
    let addresses: Vec<_> =
        found.map_err(|source| BrokerError::Name { host: host.to_owned(), source })?.collect();
    let tcp = TcpStream::connect(addresses.as_slice())
        .await
        .map_err(|source| BrokerError::Unreachable { address: format!("{host}:{port}"), source })?;
    // Acknowledgements are written in whole batches: Nagle's algorithm would gain nothing.
    tcp.set_nodelay(true).map_err(BrokerError::Broken)?;
    Ok(QuietTcp::new(tcp))
}

async fn secure(
    connector: &TlsConnector,
    host: &str,
    setting: &str,
    tcp: QuietTcp,
) -> Result<Stream, BrokerError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|why| BrokerError::TlsFile {
        setting: format!("{setting} ({host})"),
        why: why.to_string(),
    })?;
    let stream = connector
        .connect(name, tcp)
        .await
        .map_err(|error| BrokerError::of_io(error).before_connack())?;
    Ok(Box::new(stream))
}
