//! `sluice health`: asks the daemon of these settings whether it is ready, and answers with its exit code, so that an
//! image without a shell can check itself.
//!
//! It looks at nothing itself: what "ready" means is the daemon's to say. It is not `doctor`, which looks for causes.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Exit, Failure};
use crate::config::Config;

/// Below the health check's own limit in compose, so that the answer is ours and says why.
const PATIENCE: Duration = Duration::from_secs(5);

/// The answers are a line or two; more is somebody else answering.
const ANSWER_BYTES: u64 = 64 * 1024;

/// What to ask.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// Ask only whether the process turns (/livez), not whether it is ready (/readyz)
    #[arg(long)]
    live: bool,
}

/// Asks, prints the answer, and ends with 0 for yes, 1 for no, 69 for none.
pub async fn run(args: HealthArgs, config: &Config) -> Result<Exit, Failure> {
    let address = reachable(config.http.ops_bind);
    let path = if args.live { "/livez" } else { "/readyz" };
    let no_answer = |why: String| {
        Failure::unavailable(format!("nobody answers at {address} (OPS_BIND): {why}. Is `sluice run` running here?"))
    };
    let answer = match tokio::time::timeout(PATIENCE, ask(address, path)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(no_answer(error.to_string())),
        Err(_) => return Err(no_answer(format!("nothing within {} s", PATIENCE.as_secs()))),
    };
    let (status, body) = parse(&answer).ok_or_else(|| no_answer("what came is not HTTP".into()))?;
    writeln!(std::io::stdout(), "{}", body.trim_end())?;
    Ok(if status == 200 { Exit::Done } else { Exit::Negative })
}

/// Who listens on all addresses is reached by the loopback.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

/// By HTTP/1.0, where the answer comes in one piece and ends with the connection.
async fn ask(address: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The status and the body.
fn parse(answer: &[u8]) -> Option<(u16, &str)> {
    let (head, body) = std::str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body_and_nothing_else_is_one() {
        assert_eq!(parse(b"HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nno"), Some((503, "no")));
        assert_eq!(parse(b"HTTP/1.0 200 OK\r\n\r\n"), Some((200, "")));
        for other in [&b"SSH-2.0-x\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 ok\r\n\r\n", b"\xff\r\n\r\n", b""] {
            assert_eq!(parse(other), None);
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_the_loopback() {
        for (bind, asked) in [("0.0.0.0:9", "127.0.0.1:9"), ("[::]:9", "[::1]:9"), ("10.0.0.1:9", "10.0.0.1:9")] {
            assert_eq!(reachable(bind.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
