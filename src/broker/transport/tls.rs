//! TLS towards the broker: trusted authorities, and the client certificate.
//!
//! Files are read at each connect, so rotated certificates need no restart. Nothing here disables
//! verification.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::broker::error::BrokerError;
use crate::config::sections::broker::BrokerTls;
use crate::{disk, tls_roots};

/// Reads the files and makes the connector. Blocks: call it on a blocking thread.
pub fn connector(tls: &BrokerTls) -> Result<TlsConnector, BrokerError> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| BrokerError::Tls { source })?
        .with_root_certificates(roots("MQTT_CA_CERT", tls.ca_cert.as_deref())?);
    let config = match &tls.identity {
        None => config.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = tls_roots::certificates(cert)
                .map_err(|why| unusable("MQTT_CLIENT_CERT", cert, &why))?;
            let text = disk::read(key, tls_roots::MAX_FILE_BYTES)
                .map_err(|why| unusable("MQTT_CLIENT_KEY", key, &why))?;
            let secret = PrivateKeyDer::from_pem_slice(&text)
                .map_err(|why| unusable("MQTT_CLIENT_KEY", key, &why))?;
            config
                .with_client_auth_cert(chain, secret)
                .map_err(|why| unusable("MQTT_CLIENT_KEY", key, &why))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connector with a certificate and a key in memory.
pub fn connector_for(
    roots: RootCertStore,
    chain: &[u8],
    key: &str,
) -> Result<TlsConnector, BrokerError> {
    let own = |why: &dyn ToString| BrokerError::TlsFile {
        setting: "the certificate of the probe".to_owned(),
        why: why.to_string(),
    };
    let secret = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|why| own(&why))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| BrokerError::Tls { source })?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![CertificateDer::from(chain.to_vec())], secret)
        .map_err(|why| own(&why))?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The authorities in the file of this setting, or the system's. Blocks.
pub fn roots(setting: &str, ca_cert: Option<&Path>) -> Result<RootCertStore, BrokerError> {
    tls_roots::read(ca_cert).map_err(|why| match ca_cert {
        Some(path) => unusable(setting, path, &why),
        None => BrokerError::TlsFile { setting: format!("{setting} (unset)"), why },
    })
}

// --- private helpers ---

fn unusable(setting: &str, path: &Path, why: &impl ToString) -> BrokerError {
    BrokerError::TlsFile {
        setting: format!("{setting} ({})", path.display()),
        why: why.to_string(),
    }
}
