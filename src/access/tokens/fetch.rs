//! Fetches an issuer's keys: one GET, bounded in time and size, over TCP or TLS.
//!
//! It follows no redirect, keeps no connection, sends no credentials, and always checks the
//! server's certificate.

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
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::{disk, tls_roots};

/// How long name resolution, connection, request and response may take together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest response, in bytes: a set of thirty keys with certificates has half of it.
pub const MAX_BYTES: usize = 256 * 1024;

const AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is unusable.
    #[error("the URL is unusable ({0})")]
    Url(String),
    /// The connection failed.
    #[error("connecting failed ({0})")]
    Connect(std::io::Error),
    /// The TLS handshake failed.
    #[error(
        "the TLS handshake failed ({0}): JWT_CA_CERT, or without it the system's roots, must contain the authority that signed the server's certificate"
    )]
    Tls(String),
    /// The file of authorities is unusable.
    #[error(
        "the authorities in {path} (JWT_CA_CERT) are unusable ({why}): expected certificates in PEM"
    )]
    Authority {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// The response is not HTTP, or ends early.
    #[error("the response is unreadable ({0})")]
    Http(#[from] hyper::Error),
    /// The status is not 200.
    #[error("the response has status {}, {}", .0, status_advice(*.0))]
    Status(StatusCode),
    /// The body is too long, or ends early.
    #[error("the response is incomplete, or longer than {MAX_BYTES} bytes ({0})")]
    Body(String),
    /// The response took too long.
    #[error("no response within {} s", FETCH_TIMEOUT.as_secs())]
    Slow,
}

/// Fetches `url`. The server's certificate must be signed by an authority in `ca_cert`; `None`
/// means the system's roots.
pub async fn fetch(url: &str, ca_cert: Option<PathBuf>) -> Result<Vec<u8>, FetchError> {
    timeout(FETCH_TIMEOUT, get(url, ca_cert)).await.map_err(|_| FetchError::Slow)?
}

// --- private helpers ---

const fn status_advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "and Sluice does not follow redirects: set the URL to the target",
        _ => "but 200 is expected: check the URL",
    }
}

async fn get(url: &str, ca_cert: Option<PathBuf>) -> Result<Vec<u8>, FetchError> {
    let uri: Uri = url
        .parse()
        .map_err(|error: hyper::http::uri::InvalidUri| FetchError::Url(error.to_string()))?;
    let host = uri.host().ok_or_else(|| FetchError::Url("it has no host".to_owned()))?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(FetchError::Connect)?;
    if !is_tls {
        return send_request_on(tcp, &uri).await;
    }
    let name = ServerName::try_from(host).map_err(|error| FetchError::Url(error.to_string()))?;
    // Root certificates are read from disk at each fetch, so a new root needs no restart.
    let path = ca_cert.clone().unwrap_or_else(|| PathBuf::from(tls_roots::SYSTEM));
    let connector = disk::run(&path, move || connector(ca_cert.as_deref()))
        .await
        .map_err(|error| FetchError::Tls(error.to_string()))??;
    let tls =
        connector.connect(name, tcp).await.map_err(|error| FetchError::Tls(error.to_string()))?;
    send_request_on(tls, &uri).await
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
    tls_roots::read(ca_cert).map_err(|why| match ca_cert {
        Some(path) => FetchError::Authority { path: path.to_owned(), why },
        None => FetchError::Tls(why),
    })
}

async fn send_request_on<S>(stream: S, uri: &Uri) -> Result<Vec<u8>, FetchError>
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
    let exchange = async move {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        body.map(|body| body.to_bytes().to_vec())
            .map_err(|error| FetchError::Body(error.to_string()))
    };
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    // This function drives the connection without a task. After its end, the response may still be
    // unread.
    tokio::select! {
        answer = &mut exchange => return answer,
        _ended = &mut connection => {}
    }
    exchange.await
}
