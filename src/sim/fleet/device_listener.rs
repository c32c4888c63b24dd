//! The broker's TLS listener for devices: its address, and how a simulated device connects with its
//! certificate.
//!
//! The address is `BROKER_PROBE_ADDR`; Sluice itself connects to `MQTT_HOST`. It holds no
//! certificate.

use std::path::Path;

use crate::broker::error::BrokerError;
use crate::broker::tools::certificate_probe::{self, ProbeOutcome, TlsListenerAddress};
use crate::command::failure::Failure;
use crate::config::Config;
use crate::config::sections::broker::{BrokerConfig, BrokerTls};
use crate::domain::ids::DeviceKey;
use crate::pki::certificate::Certificate;
use crate::pki::files;

/// Largest file of a device's certificate and key.
const MAX_PEM_BYTES: u64 = 64 * 1024;

/// Address of the devices' listener, and the CA they trust.
#[derive(Clone, Debug)]
pub struct DeviceListener {
    address: TlsListenerAddress,
    /// Settings of the daemon's connection; devices share its bounds.
    defaults: BrokerConfig,
}

// === impl DeviceListener ===

impl DeviceListener {
    /// Reads the settings; fails without `BROKER_PROBE_ADDR`.
    pub fn of(config: &Config) -> Result<Self, Failure> {
        let address = TlsListenerAddress::of(config).ok_or_else(|| {
            Failure::usage(
                "BROKER_PROBE_ADDR is not set: \
                 set it to the broker's TLS listener for devices (host:port)",
            )
        })?;
        Ok(Self { address, defaults: config.broker.clone() })
    }

    /// Connection settings of `device`, whose certificate and key are in `pem`.
    pub fn connection(&self, device: &DeviceKey, pem: &Path) -> BrokerConfig {
        let (host, port) = self.address.host_and_port();
        BrokerConfig {
            host: host.to_owned(),
            port,
            username: None,
            password: None,
            client_id: device.identity().to_owned(),
            tls: Some(BrokerTls {
                ca_cert: self.address.ca_cert.clone(),
                identity: Some((pem.to_owned(), pem.to_owned())),
            }),
            ..self.defaults.clone()
        }
    }

    /// Connects once with the certificate and key in `pem`; returns what the broker did.
    pub async fn try_connect(&self, device: &DeviceKey, pem: &Path) -> ProbeOutcome {
        let text = match files::read(pem, MAX_PEM_BYTES) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => {
                return ProbeOutcome::Unreachable(format!(
                    "cannot read {}: {error}",
                    pem.display()
                ));
            }
        };
        let certificate = match Certificate::from_pem(text.as_bytes()) {
            Ok(certificate) => certificate,
            Err(error) => return ProbeOutcome::Unreachable(format!("{}: {error}", pem.display())),
        };
        certificate_probe::try_certificate(
            &self.address,
            device.identity(),
            certificate.der(),
            &text,
        )
        .await
    }
}

/// The failure of a device whose connection failed or ended.
pub fn device_lost(device: &str, error: &BrokerError) -> Failure {
    Failure::unavailable(format!(
        "device {device}: the connection to BROKER_PROBE_ADDR failed: {error}"
    ))
}
