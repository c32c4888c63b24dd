//! Opens the bytes of one connection: name, TCP, TLS, websocket, in this order.
//!
//! It knows no MQTT, and tries nothing twice. Its caller bounds the time of all of it together.

use std::net::SocketAddr;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::duplex::Stream;
use super::quiet_tcp::QuietTcp;
use super::tls::{self, BrokerTlsConnector};
use super::upgrade;
use crate::broker::error::BrokerError;
use crate::broker::remote::facts::RemoteFacts;
use crate::broker::remote::target::{RemoteTarget, WebSocketRequest};
use crate::broker::setting_names::SettingNames;
use crate::config::sections::broker::BrokerConfig;
use crate::{disk, tls_roots};

/// Upper bound for name lookup, TCP, TLS and the upgrade to a websocket together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The least time for one of several addresses: a firewall may drop what goes to the first.
const LEAST_FOR_ADDRESS: Duration = Duration::from_secs(2);

/// Where to connect, and how.
pub struct BrokerRoute<'a> {
    config: &'a BrokerConfig,
    names: &'a SettingNames,
    alpn: &'a [Vec<u8>],
    websocket: Option<&'a WebSocketRequest>,
}

// === impl BrokerRoute ===

impl<'a> BrokerRoute<'a> {
    /// As `MQTT_HOST`, `MQTT_PORT` and the TLS settings say.
    pub fn to_daemons_broker(config: &'a BrokerConfig) -> Self {
        Self { config, names: &SettingNames::Daemon, alpn: &[], websocket: None }
    }

    /// To another broker.
    pub fn to(target: &'a RemoteTarget) -> Self {
        let RemoteTarget { broker, names, alpn, websocket, .. } = target;
        Self { config: broker, names, alpn, websocket: websocket.as_ref() }
    }

    /// Connects within [`CONNECT_TIMEOUT`].
    pub async fn open(&self, facts: &mut RemoteFacts) -> Result<Stream, BrokerError> {
        let opening = timeout(CONNECT_TIMEOUT, self.open_layers(facts)).await;
        opening.map_err(|_| late(&self.config.host, self.config.port))?
    }

    async fn open_layers(&self, facts: &mut RemoteFacts) -> Result<Stream, BrokerError> {
        let tcp = open_tcp(&self.config.host, self.config.port, facts).await?;
        let stream: Stream = match self.connector().await? {
            None => Box::new(tcp),
            Some(connector) => {
                secure(&connector, &self.config.host, &self.names.host(), tcp, facts).await?
            }
        };
        let Some(request) = self.websocket else { return Ok(stream) };
        upgrade::to_websocket(stream, request, self.config.max_packet_bytes, facts).await
    }

    /// Reads the files of the TLS settings; `None`: no TLS.
    async fn connector(&self) -> Result<Option<BrokerTlsConnector>, BrokerError> {
        let Some(settings) = self.config.tls.clone() else { return Ok(None) };
        let path = settings.ca_cert.clone().unwrap_or_else(|| tls_roots::SYSTEM.into());
        let (names, alpn) = (self.names.clone(), self.alpn.to_vec());
        let reading = disk::run(&path, move || tls::connector(&settings, &names, alpn)).await;
        reading.map_err(BrokerError::Disk)?.map(Some)
    }
}

/// TCP and TLS to any address, within [`CONNECT_TIMEOUT`].
pub async fn open_tls(
    host: &str,
    port: u16,
    connector: &BrokerTlsConnector,
) -> Result<Stream, BrokerError> {
    let mut facts = RemoteFacts::default();
    let opening = timeout(CONNECT_TIMEOUT, async {
        let tcp = open_tcp(host, port, &mut facts).await?;
        secure(connector, host, "BROKER_PROBE_ADDR", tcp, &mut RemoteFacts::default()).await
    });
    opening.await.map_err(|_| late(host, port))?
}

// --- private helpers ---

fn late(host: &str, port: u16) -> BrokerError {
    BrokerError::ConnectTimeout {
        address: format!("{host}:{port}"),
        seconds: CONNECT_TIMEOUT.as_secs(),
    }
}

async fn open_tcp(host: &str, port: u16, facts: &mut RemoteFacts) -> Result<QuietTcp, BrokerError> {
    let found = lookup_host((host, port)).await;
    facts.addresses =
        found.map_err(|source| BrokerError::Name { host: host.to_owned(), source })?.collect();
    let tcp = connect_to_any(&facts.addresses)
        .await
        .map_err(|source| BrokerError::Unreachable { address: format!("{host}:{port}"), source })?;
    facts.peer = tcp.peer_addr().ok();
    // Acknowledgements are written in whole batches: Nagle's algorithm would gain nothing.
    tcp.set_nodelay(true).map_err(BrokerError::Broken)?;
    Ok(QuietTcp::new(tcp))
}

/// Tries the addresses in their order. Each has its share of the time.
async fn connect_to_any(addresses: &[SocketAddr]) -> std::io::Result<TcpStream> {
    let count = u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let share = (CONNECT_TIMEOUT / count).max(LEAST_FOR_ADDRESS);
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for &address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(_) => last = std::io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

async fn secure(
    connector: &BrokerTlsConnector,
    host: &str,
    setting: &str,
    tcp: QuietTcp,
    facts: &mut RemoteFacts,
) -> Result<Stream, BrokerError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|why| BrokerError::TlsFile {
        setting: format!("{setting} ({host})"),
        why: why.to_string(),
    })?;
    let stream = connector
        .connect(name, tcp)
        .await
        .map_err(|error| BrokerError::of_io(error).before_connack())?;
    facts.tls = Some(connector.facts(stream.get_ref().1));
    Ok(Box::new(stream))
}
