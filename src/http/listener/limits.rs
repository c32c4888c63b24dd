//! A listener with bounded connections: a deadline for each part of a request, a limit of sent
//! bytes, and a limit of open connections.
//!
//! A client that sends nothing, sends or reads slowly, or sends without end holds one place for a
//! bounded time. If all places are taken, it loses its place to a new connection (see [`Places`]).
//! It knows HTTP only through the middleware [`report_progress`].

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, Sleep};

use super::places::{Evicted, HeldPlace, Pace, Place, Places};
use crate::telemetry::http::ListenerMetrics;

/// How long the head of a request may take to arrive.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The buffer of a socket that carries a stream of events, in bytes.
const STREAM_BUFFER: u32 = 16 * 1024;

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// The most open connections; a further one takes the place of the least valuable.
    pub connections: usize,
    /// How long a connection may last. `None` means as long as it is used.
    pub lifetime: Option<Duration>,
    /// The deadlines of the parts of a request.
    pub pace: Pace,
    /// The most bytes of a request.
    pub sent_bytes: usize,
}

/// Accepts connections within the limits.
pub(crate) struct LimitedListener {
    inner: TcpListener,
    places: Places,
    accepted: u64,
    limits: ConnectionLimits,
}

/// A connection within the limits. Dropping it frees its place.
pub(crate) struct LimitedStream {
    inner: TcpStream,
    /// The deadline of the whole connection.
    end: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    bytes_left: usize,
    sent_bytes: usize,
    has_small_buffer: bool,
    place: Place,
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer(Arc<HeldPlace>);

/// Marks a response, in its extensions, to a malformed or unauthenticated request: it does not
/// raise the value of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unproven;

/// Marks a response, in its extensions, as a stream of events: its connection lasts so long, holds its
/// place while no event comes, and closes if its peer does not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventStreamLifetime(pub Duration);

/// Reports the progress of a request to its connection. It is the outermost layer of each listener.
pub(crate) async fn report_progress(
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    peer.0.record_head(!request.body().is_end_stream());
    let response = next.run(request).await;
    match response.extensions().get::<EventStreamLifetime>() {
        Some(EventStreamLifetime(lifetime)) => peer.0.record_stream(*lifetime),
        None => peer.0.record_response(response.extensions().get::<Unproven>().is_none()),
    }
    response
}

/// Sets the buffer of a connected socket, by another handle of it.
fn shrink_send_buffer(stream: &TcpStream) -> io::Result<()> {
    let handle = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    TcpSocket::from_std_stream(handle).set_send_buffer_size(STREAM_BUFFER)
}

// === impl LimitedListener ===

impl LimitedListener {
    pub(crate) fn new(
        inner: TcpListener,
        limits: ConnectionLimits,
        metrics: ListenerMetrics,
    ) -> Self {
        Self {
            inner,
            places: Places::new(limits.connections, limits.pace, metrics),
            accepted: 0,
            limits,
        }
    }
}

impl Listener for LimitedListener {
    type Io = LimitedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedStream, SocketAddr) {
        let (inner, peer) = Listener::accept(&mut self.inner).await;
        self.accepted += 1;
        let Some(place) = self.places.take(self.accepted, peer.ip().to_canonical()).await else {
            return std::future::pending().await;
        };
        // The broker waits for each response, so none may be delayed to be sent with the next.
        if let Err(error) = inner.set_nodelay(true) {
            tracing::debug!(%error, "responses may be delayed");
        }
        let ConnectionLimits { lifetime, pace, sent_bytes, .. } = self.limits;
        let end = lifetime.map(|lifetime| Instant::now() + lifetime);
        let timer = Box::pin(tokio::time::sleep(pace.head));
        let has_small_buffer = false;
        let bytes_left = sent_bytes;
        (LimitedStream { inner, end, timer, bytes_left, sent_bytes, has_small_buffer, place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

// === impl Peer ===

impl Peer {
    pub(crate) fn ip(&self) -> IpAddr {
        self.0.peer()
    }

    /// Records that the body has arrived and the request runs.
    pub(crate) fn arrived(&self) {
        self.0.arrived();
    }
}

impl Connected<IncomingStream<'_, LimitedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, LimitedListener>) -> Self {
        stream.io().peer()
    }
}

// === impl LimitedStream ===

impl LimitedStream {
    /// Its other end.
    pub(crate) fn peer(&self) -> Peer {
        Peer(self.place.held())
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let due = self
                .place
                .deadline(cx)
                .map_err(|Evicted| io::Error::from(io::ErrorKind::ConnectionAborted))?;
            let end = self.place.stream_end().or(self.end);
            let due = [due, end].into_iter().flatten().min();
            // The timer moves only to an earlier deadline: a busy connection would otherwise reset
            // it at each request.
            match due {
                Some(due) if due < self.timer.deadline() => self.timer.as_mut().reset(due),
                _ => {}
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let now = Instant::now();
            match due {
                Some(due) if due <= now => {
                    self.place.timed_out();
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Some(due) => self.timer.as_mut().reset(due),
                None => self.timer.as_mut().reset(now + HEAD_TIMEOUT),
            }
        }
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(1..)) => self.place.was_written(),
            // The timer waits for the end of the peer's patience.
            Poll::Pending if self.place.was_blocked() => self.check(cx)?,
            _ => {}
        }
        written
    }

    /// A stream whose peer does not read is noticed when the buffer of the socket is full: a small one
    /// is full within seconds.
    fn keep_buffer_small(&mut self) {
        if !self.has_small_buffer && self.place.stream_end().is_some() {
            self.has_small_buffer = true;
            if let Err(error) = shrink_send_buffer(&self.inner) {
                tracing::debug!(%error, "a slow reader of a stream may be noticed late");
            }
        }
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        match self.bytes_left.checked_sub(read) {
            Some(bytes_left) => self.bytes_left = bytes_left,
            None => {
                return Poll::Ready(Err(io::Error::other("the client sent more than the limit")));
            }
        }
        if read > 0 {
            self.place.was_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        self.keep_buffer_small();
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        self.keep_buffer_small();
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        if self.place.was_flushed() {
            self.bytes_left = self.sent_bytes;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
