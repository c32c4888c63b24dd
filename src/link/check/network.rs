//! Steps 6 and 7: the addresses of the host, and whether its port accepts a connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::report::CheckStep;
use crate::link::kind::{LinkKind, LinkTransport};
use crate::link::settings::LinkSettings;

/// How long the name server may take, and each address.
const PATIENCE: Duration = Duration::from_secs(5);

/// Addresses that are tried at most.
const ADDRESSES_MAX: usize = 4;

/// The port of websockets and of MQTT with ALPN.
const HTTPS: u16 = 443;

/// Step 6, and the addresses.
pub async fn resolve(link: &LinkSettings) -> (CheckStep, Vec<SocketAddr>) {
    let mut step = CheckStep::new(6, "DNS");
    let host = link.host.as_str();
    let found = timeout(PATIENCE, lookup_host((host, link.port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.take(ADDRESSES_MAX).collect(),
        Ok(Err(error)) => {
            step.fail(format!("{host} has no address ({error})"), no_name(link.kind)).field("host");
            return (step, Vec::new());
        }
        Err(_) => {
            step.fail(
                format!("no name server answered for {host} within {} s", PATIENCE.as_secs()),
                "check /etc/resolv.conf and the network",
            );
            return (step, Vec::new());
        }
    };
    let texts: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    step.note(format!("{host}: {}", texts.join(", ")));
    if addresses.is_empty() {
        step.fail(format!("{host} has no address"), no_name(link.kind)).field("host");
    }
    (step, addresses)
}

/// Step 7.
pub async fn connect(link: &LinkSettings, addresses: &[SocketAddr]) -> CheckStep {
    let mut step = CheckStep::new(7, "TCP");
    let mut faults = Vec::new();
    for address in addresses {
        let begun = Instant::now();
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                let millis = begun.elapsed().as_millis();
                step.note(format!("{address} accepts connections ({millis} ms)"));
                for fault in faults {
                    step.warn(
                        fault,
                        "an address of the host does not answer: the daemon may lose time with it",
                    );
                }
                return step;
            }
            Ok(Err(error)) => faults.push(format!("{address}: {error}")),
            Err(_) => faults.push(format!("{address}: no answer within {} s", PATIENCE.as_secs())),
        }
    }
    let advice = advice(link, addresses).await;
    step.fail(faults.join("; "), advice).field("port");
    step
}

// === private helpers ===

const fn no_name(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::EventGrid => {
            "check the namespace and the region in host, letter by letter; a private endpoint needs its DNS zone here"
        }
        LinkKind::AwsIot => {
            "check host: `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints it"
        }
        LinkKind::Mqtt => "check host, and the name server of this machine",
    }
}

async fn advice(link: &LinkSettings, addresses: &[SocketAddr]) -> String {
    let base = format!("check host and port, and that firewalls let port {} out", link.port);
    if link.port == HTTPS || link.kind == LinkKind::Mqtt {
        return base;
    }
    for address in addresses {
        let other = SocketAddr::new(address.ip(), HTTPS);
        if !matches!(timeout(PATIENCE, TcpStream::connect(other)).await, Ok(Ok(_))) {
            continue;
        }
        let way = match (link.kind, link.transport) {
            (LinkKind::AwsIot, LinkTransport::Tls) => "port = 443",
            _ => "transport = \"wss\"",
        };
        return format!(
            "port {HTTPS} is open there: set {way} in the file, or open port {}",
            link.port
        );
    }
    base
}
