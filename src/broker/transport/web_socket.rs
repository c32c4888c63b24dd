//! A websocket as bytes both ways: what is written becomes binary frames, and the binary frames that
//! arrive become what is read.
//!
//! MQTT's packets may span frames or share one, so no frame border is kept. Pings are answered while
//! reading. It does no handshake.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Message, Role, WebSocket, WebSocketConfig,
};

use super::web_socket_fault::WebSocketFault;

/// Most payload of a frame that is written.
const FRAME_BYTES: usize = 64 * 1024;

/// Most bytes that wait for the socket: two frames with their heads.
const UNWRITTEN_BYTES: usize = 2 * (FRAME_BYTES + 64);

/// Read buffer.
const READ_BYTES: usize = 16 * 1024;

/// Most frames without payload that one read skips before other tasks get their turn.
const SKIPPED_FRAMES: usize = 64;

/// Most characters kept of the reason of a close frame.
const REASON_MAX: usize = 123;

/// Bytes over the websocket on `S`.
pub struct WebSocketBytes<S> {
    socket: WebSocket<Polled<S>>,
    /// The largest message that is accepted.
    limit: usize,
    /// The rest of a message.
    unread: Bytes,
    /// The server has closed it.
    is_over: bool,
    /// A close frame is queued.
    is_closing: bool,
}

/// Blocking calls on a stream that is polled: where it would wait, the waker is registered.
struct Polled<S> {
    stream: S,
    waker: Waker,
}

// === impl WebSocketBytes ===

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketBytes<S> {
    /// The client's side after the upgrade; `begun` are bytes that arrived behind it. No message may be
    /// larger than `limit`.
    pub fn of_client(stream: S, begun: Vec<u8>, limit: usize) -> Self {
        let polled = Polled { stream, waker: Waker::noop().clone() };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(UNWRITTEN_BYTES)
            .max_message_size(Some(limit))
            .max_frame_size(Some(limit));
        let socket = WebSocket::from_partially_read(polled, begun, Role::Client, Some(config));
        Self { socket, limit, unread: Bytes::new(), is_over: false, is_closing: false }
    }

    /// The stream that carries the frames.
    pub fn beneath(&mut self) -> &mut S {
        &mut self.socket.get_mut().stream
    }

    fn wake_with(&mut self, cx: &Context<'_>) {
        self.socket.get_mut().waker.clone_from(cx.waker());
    }

    /// Takes the next frame: `Ok(true)` if there may be more.
    fn read_frame(&mut self) -> Result<bool, Error> {
        match self.socket.read()? {
            Message::Binary(payload) => self.unread = payload,
            // The next read or write sends the answer to a ping.
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(frame) => {
                self.is_over = true;
                let _the_server_closes_anyway = self.socket.flush();
                return frame.as_ref().map_or(Ok(false), closed);
            }
            Message::Text(_) | Message::Frame(_) => {
                self.is_over = true;
                let unsupported = CloseFrame { code: CloseCode::Unsupported, reason: "".into() };
                let _the_connection_ends_anyway = self.socket.close(Some(unsupported));
                return Err(Error::Io(io::Error::other(WebSocketFault::Text)));
            }
        }
        Ok(true)
    }

    /// The error of a read or write; `None`: it would wait.
    fn fault(&mut self, error: Error) -> Option<io::Error> {
        let fault = match error {
            Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Error::Io(error) => return Some(error),
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(
                ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing,
            ) => return Some(io::ErrorKind::UnexpectedEof.into()),
            Error::Capacity(_) => WebSocketFault::TooLarge { limit: self.limit },
            other => WebSocketFault::Protocol(other.to_string()),
        };
        self.is_over = true;
        Some(io::Error::other(fault))
    }

    fn poll_done(&mut self, done: Result<(), Error>) -> Poll<io::Result<()>> {
        match done {
            Ok(()) | Err(Error::ConnectionClosed) => Poll::Ready(Ok(())),
            Err(error) => self.fault(error).map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.wake_with(cx);
        for _ in 0..SKIPPED_FRAMES {
            if !self.unread.is_empty() {
                let bytes = self.unread.len().min(buf.remaining());
                buf.put_slice(&self.unread[..bytes]);
                self.unread.advance(bytes);
                return Poll::Ready(Ok(()));
            }
            if self.is_over {
                return Poll::Ready(Ok(()));
            }
            match self.read_frame() {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(Ok(())),
                Err(error) => {
                    let Some(error) = self.fault(error) else { return Poll::Pending };
                    let is_end = error.kind() == io::ErrorKind::UnexpectedEof;
                    return Poll::Ready(if is_end { Ok(()) } else { Err(error) });
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wake_with(cx);
        let piece = &bytes[..bytes.len().min(FRAME_BYTES)];
        let mut frame = Message::Binary(Bytes::copy_from_slice(piece));
        loop {
            match self.socket.write(frame) {
                Ok(()) => return Poll::Ready(Ok(piece.len())),
                // There is no room for the frame: the socket must take earlier ones first.
                Err(Error::WriteBufferFull(returned)) => {
                    frame = *returned;
                    let flushed = self.socket.flush();
                    match self.poll_done(flushed) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Err(error) => {
                    // Where it would wait, the frame is queued all the same.
                    let failed = self.fault(error);
                    return Poll::Ready(failed.map_or(Ok(piece.len()), Err));
                }
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wake_with(cx);
        let flushed = self.socket.flush();
        self.poll_done(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wake_with(cx);
        let said = if self.is_closing { self.socket.flush() } else { self.socket.close(None) };
        self.is_closing = true;
        if self.poll_done(said).is_pending() {
            return Poll::Pending;
        }
        Pin::new(self.beneath()).poll_shutdown(cx)
    }
}

// === impl Polled ===

impl<S: AsyncRead + Unpin> Read for Polled<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        let mut cx = Context::from_waker(&self.waker);
        match Pin::new(&mut self.stream).poll_read(&mut cx, &mut buf) {
            Poll::Ready(read) => read.map(|()| buf.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S: AsyncWrite + Unpin> Write for Polled<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut cx = Context::from_waker(&self.waker);
        match Pin::new(&mut self.stream).poll_write(&mut cx, bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut cx = Context::from_waker(&self.waker);
        match Pin::new(&mut self.stream).poll_flush(&mut cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

// --- private helpers ---

/// A normal close is the end of the bytes; any other is an error with the server's reason.
fn closed(frame: &CloseFrame) -> Result<bool, Error> {
    let code = u16::from(frame.code);
    let reason: String =
        frame.reason.chars().filter(|text| !text.is_control()).take(REASON_MAX).collect();
    if frame.code == CloseCode::Normal && reason.is_empty() {
        return Ok(false);
    }
    Err(Error::Io(io::Error::other(WebSocketFault::Closed { code, reason })))
}
