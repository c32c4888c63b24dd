//! Fetches an issuer's keys: one GET, bounded in time and size, over TCP or TLS.
//!
//! It follows no redirect, keeps no connection, sends no credentials, and never turns the check of a certificate off.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::disk;

/// Name, connection, question and answer together.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer: a set of thirty keys with their certificates has half of it.
pub const MAX_BYTES: usize = 256 * 1024;

/// Where the system keeps its roots, as far as a message has to name it.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs";

const AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// Why there was no answer to use.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not a URL one can connect to.
    #[error("the URL cannot be used ({0})")]
    Url(String),
    /// No connection.
    #[error("no connection ({0})")]
    Connect(std::io::Error),
    /// TLS could not be agreed upon.
    #[error(
        "no TLS connection ({0}): JWT_CA_CERT, or else the system's roots, must hold the authority that signed its certificate"
    )]
    Tls(String),
    /// The authorities' file cannot be used.
    #[error("the authorities of {path} (JWT_CA_CERT) cannot be used ({why}): expected certificates in PEM")]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Not HTTP, or cut off.
    #[error("no readable answer ({0})")]
    Http(#[from] hyper::Error),
    /// Something else than 200.
    #[error("the answer was {}, {}", .0, status_advice(*.0))]
    Status(StatusCode),
    /// Too long, or cut off.
    #[error("the answer was cut off, or has more than {MAX_BYTES} bytes ({0})")]
    Body(String),
    /// Too slow.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Slow,
}

/// What stands at this URL; the server's certificate is signed by one of these authorities, or else the system's.
pub async fn fetch(url: &str, ca_cert: Option<PathBuf>) -> Result<Vec<u8>, FetchError> {
    timeout(PATIENCE, get(url, ca_cert)).await.map_err(|_| FetchError::Slow)?
}

// --- private helpers ---

const fn status_advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "and redirects are not followed: set the URL to where it leads",
        _ => "and only 200 will do: check the URL",
    }
}

async fn get(url: &str, ca_cert: Option<PathBuf>) -> Result<Vec<u8>, FetchError> {
    let uri: Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| FetchError::Url(error.to_string()))?;
    let host = uri.host().ok_or_else(|| FetchError::Url("it has no host".to_owned()))?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(FetchError::Connect)?;
    if !is_tls {
        return ask(tcp, &uri).await;
    }
    let name = ServerName::try_from(host).map_err(|error| FetchError::Url(error.to_string()))?;
    // Certificates are read from the disk, anew each time: a new root needs no restart.
    let path = ca_cert.clone().unwrap_or_else(|| PathBuf::from(SYSTEM_ROOTS));
    let connector = disk::apart(&path, move || connector(ca_cert.as_deref()))
        .await
        .map_err(|error| FetchError::Tls(error.to_string()))??;
    let tls = connector.connect(name, tcp).await.map_err(|error| FetchError::Tls(error.to_string()))?;
    ask(tls, &uri).await
}

fn connector(ca_cert: Option<&Path>) -> Result<TlsConnector, FetchError> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Tls(error.to_string()))?
        .with_root_certificates(roots(ca_cert)?)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(ca_cert: Option<&Path>) -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_cert else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let unusable = |why: String| FetchError::Authority { path: path.to_owned(), why };
    let text = disk::read(path, MAX_BYTES as u64).map_err(|error| unusable(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("there is none in it".to_owned())) } else { Ok(roots) }
}

async fn ask<S>(stream: S, uri: &Uri) -> Result<Vec<u8>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let authority = uri.authority().map_or_else(String::new, ToString::to_string);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Url(error.to_string()))?;
    let asking = async move {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        body.map(|body| body.to_bytes().to_vec()).map_err(|error| FetchError::Body(error.to_string()))
    };
    let (mut asking, mut connection) = (pin!(asking), pin!(connection));
    // The connection is driven here, not in a task of its own. When it has ended, what it brought is still to be read.
    tokio::select! {
        answer = &mut asking => return answer,
        _ended = &mut connection => {}
    }
    asking.await
}
