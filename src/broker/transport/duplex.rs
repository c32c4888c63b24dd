//! The bytes of one connection, whatever lies between them and TCP.
//!
//! It opens nothing.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;

use super::quiet_tcp::QuietTcp;
use super::web_socket::WebSocketBytes;

/// Bytes both ways, in the end over TCP.
pub type Stream = Box<dyn Duplex>;

/// Bytes both ways over TCP.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
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

impl Duplex for Stream {
    fn wire(&mut self) -> &mut QuietTcp {
        (**self).wire()
    }
}

impl Duplex for WebSocketBytes<Stream> {
    fn wire(&mut self) -> &mut QuietTcp {
        self.beneath().wire()
    }
}
