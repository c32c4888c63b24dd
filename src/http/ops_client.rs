//! Requests a path from the ops listener of a running daemon: one GET, one response.
//!
//! It implements only the HTTP of the daemon's own responses, each of which ends with the
//! connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the daemon may take; one that takes longer counts as hung.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest response, in bytes; the largest one, the metrics, has a few dozen kilobytes.
const RESPONSE_MAX: u64 = 1024 * 1024;

/// Requests `path` at the address of the daemon's listener, and returns the status and the body.
pub async fn get(bind: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let address = connect_address(bind);
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(RESPONSE_MAX).read_to_end(&mut answer).await?;
        io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let timed_out = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no response within {} s", RESPONSE_TIMEOUT.as_secs()),
        )
    };
    let answer = tokio::time::timeout(RESPONSE_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(timed_out()))?;
    read_answer(&answer)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the response is not HTTP"))
}

// --- private helpers ---

/// The address to connect to: the loopback for a listener on every address.
fn connect_address(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

/// The status and the body. `None` means the response is not HTTP.
fn read_answer(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        assert_eq!(read_answer("HTTP/1.1 503 No\r\na: b\r\n\r\nbody"), Some((503, "body".into())));
        assert_eq!(read_answer("SSH-2.0"), None);
        assert_eq!(read_answer("HTTP/1.\r\n\r\n"), None);
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_the_loopback() {
        let [everywhere, here] =
            ["0.0.0.0:9464", "127.0.0.1:9464"].map(|bind| bind.parse().unwrap());
        assert_eq!((connect_address(everywhere), connect_address(here)), (here, here));
    }
}
