//! Asks a running daemon on its ops listener: one GET, one answer.
//!
//! It speaks just enough HTTP for the daemon's own answers, each of which ends with the connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A daemon that has not answered by then is hung.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest answer that is read, in bytes; the metrics, the largest, are a few dozen kilobytes.
const ANSWER_MAX: u64 = 1024 * 1024;

/// Asks for a path at the address the daemon listens on; the status and the body.
pub async fn get(bind: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let address = reachable(bind);
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs()));
    let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late()))?;
    read_answer(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what it answers is no HTTP"))
}

// --- private helpers ---

/// Who listens on every address is found on the loopback.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

/// Status and body; none when it is no HTTP.
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
        let [everywhere, here] = ["0.0.0.0:9464", "127.0.0.1:9464"].map(|bind| bind.parse().unwrap());
        assert_eq!((reachable(everywhere), reachable(here)), (here, here));
    }
}
