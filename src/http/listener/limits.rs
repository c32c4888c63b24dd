//! A listener whose connections end: each has a deadline for every part of a request, a number of bytes it may send, and
//! only so many are open.
//!
//! So a client that connects and sends nothing, or sends a byte now and then, or reads nothing, or sends without end, holds
//! one place for a while and no more; and when all places are taken, it gives way to the newest (see [`Places`]). It knows
//! no HTTP but what the middleware [`follow`] reports.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
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
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};

use super::places::{Evicted, Held, Pace, Place, Places};
use crate::telemetry::http::ListenerMetrics;

/// A head that is sent slower has a reason to be.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(5);

/// What one connection, and all of them, may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// Connections open at a time; the next takes the place of the one least worth keeping.
    pub connections: usize,
    /// How long one may last; none: as long as it is used.
    pub lifetime: Option<Duration>,
    /// How long the parts of a request may take.
    pub pace: Pace,
    /// How many bytes one request may have.
    pub sent_bytes: usize,
}

/// Accepts connections within the limits.
pub(crate) struct LimitedListener {
    inner: TcpListener,
    places: Places,
    accepted: u64,
    limits: ConnectionLimits,
}

/// A connection within the limits. Its place is free again when it is dropped.
pub(crate) struct LimitedStream {
    inner: TcpStream,
    /// Its last moment, whatever it does.
    end: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
    left: usize,
    sent_bytes: usize,
    place: Place,
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer(Arc<Held>);

/// Put among the extensions of an answer to who was not understood, or does not know the secret: such an answer makes the
/// connection no better worth keeping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unproven;

/// Reports to the connection how far its request is. The outermost layer of each listener.
pub(crate) async fn follow(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    peer.0.asked(!request.body().is_end_stream());
    let response = next.run(request).await;
    peer.0.answered(response.extensions().get::<Unproven>().is_none());
    response
}

// === impl LimitedListener ===

impl LimitedListener {
    pub(crate) fn new(inner: TcpListener, limits: ConnectionLimits, numbers: ListenerMetrics) -> Self {
        Self { inner, places: Places::new(limits.connections, limits.pace, numbers), accepted: 0, limits }
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
        // The broker waits for each answer: none is held back to be sent with the next.
        if let Err(error) = inner.set_nodelay(true) {
            tracing::debug!(%error, "answers may be delayed");
        }
        let ConnectionLimits { lifetime, pace, sent_bytes, .. } = self.limits;
        let end = lifetime.map(|lifetime| Instant::now() + lifetime);
        let alarm = Box::pin(tokio::time::sleep(pace.head));
        (LimitedStream { inner, end, alarm, left: sent_bytes, sent_bytes, place }, peer)
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

    /// The body of the request has come, and it is worked on.
    pub(crate) fn arrived(&self) {
        self.0.arrived();
    }
}

impl Connected<IncomingStream<'_, LimitedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, LimitedListener>) -> Self {
        Self(stream.io().place.held())
    }
}

// === impl LimitedStream ===

impl LimitedStream {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let due = self.place.look(cx).map_err(|Evicted| io::Error::from(io::ErrorKind::ConnectionAborted))?;
            let due = [due, self.end].into_iter().flatten().min();
            // It is set back only when it rings too late: a busy connection would else set it at each request.
            match due {
                Some(due) if due < self.alarm.deadline() => self.alarm.as_mut().reset(due),
                _ => {}
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let now = Instant::now();
            match due {
                Some(due) if due <= now => {
                    self.place.timed_out();
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Some(due) => self.alarm.as_mut().reset(due),
                None => self.alarm.as_mut().reset(now + HEAD_TIME),
            }
        }
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = written {
            self.place.was_written();
        }
        written
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        match self.left.checked_sub(read) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other("the client sent too much"))),
        }
        if read > 0 {
            self.place.was_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        if self.place.was_flushed() {
            self.left = self.sent_bytes;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
