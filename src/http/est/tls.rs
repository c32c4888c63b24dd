//! TLS of the EST listener: its own certificate, and the authorities that a device's certificate must
//! come from one of. The files are read again when their content changes.
//!
//! A device may connect without a certificate. Whether its certificate is valid is decided by the
//! registry for each request, not here: a revocation acts without a new list.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::config::sections::est::EstListenerConfig;
use crate::disk;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::pki::authority::directory::{self, DirectoryError};
use crate::pki::certificate::Certificate;
use crate::pki::key;
use crate::telemetry::est::EstMetrics;
use crate::tls_roots;

/// How often the files are read: a renewed certificate acts within this time.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

const HEALTH_TEXTS: HealthTexts = HealthTexts {
    failed: "the files of the EST listener cannot be used",
    action: "the listener uses the certificate that it read before; correct the files",
    recovered: "the files of the EST listener can be used again",
};

/// The files that TLS needs.
#[derive(Clone, Debug)]
pub struct EstTlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
    /// The directory with the authorities of the cells.
    cell_authorities: Option<PathBuf>,
}

/// A file that TLS needs is unusable.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{setting} ({path}) cannot be used: {why}")]
pub struct EstTlsError {
    setting: &'static str,
    path: PathBuf,
    why: String,
}

/// What new connections use. Clones share it.
#[derive(Clone)]
pub(super) struct ActiveTls(Arc<RwLock<Arc<ServerConfig>>>);

/// Reads the files again.
pub(super) struct TlsReloader {
    files: EstTlsFiles,
    active: ActiveTls,
    content: TokenHash,
    metrics: EstMetrics,
}

/// The content of the files, checked.
struct LoadedTls {
    config: ServerConfig,
    /// Identifies the content.
    content: TokenHash,
    not_after: Timestamp,
}

/// Reads the files. The caller must run the reloader. Blocks.
pub(super) fn open(
    files: EstTlsFiles,
    metrics: EstMetrics,
) -> Result<(ActiveTls, TlsReloader), EstTlsError> {
    let loaded = load(&files)?;
    report(&metrics, loaded.not_after);
    let active = ActiveTls(Arc::new(RwLock::new(Arc::new(loaded.config))));
    let reloader = TlsReloader { files, active: active.clone(), content: loaded.content, metrics };
    Ok((active, reloader))
}

// === impl EstTlsFiles ===

impl EstTlsFiles {
    /// The listener's own files, and the authorities of the devices.
    pub fn new(
        listener: &EstListenerConfig,
        authority: &Path,
        cell_authorities: Option<&Path>,
    ) -> Self {
        Self {
            certificate: listener.certificate.clone(),
            key: listener.key.clone(),
            authority: authority.to_owned(),
            cell_authorities: cell_authorities.map(Path::to_owned),
        }
    }

    /// When the listener's certificate ends, if all files are usable. Blocks.
    pub fn check(&self) -> Result<Timestamp, EstTlsError> {
        load(self).map(|loaded| loaded.not_after)
    }
}

// === impl ActiveTls ===

impl ActiveTls {
    /// What the next connection uses.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn replace(&self, config: ServerConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}

// === impl TlsReloader ===

impl TlsReloader {
    /// Runs until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut health = HealthReporter::log_only("EST listener", HEALTH_TEXTS).at_error_level();
        while tokio::time::timeout(CHECK_INTERVAL, stop.cancelled()).await.is_err() {
            let files = self.files.clone();
            let loaded = match disk::run(&self.files.certificate, move || load(&files)).await {
                Ok(loaded) => loaded.map_err(|error| error.to_string()),
                Err(unreachable) => Err(unreachable.to_string()),
            };
            match loaded {
                Ok(loaded) => {
                    health.worked(Instant::now());
                    report(&self.metrics, loaded.not_after);
                    self.take(loaded);
                }
                Err(why) => {
                    self.metrics.certificate_current.set(0);
                    health.failed(&why, Instant::now());
                }
            }
        }
    }

    fn take(&mut self, loaded: LoadedTls) {
        if loaded.content == self.content {
            return;
        }
        self.content = loaded.content;
        self.active.replace(loaded.config);
        tracing::info!(
            not_after = %loaded.not_after,
            "the files of the EST listener were read again; new connections use them"
        );
    }
}

// --- private helpers ---

fn report(metrics: &EstMetrics, not_after: Timestamp) {
    metrics.certificate_not_after.set(not_after.to_utc().timestamp());
    metrics.certificate_current.set(1);
}

/// The certificates that a device's certificate must be issued by one of.
fn authorities(files: &EstTlsFiles) -> Result<Vec<CertificateDer<'static>>, EstTlsError> {
    let unusable = |setting, path: PathBuf, why| EstTlsError { setting, path, why };
    let mut all = tls_roots::certificates(&files.authority)
        .map_err(|why| unusable("DEVICE_CA_CERT_PATH", files.authority.clone(), why))?;
    // Those above it have issued no device.
    all.truncate(1);
    let of_cells = |error: DirectoryError| unusable(directory::SETTING, error.path, error.why);
    let Some(place) = &files.cell_authorities else { return Ok(all) };
    for pair in directory::pairs(place).map_err(of_cells)? {
        let own = pair.own_certificate().map_err(of_cells)?;
        all.push(CertificateDer::from(own.der().to_vec()));
    }
    Ok(all)
}

fn load(files: &EstTlsFiles) -> Result<LoadedTls, EstTlsError> {
    let unusable = |setting: &'static str, path: &Path| {
        let path = path.to_owned();
        move |why: String| EstTlsError { setting, path, why }
    };
    let of_certificate = unusable("EST_SERVER_CERT", &files.certificate);
    let of_key = unusable("EST_SERVER_KEY", &files.key);
    let of_authority = unusable("DEVICE_CA_CERT_PATH", &files.authority);

    let chain =
        tls_roots::certificates(&files.certificate).map_err(|why| of_certificate.clone()(why))?;
    let own =
        Certificate::from_der(&chain[0]).map_err(|why| of_certificate.clone()(why.to_string()))?;
    let key_text = key::read_private(&files.key).map_err(|why| of_key.clone()(why.to_string()))?;
    let private =
        PrivateKeyDer::from_pem_slice(&key_text).map_err(|why| of_key.clone()(why.to_string()))?;
    let authorities = authorities(files)?;

    let mut content: Vec<u8> = chain.iter().flat_map(|one| one.to_vec()).collect();
    content.extend_from_slice(TokenHash::of(key_text.as_slice()).0.as_slice());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        content.extend_from_slice(&authority);
        roots.add(authority).map_err(|why| of_authority.clone()(why.to_string()))?;
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|why| of_authority(why.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| of_certificate(why.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, private)
        .map_err(|why| of_key(why.to_string()))?;
    // A connection carries one request: a resumed session would only outlive a change of the files.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(LoadedTls { config, content: TokenHash::of(content), not_after: own.not_after() })
}
