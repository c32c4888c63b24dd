//! A listener whose connections end: each has a time to live and a number of bytes it may send, and only so many are open.
//!
//! So a client that connects and sends nothing, or reads nothing, or sends without end, holds one place for a while and
//! no more; and when all places are taken, whoever has sent nothing yet gives way to the newest. It knows no HTTP.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What one connection, and all of them, may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections open at a time; the next takes the place of one that has sent nothing, or waits.
    pub connections: usize,
    /// How long one may last.
    pub lifetime: Duration,
    /// How many bytes one may send.
    pub sent_bytes: usize,
}

/// Accepts connections within the limits.
pub(super) struct LimitedListener {
    inner: TcpListener,
    places: Arc<Semaphore>,
    silent: Silent,
    accepted: u64,
    limits: Limits,
}

/// The connections that have sent nothing yet, in the order they came; never more than there are places.
#[derive(Clone, Default)]
struct Silent(Arc<Mutex<BTreeMap<u64, CancellationToken>>>);

/// Stands among the silent until dropped.
struct Silence {
    number: u64,
    among: Silent,
    dismissed: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// A connection within the limits. Its place is free again when it is dropped.
pub(super) struct LimitedStream {
    inner: TcpStream,
    end: Pin<Box<Sleep>>,
    left: usize,
    silence: Option<Silence>,
    _place: OwnedSemaphorePermit,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub SocketAddr);

// === impl LimitedListener ===

impl LimitedListener {
    pub(super) fn new(inner: TcpListener, limits: Limits) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections));
        Self { inner, places, silent: Silent::default(), accepted: 0, limits }
    }
}

impl Listener for LimitedListener {
    type Io = LimitedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedStream, SocketAddr) {
        let (inner, peer) = Listener::accept(&mut self.inner).await;
        if self.places.available_permits() == 0 {
            self.silent.dismiss_the_oldest();
        }
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return std::future::pending().await;
        };
        self.accepted += 1;
        let silence = Some(self.silent.enter(self.accepted));
        let end = Box::pin(tokio::time::sleep(self.limits.lifetime));
        (LimitedStream { inner, end, left: self.limits.sent_bytes, silence, _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

// === impl Peer ===

impl Connected<IncomingStream<'_, LimitedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, LimitedListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

// === impl Silent ===

impl Silent {
    fn enter(&self, number: u64) -> Silence {
        let token = CancellationToken::new();
        let dismissed = Box::pin(token.clone().cancelled_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, token);
        Silence { number, among: self.clone(), dismissed }
    }

    fn dismiss_the_oldest(&self) {
        let oldest = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
        if let Some((_, token)) = oldest {
            token.cancel();
        }
    }
}

// === impl Silence ===

impl Drop for Silence {
    fn drop(&mut self) {
        self.among.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

// === impl LimitedStream ===

impl LimitedStream {
    fn check_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(silence) = &mut self.silence
            && silence.dismissed.as_mut().poll(cx).is_ready()
        {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_time(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        match self.left.checked_sub(buf.filled().len() - before) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other("the client sent too much"))),
        }
        // Its first bytes, or its goodbye: it is silent no longer.
        self.silence = None;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_time(cx)?;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_time(cx)?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_time(cx)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
