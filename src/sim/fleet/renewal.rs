//! Renews the certificate of a simulated device as the device itself does: a request with a proof
//! by the current key, a connection with the new certificate, and the confirmation over it.
//!
//! The file of the device is replaced once the broker has accepted the new certificate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::device_client::{DeviceClient, DeviceClientError, DeviceResponse};
use super::device_listener::DeviceListener;
use crate::broker::error::BrokerError;
use crate::domain::ids::DeviceKey;
use crate::pki::certificate::{Certificate, CertificateFieldError};
use crate::pki::files;
use crate::pki::key::KeyError;
use crate::pki::request::renewal_request::RenewalRequest;

/// Largest file of a certificate and its key.
const MAX_PEM_BYTES: u64 = 64 * 1024;

/// Why a certificate is not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The request failed.
    #[error(transparent)]
    Client(#[from] DeviceClientError),
    /// The connection with the new certificate failed.
    #[error("the connection with the new certificate failed: {0}")]
    NewConnection(BrokerError),
    /// Sluice refused the request.
    #[error("Sluice refused {route} with status {status}: {detail}")]
    Refused {
        /// The route.
        route: &'static str,
        /// As in HTTP.
        status: u16,
        /// Why.
        detail: String,
    },
    /// The current key is unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate cannot be read.
    #[error("a certificate cannot be read: {0}")]
    Certificate(#[from] CertificateFieldError),
    /// The file of the device.
    #[error("cannot read or write {path}: {error}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Renews the certificate in `pem`, and connects with it; the old connection ends. Also returns the
/// time from the request to the response with the certificate.
pub async fn renew(
    mut client: DeviceClient,
    listener: &DeviceListener,
    device: &DeviceKey,
    pem: &Path,
) -> Result<(DeviceClient, Duration), RenewalError> {
    let failed = |error| RenewalError::File { path: pem.to_owned(), error };
    let current = files::read(pem, MAX_PEM_BYTES).map_err(failed)?;
    let request = RenewalRequest::make(device, &current)?;
    let in_use = Certificate::from_pem(&current)?.fingerprint().to_string();
    let content = object([
        ("csr", request.csr_pem.as_str()),
        ("certificate", &in_use),
        ("proof", &request.proof),
    ]);
    let response = client.request("certificate/renew", content).await?;
    let body = granted("certificate/renew", &response)?;
    let certificate = body["certificate"].as_str().unwrap_or_default();
    let fingerprint = Certificate::from_pem(certificate.as_bytes())?.fingerprint().to_string();
    client.close().await.map_err(DeviceClientError::from)?;

    let candidate = pem.with_extension("new");
    let text = format!("{certificate}{}", request.key.expose());
    files::replace(&candidate, text.as_bytes(), files::PRIVATE).map_err(failed)?;
    let client = DeviceClient::connect(listener, device, &candidate).await;
    let mut client = client.map_err(RenewalError::NewConnection)?;
    std::fs::rename(&candidate, pem).map_err(failed)?;

    let confirmation = object([("certificate", fingerprint.as_str())]);
    let confirmed = client.request("certificate/confirm", confirmation).await?;
    granted("certificate/confirm", &confirmed)?;
    Ok((client, response.after))
}

// === private helpers ===

fn object<const N: usize>(fields: [(&str, &str); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// The body of an accepted response.
fn granted<'a>(
    route: &'static str,
    response: &'a DeviceResponse,
) -> Result<&'a Value, RenewalError> {
    if response.status < 300 {
        return Ok(&response.content["body"]);
    }
    let detail = ["detail", "title"].iter().find_map(|name| response.content[*name].as_str());
    let detail = detail.unwrap_or("no reason given").to_owned();
    Err(RenewalError::Refused { route, status: response.status, detail })
}
