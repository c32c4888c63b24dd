//! TCP that can be taken out of epoll for a pause, in which arriving bytes wake no task.
//!
//! The runtime watches every socket, and the kernel reports each message as it arrives, also to a
//! process that is not about to read: these wake-ups cost more than all reads. So during a pause
//! the socket is not watched, and the first read that finds it empty restores the watch. It loses
//! no bytes and delays only those that arrive in the pause. It decides no pause itself.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes of one read of an unwatched socket: the buffer must be zeroed before.
const PIECE: usize = 16 * 1024;

/// The connection.
pub struct QuietTcp {
    state: QuietState,
    /// Whether the last read emptied the socket.
    is_empty: bool,
}

enum QuietState {
    /// The runtime reports readable bytes.
    Watched(TcpStream),
    /// No wake-ups.
    Unwatched(std::net::TcpStream),
    /// Moving it between the two states failed; it is closed.
    Lost,
}

// === impl QuietTcp ===

impl QuietTcp {
    /// A watched connection.
    pub fn new(tcp: TcpStream) -> Self {
        Self { state: QuietState::Watched(tcp), is_empty: false }
    }

    /// Stops watching until a read finds the socket empty.
    pub fn stop_watching(&mut self) -> io::Result<()> {
        self.state = match std::mem::replace(&mut self.state, QuietState::Lost) {
            QuietState::Watched(tcp) => QuietState::Unwatched(tcp.into_std()?),
            other => other,
        };
        self.is_empty = false;
        Ok(())
    }

    /// Whether the last read emptied the socket, so that another would only confirm that.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Makes the kernel send its TCP acknowledgement at once. A Mosquitto without `set_tcp_nodelay`
    /// sends one message and holds the next until the first is acknowledged, which the kernel may
    /// delay by 40 ms. The option is not permanent, so it is set after each read and write; where
    /// it fails, messages only arrive in groups.
    pub fn send_quick_ack(&self) {
        #[cfg(target_os = "linux")]
        let _ = match &self.state {
            QuietState::Watched(tcp) => tcp.set_quickack(true),
            QuietState::Unwatched(tcp) => {
                std::os::linux::net::TcpStreamExt::set_quickack(tcp, true)
            }
            QuietState::Lost => Ok(()),
        };
    }

    /// Sends the TCP acknowledgement and checks whether it made the peer send more. On the same
    /// machine that data has arrived by now; after a pause it would be older. Only for an unwatched
    /// socket.
    pub fn has_more(&self) -> bool {
        self.send_quick_ack();
        matches!(self.unwatched(|tcp| tcp.peek(&mut [0])), Some(Ok(1..)))
    }

    fn watch(&mut self) -> io::Result<&mut TcpStream> {
        self.state = match std::mem::replace(&mut self.state, QuietState::Lost) {
            QuietState::Unwatched(tcp) => QuietState::Watched(TcpStream::from_std(tcp)?),
            other => other,
        };
        match &mut self.state {
            QuietState::Watched(tcp) => Ok(tcp),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Tries `work` on the unwatched socket; `None` means that the runtime must report when to
    /// retry.
    fn unwatched<T>(
        &self,
        mut work: impl FnMut(&std::net::TcpStream) -> io::Result<T>,
    ) -> Option<io::Result<T>> {
        let QuietState::Unwatched(tcp) = &self.state else { return None };
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
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if matches!(self.state, QuietState::Unwatched(_)) {
            let room = buf.remaining().min(PIECE);
            let piece = buf.initialize_unfilled_to(room);
            if let Some(read) = self.unwatched(|mut tcp| tcp.read(piece)) {
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
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.unwatched(|mut tcp| tcp.write(bytes)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(self.watch()?).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.unwatched(|mut tcp| tcp.write_vectored(parts)) {
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
        match self.unwatched(|tcp| tcp.shutdown(Shutdown::Write)) {
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
    async fn bytes_that_arrive_unwatched_are_read_later_and_later_bytes_wake_again() {
        let (mut wire, mut peer) = pair().await;
        let mut read = Vec::new();
        for round in 0..50_u8 {
            wire.stop_watching().unwrap();
            peer.write_all(&[round; 100]).await.unwrap();
            while read.len() < 100 {
                wire.read_buf(&mut read).await.unwrap();
            }
            assert_eq!(read, [round; 100]);
            read.clear();
            // Watched again or not: an answer is sent, and a late one is received.
            wire.write_all(b"ok").await.unwrap();
            assert_eq!(peer.read_u16().await.unwrap().to_be_bytes(), *b"ok");
            let late = async {
                tokio::task::yield_now().await;
                peer.write_all(b"late").await.unwrap();
            };
            let (received, ()) = tokio::join!(wire.read_u32(), late);
            assert_eq!(received.unwrap().to_be_bytes(), *b"late");
        }
    }

    /// The peer uses Nagle's algorithm, as Mosquitto does: its second write waits for the
    /// acknowledgement of the first.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn bytes_that_the_peer_held_back_arrive_with_the_tcp_acknowledgement() {
        const ROUNDS: u32 = 200;
        let (mut wire, peer) = pair().await;
        let mut peer = peer.into_std().unwrap();
        let mut whole_at_once = 0;
        for _ in 0..ROUNDS {
            wire.stop_watching().unwrap();
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
        // On a busy machine the kernel may send the acknowledgement later; without one, all but the
        // first few reads would be halves.
        assert!(whole_at_once > ROUNDS / 4, "{whole_at_once} of {ROUNDS}");
    }

    #[tokio::test]
    async fn the_end_is_seen_also_while_it_is_unwatched() {
        let (mut wire, mut peer) = pair().await;
        wire.stop_watching().unwrap();
        peer.shutdown().await.unwrap();
        assert_eq!(wire.read(&mut [0; 8]).await.unwrap(), 0);
        wire.shutdown().await.unwrap();
        assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_write_waits_for_room() {
        let (mut wire, mut peer) = pair().await;
        wire.stop_watching().unwrap();
        let much = vec![7; 8 << 20];
        let mut read = vec![0; much.len()];
        let (written, received) = tokio::join!(wire.write_all(&much), peer.read_exact(&mut read));
        written.unwrap();
        received.unwrap();
        assert_eq!(read, much);
    }
}
