//! A listener with TLS on top of the bounded one: the handshake belongs to its connection, so a
//! client that does not finish it delays no other.
//!
//! The deadlines and the places of [`LimitedListener`] hold for the handshake, too.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::Accept;
use tokio_rustls::server::TlsStream;

use super::tls::ActiveTls;
use crate::http::listener::limits::{LimitedListener, LimitedStream, Peer};
use crate::telemetry::est::EstMetrics;

/// Accepts connections that begin with a TLS handshake.
pub(super) struct TlsListener {
    inner: LimitedListener,
    tls: ActiveTls,
    metrics: EstMetrics,
}

/// A connection, before and after its handshake.
pub(super) struct TlsConnection {
    state: TlsState,
    peer: EstPeer,
    metrics: EstMetrics,
}

enum TlsState {
    Handshake(Box<Accept<LimitedStream>>),
    Open(Box<TlsStream<LimitedStream>>),
    /// The handshake failed, or the connection was closed before its end.
    Closed,
}

/// The other end of a connection, and the certificate that it showed.
#[derive(Clone)]
pub(super) struct EstPeer {
    connection: Peer,
    certificate: Arc<OnceLock<CertificateDer<'static>>>,
}

/// Lets the layers of every listener find the connection.
pub(super) async fn expose_connection(
    ConnectInfo(peer): ConnectInfo<EstPeer>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(ConnectInfo(peer.connection));
    next.run(request).await
}

// === impl TlsListener ===

impl TlsListener {
    pub(super) const fn new(inner: LimitedListener, tls: ActiveTls, metrics: EstMetrics) -> Self {
        Self { inner, tls, metrics }
    }
}

impl Listener for TlsListener {
    type Io = TlsConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TlsConnection, SocketAddr) {
        let (stream, address) = self.inner.accept().await;
        let peer = EstPeer { connection: stream.peer(), certificate: Arc::default() };
        let state = TlsState::Handshake(Box::new(self.tls.acceptor().accept(stream)));
        (TlsConnection { state, peer, metrics: self.metrics.clone() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

// === impl EstPeer ===

impl EstPeer {
    pub(super) const fn connection(&self) -> &Peer {
        &self.connection
    }

    /// The certificate that the device showed, verified against the authority.
    pub(super) fn certificate(&self) -> Option<&[u8]> {
        self.certificate.get().map(|certificate| &**certificate)
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for EstPeer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.io().peer.clone()
    }
}

// === impl TlsConnection ===

impl TlsConnection {
    /// The stream behind the handshake, which this carries on.
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut TlsStream<LimitedStream>>>> {
        if let TlsState::Handshake(accept) = &mut self.state {
            match ready!(Pin::new(&mut **accept).poll(cx)) {
                Ok(stream) => {
                    let shown = stream.get_ref().1.peer_certificates();
                    if let Some(own) = shown.and_then(<[CertificateDer<'_>]>::first) {
                        let _ = self.peer.certificate.set(own.clone().into_owned());
                    }
                    self.state = TlsState::Open(Box::new(stream));
                }
                Err(error) => {
                    self.metrics.failed_handshakes.inc();
                    tracing::debug!(%error, "a TLS handshake at the EST listener failed; Sluice closes the connection");
                    self.state = TlsState::Closed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        match &mut self.state {
            TlsState::Open(stream) => Poll::Ready(Ok(Pin::new(&mut **stream))),
            TlsState::Handshake(_) | TlsState::Closed => {
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
        }
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_open(cx))?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.state {
            TlsState::Open(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            TlsState::Handshake(_) | TlsState::Closed => {
                this.state = TlsState::Closed;
                Poll::Ready(Ok(()))
            }
        }
    }
}
