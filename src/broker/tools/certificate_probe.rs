//! Tests which certificates the devices' listener accepts: one TLS handshake and one CONNECT with a
//! client certificate.
//!
//! Under TLS 1.3 a client is refused only after its side of the handshake is done, so CONNECT is
//! sent too. TLS resumption is off: each test shows the certificate. It draws no conclusion.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::rustls;
use tokio_rustls::rustls::AlertDescription as Alert;

use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing;
use crate::broker::transport::tls::{self, BrokerTlsConnector};
use crate::config::Config;
use crate::{disk, tls_roots};

/// Upper bound for one test, including the disconnect.
const PATIENCE: Duration = Duration::from_secs(5);

/// The broker's TLS listener for devices: where to connect, and which authorities to trust there.
#[derive(Clone, Debug)]
pub struct TlsListenerAddress {
    /// `BROKER_PROBE_ADDR`.
    pub address: String,
    /// Authorities of the broker's certificate; `None` means the system's roots.
    pub ca_cert: Option<PathBuf>,
}

/// The broker's answer to the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Accepted.
    Admitted,
    /// Refused as revoked.
    Revoked,
    /// Refused for another reason.
    Refused(String),
    /// Unknown: the broker is unreachable, or its own certificate is not trusted.
    Unreachable(String),
}

// === impl TlsListenerAddress ===

impl TlsListenerAddress {
    /// Built from the settings: `BROKER_PROBE_CA_CERT`, or else `MQTT_CA_CERT`. `None` means that
    /// `BROKER_PROBE_ADDR` is unset.
    pub fn of(config: &Config) -> Option<Self> {
        let settings = &config.certificates;
        let of_session = config.broker.tls.as_ref().and_then(|tls| tls.ca_cert.clone());
        let ca_cert = settings.broker_probe_ca_cert.clone().or(of_session);
        settings.broker_probe_addr.clone().map(|address| Self { address, ca_cert })
    }

    /// Host and port; the setting was validated and has a numeric port.
    pub fn host_and_port(&self) -> (&str, u16) {
        split(&self.address)
    }
}

/// Tests this certificate (DER) with its key (PEM).
pub async fn try_certificate(
    listener: &TlsListenerAddress,
    client_id: &str,
    certificate: &[u8],
    key: &str,
) -> ProbeOutcome {
    match timeout(PATIENCE, connect_once(listener, client_id, certificate, key)).await {
        Ok(Ok(())) => ProbeOutcome::Admitted,
        Ok(Err(error)) => judge(&error),
        Err(_) => ProbeOutcome::Unreachable(format!(
            "the broker did not answer within {} s",
            PATIENCE.as_secs()
        )),
    }
}

/// TLS connector with this certificate and its key.
pub(super) async fn connector(
    listener: &TlsListenerAddress,
    certificate: &[u8],
    key: &str,
) -> Result<BrokerTlsConnector, BrokerError> {
    let ca_cert = listener.ca_cert.clone();
    let path = ca_cert.clone().unwrap_or_else(|| tls_roots::SYSTEM.into());
    let roots = disk::run(&path, move || tls::roots("BROKER_PROBE_CA_CERT", ca_cert.as_deref()));
    tls::connector_for(roots.await.map_err(BrokerError::Disk)??, certificate, key)
}

// --- private helpers ---

async fn connect_once(
    listener: &TlsListenerAddress,
    client_id: &str,
    certificate: &[u8],
    key: &str,
) -> Result<(), BrokerError> {
    let (host, port) = listener.host_and_port();
    let connector = connector(listener, certificate, key).await?;
    let connect = outgoing::bare_connect(client_id)?;
    let mut link = MqttStream::open_tls(host, port, &connector).await?;
    link.send_connect(&connect, &mut Vec::new()).await?;
    link.close(&outgoing::DISCONNECT).await;
    Ok(())
}

fn split(address: &str) -> (&str, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (host.trim_start_matches('[').trim_end_matches(']'), port.parse().unwrap_or_default())
}

fn judge(error: &BrokerError) -> ProbeOutcome {
    match error {
        BrokerError::Tls { source: rustls::Error::AlertReceived(Alert::CertificateRevoked) } => {
            ProbeOutcome::Revoked
        }
        BrokerError::Tls { source: rustls::Error::AlertReceived(alert) } => {
            ProbeOutcome::Refused(format!("by the TLS alert {alert:?}"))
        }
        BrokerError::Refused { code, .. } => {
            ProbeOutcome::Refused(format!("by CONNACK with code 0x{code:02X}"))
        }
        // A broker that closes at once, without an alert, has not accepted it.
        BrokerError::ClosedEarly => {
            ProbeOutcome::Refused("the broker closed the connection without an alert".to_owned())
        }
        other => ProbeOutcome::Unreachable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_alert_for_a_revoked_certificate_counts_as_revoked() {
        let alert =
            |alert| judge(&BrokerError::Tls { source: rustls::Error::AlertReceived(alert) });
        assert_eq!(alert(Alert::CertificateRevoked), ProbeOutcome::Revoked);
        assert!(
            matches!(alert(Alert::CertificateExpired), ProbeOutcome::Refused(why) if why.contains("CertificateExpired"))
        );
        assert!(matches!(
            judge(&BrokerError::Refused { code: 0x87, reason: None, server: None }),
            ProbeOutcome::Refused(_)
        ));
        assert!(matches!(
            judge(&BrokerError::WriteStalled { seconds: 1 }),
            ProbeOutcome::Unreachable(_)
        ));
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(split("broker:8883"), ("broker", 8883));
        assert_eq!(split("[::1]:8883"), ("::1", 8883));
    }
}
