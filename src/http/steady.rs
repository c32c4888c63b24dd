//! A listener for a peer that asks again and again on the same connection: only so many are open, and one on which nothing
//! was heard for long ends.
//!
//! It knows no HTTP. A connection in use is never ended from here: the broker would take that for a fault.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// How long a new connection may take to say its first word: whoever never asks must not hold a place for long.
const FIRST_WORD: Duration = Duration::from_secs(5);

/// Accepts connections, so many at a time; the next wait in the system's backlog.
pub(super) struct SteadyListener {
    inner: TcpListener,
    places: Arc<Semaphore>,
    silence: Duration,
}

/// A connection that ends when nothing is heard on it. Its place is free again when it is dropped.
pub(super) struct SteadyStream {
    inner: TcpStream,
    end: Pin<Box<Sleep>>,
    silence: Duration,
    _place: OwnedSemaphorePermit,
}

// === impl SteadyListener ===

impl SteadyListener {
    pub(super) fn new(inner: TcpListener, connections: usize, silence: Duration) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(connections)), silence }
    }
}

impl Listener for SteadyListener {
    type Io = SteadyStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (SteadyStream, SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return std::future::pending().await;
        };
        let (inner, peer) = Listener::accept(&mut self.inner).await;
        // The broker waits for each answer: none is held back to be sent with the next.
        if let Err(error) = inner.set_nodelay(true) {
            tracing::debug!(%error, "answers to the broker may be delayed");
        }
        let end = Box::pin(tokio::time::sleep(self.silence.min(FIRST_WORD)));
        (SteadyStream { inner, end, silence: self.silence, _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

// === impl SteadyStream ===

impl AsyncRead for SteadyStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Pending => {
                ready!(self.end.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Ready(read) => {
                if buf.filled().len() > before {
                    let end = Instant::now() + self.silence;
                    self.end.as_mut().reset(end);
                }
                Poll::Ready(read)
            }
        }
    }
}

impl AsyncWrite for SteadyStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
