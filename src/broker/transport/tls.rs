//! TLS towards a broker: trusted authorities, the client certificate, and the protocols of ALPN.
//!
//! Files are read at each connect, so rotated certificates need no restart. Nothing here disables
//! verification.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, SignatureScheme};
use x509_parser::parse_x509_certificate;

use crate::broker::error::BrokerError;
use crate::broker::remote::facts::TlsFacts;
use crate::broker::setting_names::SettingNames;
use crate::config::sections::broker::BrokerTls;
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};
use crate::{disk, tls_roots};

/// Makes the TLS of one connection.
pub struct BrokerTlsConnector {
    connector: TlsConnector,
    identity: Arc<ClientIdentity>,
}

/// The client certificate, and whether the server requested one.
#[derive(Debug)]
struct ClientIdentity {
    certified: Option<Arc<CertifiedKey>>,
    requested: AtomicBool,
}

// === impl BrokerTlsConnector ===

impl BrokerTlsConnector {
    fn new(
        roots: RootCertStore,
        certified: Option<CertifiedKey>,
        alpn: Vec<Vec<u8>>,
    ) -> Result<Self, BrokerError> {
        let certified = certified.map(Arc::new);
        let identity = Arc::new(ClientIdentity { certified, requested: AtomicBool::new(false) });
        let resolver: Arc<dyn ResolvesClientCert> = Arc::<ClientIdentity>::clone(&identity);
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| BrokerError::Tls { source })?
            .with_root_certificates(roots)
            .with_client_cert_resolver(resolver);
        config.alpn_protocols = alpn;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), identity })
    }

    /// Does the handshake with the server of this name.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        name: ServerName<'static>,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        self.connector.connect(name, stream).await
    }

    /// What a finished handshake agreed on.
    pub fn facts(&self, connection: &ClientConnection) -> TlsFacts {
        let server = connection.peer_certificates().and_then(|chain| chain.first());
        TlsFacts {
            version: connection
                .protocol_version()
                .and_then(|version| version.as_str())
                .map(|name| name.replace('_', "."))
                .unwrap_or_default(),
            alpn: connection
                .alpn_protocol()
                .map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
            not_after: server.and_then(|certificate| not_after(certificate)),
            client_certificate_requested: self.identity.requested.load(Ordering::Relaxed),
        }
    }
}

impl ResolvesClientCert for ClientIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.requested.store(true, Ordering::Relaxed);
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}

/// Reads the files and makes the connector. Blocks: call it on a blocking thread.
pub fn connector(
    tls: &BrokerTls,
    names: &SettingNames,
    alpn: Vec<Vec<u8>>,
) -> Result<BrokerTlsConnector, BrokerError> {
    let roots = roots(&names.ca_cert(), tls.ca_cert.as_deref())?;
    let certified = match &tls.identity {
        None => None,
        Some((cert, key)) => Some(certified(cert, key, names)?),
    };
    BrokerTlsConnector::new(roots, certified, alpn)
}

/// A connector with a certificate and a key in memory.
pub fn connector_for(
    roots: RootCertStore,
    chain: &[u8],
    key: &str,
) -> Result<BrokerTlsConnector, BrokerError> {
    let own = |why: &dyn ToString| BrokerError::TlsFile {
        setting: "the certificate of the probe".to_owned(),
        why: why.to_string(),
    };
    let secret = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|why| own(&why))?;
    let chain = vec![CertificateDer::from(chain.to_vec())];
    let certified = CertifiedKey::from_der(chain, secret, &provider()).map_err(|why| own(&why))?;
    BrokerTlsConnector::new(roots, Some(certified), Vec::new())
}

/// The authorities in the file of this setting, or the system's. Blocks.
pub fn roots(setting: &str, ca_cert: Option<&Path>) -> Result<RootCertStore, BrokerError> {
    tls_roots::read(ca_cert).map_err(|why| match ca_cert {
        Some(path) => unusable(setting, path, &why),
        None => BrokerError::TlsFile { setting: format!("{setting} (unset)"), why },
    })
}

// --- private helpers ---

fn provider() -> CryptoProvider {
    ring::default_provider()
}

fn certified(cert: &Path, key: &Path, names: &SettingNames) -> Result<CertifiedKey, BrokerError> {
    let chain =
        tls_roots::certificates(cert).map_err(|why| unusable(&names.client_cert(), cert, &why))?;
    let unusable_key = |why: &dyn ToString| unusable(&names.client_key(), key, &why.to_string());
    let text = disk::read(key, tls_roots::MAX_FILE_BYTES).map_err(|why| unusable_key(&why))?;
    let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|why| unusable_key(&why))?;
    CertifiedKey::from_der(chain, secret, &provider()).map_err(|why| unusable_key(&why))
}

/// The end of a certificate's validity.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let seconds = parsed.validity().not_after.timestamp();
    Some(Timestamp::from_micros(seconds.saturating_mul(MICROS_PER_SECOND)))
}

fn unusable(setting: &str, path: &Path, why: &impl ToString) -> BrokerError {
    BrokerError::TlsFile {
        setting: format!("{setting} ({})", path.display()),
        why: why.to_string(),
    }
}
