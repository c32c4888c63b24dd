//! A TCP connection that can be left alone for a while: then nothing that arrives on it wakes anybody.
//!
//! The runtime watches every socket it knows, and the kernel reports each message as it comes, also to a process that does
//! not mean to read yet: that waking costs more than all the reading. So for a pause the socket is taken out of the watch,
//! and the first reading that finds it empty puts it back. It loses and delays nothing but what comes within the pause, and
//! it decides no pause itself.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The most that one reading of an unwatched socket takes: its place must be cleared before.
const PIECE: usize = 16 * 1024;

/// The connection.
pub struct QuietTcp {
    state: QuietState,
    /// The last reading took all there was.
    is_empty: bool,
}

enum QuietState {
    /// The runtime says when there is something to read.
    Watched(TcpStream),
    /// Nobody says anything.
    Alone(std::net::TcpStream),
    /// It could not be put from one hand into the other; it is closed.
    Lost,
}

// === impl Wire ===

impl QuietTcp {
    /// A connection that is watched.
    pub fn new(tcp: TcpStream) -> Self {
        Self { state: QuietState::Watched(tcp), is_empty: false }
    }

    /// Stops watching until a reading finds nothing.
    pub fn leave_alone(&mut self) -> io::Result<()> {
        self.state = match std::mem::replace(&mut self.state, QuietState::Lost) {
            QuietState::Watched(tcp) => QuietState::Alone(tcp.into_std()?),
            other => other,
        };
        self.is_empty = false;
        Ok(())
    }

    /// Whether the last reading took all there was, so that another would only find that out.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Has the kernel confirm at once what it received. A Mosquitto without `set_tcp_nodelay` sends one message and keeps the
    /// next back until the first is confirmed, which the kernel would put off for up to 40 ms. It forgets, so it is
    /// told after each reading and writing; where it cannot be told, messages only come in lumps.
    pub fn hurry_the_peer(&self) {
        #[cfg(target_os = "linux")]
        let _ = match &self.state {
            QuietState::Watched(tcp) => tcp.set_quickack(true),
            QuietState::Alone(tcp) => std::os::linux::net::TcpStreamExt::set_quickack(tcp, true),
            QuietState::Lost => Ok(()),
        };
    }

    /// Confirms what was received and looks whether that set more free. On the same machine what the peer had kept back is
    /// there by now; read a pause later, it would be that much older. Told only of an unwatched socket.
    pub fn has_more(&self) -> bool {
        self.hurry_the_peer();
        matches!(self.alone(|tcp| tcp.peek(&mut [0])), Some(Ok(1..)))
    }

    fn watch(&mut self) -> io::Result<&mut TcpStream> {
        self.state = match std::mem::replace(&mut self.state, QuietState::Lost) {
            QuietState::Alone(tcp) => QuietState::Watched(TcpStream::from_std(tcp)?),
            other => other,
        };
        match &mut self.state {
            QuietState::Watched(tcp) => Ok(tcp),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// What came of trying it on the unwatched socket; none when the runtime has to say when to try again.
    fn alone<T>(&self, mut work: impl FnMut(&std::net::TcpStream) -> io::Result<T>) -> Option<io::Result<T>> {
        let QuietState::Alone(tcp) = &self.state else { return None };
        loop {
            match work(tcp) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                done => return Some(done),
            }
        }
    }
}

impl AsyncRead for QuietTcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if matches!(self.state, QuietState::Alone(_)) {
            let room = buf.remaining().min(PIECE);
            let piece = buf.initialize_unfilled_to(room);
            if let Some(read) = self.alone(|mut tcp| tcp.read(piece)) {
                let bytes = read?;
                buf.advance(bytes);
                self.is_empty = bytes < room;
                return Poll::Ready(Ok(()));
            }
        }
        self.is_empty = false;
        Pin::new(self.watch()?).poll_read(cx, buf)
    }
}

impl AsyncWrite for QuietTcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.alone(|mut tcp| tcp.write(bytes)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(self.watch()?).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.alone(|mut tcp| tcp.write_vectored(parts)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(self.watch()?).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.alone(|tcp| tcp.shutdown(Shutdown::Write)) {
            Some(done) => Poll::Ready(done),
            None => Pin::new(self.watch()?).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (QuietTcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (QuietTcp::new(near), listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_comes_while_it_is_left_alone_is_read_after_it_and_what_comes_later_wakes_again() {
        let (mut wire, mut peer) = pair().await;
        let mut read = Vec::new();
        for round in 0..50_u8 {
            wire.leave_alone().unwrap();
            peer.write_all(&[round; 100]).await.unwrap();
            while read.len() < 100 {
                wire.read_buf(&mut read).await.unwrap();
            }
            assert_eq!(read, [round; 100]);
            read.clear();
            // Whether it is watched again by now or not: an answer goes out, and one that comes late is heard.
            wire.write_all(b"ok").await.unwrap();
            assert_eq!(peer.read_u16().await.unwrap().to_be_bytes(), *b"ok");
            let late = async {
                tokio::task::yield_now().await;
                peer.write_all(b"late").await.unwrap();
            };
            let (heard, ()) = tokio::join!(wire.read_u32(), late);
            assert_eq!(heard.unwrap().to_be_bytes(), *b"late");
        }
    }

    /// The peer leaves Nagle's algorithm on, as Mosquitto does: its second word waits until the first is confirmed.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_the_peer_kept_back_is_there_once_the_rest_is_confirmed() {
        const ROUNDS: u32 = 200;
        let (mut wire, peer) = pair().await;
        let mut peer = peer.into_std().unwrap();
        let mut whole_at_once = 0;
        for _ in 0..ROUNDS {
            wire.leave_alone().unwrap();
            assert!(!wire.has_more());
            peer.write_all(b"one").unwrap();
            peer.write_all(b"two").unwrap();
            let mut read = Vec::new();
            wire.read_buf(&mut read).await.unwrap();
            if wire.has_more() {
                wire.read_buf(&mut read).await.unwrap();
            }
            whole_at_once += u32::from(read == b"onetwo");
            while read.len() < 6 {
                wire.read_buf(&mut read).await.unwrap();
            }
        }
        // On a busy machine the kernel may carry the confirmation later; without one, all but the first few would be halves.
        assert!(whole_at_once > ROUNDS / 4, "{whole_at_once} of {ROUNDS}");
    }

    #[tokio::test]
    async fn an_end_is_seen_also_when_it_was_left_alone() {
        let (mut wire, mut peer) = pair().await;
        wire.leave_alone().unwrap();
        peer.shutdown().await.unwrap();
        assert_eq!(wire.read(&mut [0; 8]).await.unwrap(), 0);
        wire.shutdown().await.unwrap();
        assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_writing_that_finds_no_room_waits_for_it() {
        let (mut wire, mut peer) = pair().await;
        wire.leave_alone().unwrap();
        let much = vec![7; 8 << 20];
        let mut read = vec![0; much.len()];
        let (written, heard) = tokio::join!(wire.write_all(&much), peer.read_exact(&mut read));
        written.unwrap();
        heard.unwrap();
        assert_eq!(read, much);
    }
}
