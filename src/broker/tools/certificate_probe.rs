//! Tests which certificates the devices' listener accepts: one TLS handshake and one CONNECT with a
//! client certificate.
//!
//! Under TLS 1.3 a client is refused only after its side of the handshake is done, so CONNECT is
//! sent too. TLS resumption is off: each test shows the certificate. It draws no conclusion.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls;
use tokio_rustls::rustls::AlertDescription as Alert;

use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing;
use crate::broker::transport::tls;
use crate::disk;

/// Upper bound for one test, including the disconnect.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where to connect, and which authorities to trust there.
#[derive(Clone, Copy, Debug)]
pub struct TlsListenerAddress<'a> {
    /// `BROKER_PROBE_ADDR`.
    pub address: &'a str,
    /// Authorities of the broker's certificate; `None` means the system's roots.
    pub ca_cert: Option<&'a Path>,
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

/// Tests this certificate (DER) with its key (PEM).
pub async fn try_certificate(
    listener: TlsListenerAddress<'_>,
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
    listener: TlsListenerAddress<'_>,
    certificate: &[u8],
    key: &str,
) -> Result<TlsConnector, BrokerError> {
    let ca_cert = listener.ca_cert.map(Path::to_owned);
    let path = ca_cert.clone().unwrap_or_else(|| tls::SYSTEM_ROOTS.into());
    let roots = disk::run(&path, move || tls::roots("BROKER_PROBE_CA_CERT", ca_cert.as_deref()));
    tls::connector_for(roots.await.map_err(BrokerError::Disk)??, certificate, key)
}

// --- private helpers ---

async fn connect_once(
    listener: TlsListenerAddress<'_>,
    client_id: &str,
    certificate: &[u8],
    key: &str,
) -> Result<(), BrokerError> {
    let (host, port) = split(listener.address);
    let connector = connector(listener, certificate, key).await?;
    let connect = outgoing::bare_connect(client_id)?;
    let mut link = MqttStream::open_tls(host, port, &connector).await?;
    link.send_connect(&connect, &mut Vec::new()).await?;
    link.close(&outgoing::DISCONNECT).await;
    Ok(())
}

/// The setting was validated: it has a numeric port.
pub fn split(address: &str) -> (&str, u16) {
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
            judge(&BrokerError::Refused { code: 0x87, reason: None }),
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
