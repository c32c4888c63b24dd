//! One HTTP request to a server that a setting names: bounded in time and size, over TCP or TLS. A
//! response without an end is a [`stream`].
//!
//! It follows no redirect, keeps no connection, adds no credentials, and always checks the server's
//! certificate. What a status means is the caller's decision.

pub mod stream;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderMap, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::{disk, tls_roots};

const AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// What to request, and the bounds.
#[derive(Clone, Copy, Debug)]
pub struct WebRequest<'a> {
    /// The URL: `https`, or `http`.
    pub url: &'a str,
    /// Headers besides `Host`, `User-Agent` and `Connection`.
    pub headers: &'a [(&'static str, &'a str)],
    /// The body of a POST; `None`: a GET.
    pub body: Option<&'a str>,
    /// The authorities that may sign the server's certificate.
    pub authorities: Authorities<'a>,
    /// How long name resolution, connection, request and response may take together.
    pub time_limit: Duration,
    /// The longest body of a response.
    pub max_bytes: usize,
}

/// The authorities that may sign the server's certificate.
#[derive(Clone, Copy, Debug)]
pub struct Authorities<'a> {
    /// A file of certificates; `None`: the system's roots.
    pub file: Option<&'a Path>,
    /// The setting that names the file, for error texts.
    pub setting: &'a str,
}

/// The response, whatever its status.
#[derive(Debug)]
pub struct WebResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The URL is unusable.
    #[error("the URL is unusable ({0})")]
    Url(String),
    /// The connection failed.
    #[error("connecting failed ({0})")]
    Connect(std::io::Error),
    /// The TLS handshake failed.
    #[error(
        "the TLS handshake failed ({why}): {setting}, or without it the system's roots, must contain the authority that signed the server's certificate"
    )]
    Tls {
        /// The cause.
        why: String,
        /// The setting that names the authorities.
        setting: String,
    },
    /// The file of authorities is unusable.
    #[error(
        "the authorities in {path} ({setting}) are unusable ({why}): expected certificates in PEM"
    )]
    Authority {
        /// The file.
        path: PathBuf,
        /// The setting that names it.
        setting: String,
        /// The cause.
        why: String,
    },
    /// The response is not HTTP, or ends early.
    #[error("the response is unreadable ({0})")]
    Http(#[from] hyper::Error),
    /// The body is too long, or ends early.
    #[error("the response is incomplete, or longer than {max_bytes} bytes ({why})")]
    Body {
        /// The bound.
        max_bytes: usize,
        /// The cause.
        why: String,
    },
    /// The response took too long.
    #[error("no response within {} s", .0.as_secs())]
    Slow(Duration),
}

/// A connection to a server.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

// === impl WebRequest ===

impl WebRequest<'_> {
    /// Sends it and reads the response.
    pub async fn send(self) -> Result<WebResponse, WebError> {
        let limit = self.time_limit;
        timeout(limit, self.exchange()).await.map_err(|_| WebError::Slow(limit))?
    }

    async fn exchange(self) -> Result<WebResponse, WebError> {
        let uri = self.uri()?;
        self.exchange_on(self.connect(&uri).await?, &uri).await
    }

    fn uri(&self) -> Result<Uri, WebError> {
        let unusable = |error: hyper::http::uri::InvalidUri| WebError::Url(error.to_string());
        self.url.parse().map_err(unusable)
    }

    /// A connection to the server, by TCP or TLS.
    async fn connect(&self, uri: &Uri) -> Result<Box<dyn Wire>, WebError> {
        let host = uri.host().ok_or_else(|| WebError::Url("it has no host".to_owned()))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(WebError::Connect)?;
        if !is_tls {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(host).map_err(|error| WebError::Url(error.to_string()))?;
        let connector = self.authorities.connector().await?;
        let tls = connector.connect(name, tcp).await;
        Ok(Box::new(tls.map_err(|error| self.authorities.refused(&error))?))
    }

    async fn exchange_on(self, stream: Box<dyn Wire>, uri: &Uri) -> Result<WebResponse, WebError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = self.request(uri)?;
        let max_bytes = self.max_bytes;
        let exchange = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let (status, headers) = (head.status, head.headers);
            let body = match Limited::new(body, max_bytes).collect().await {
                Ok(body) => body.to_bytes().to_vec(),
                // The status of a failure says more than its body.
                Err(_) if !status.is_success() => Vec::new(),
                Err(error) => return Err(WebError::Body { max_bytes, why: error.to_string() }),
            };
            Ok(WebResponse { status, headers, body })
        };
        let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
        // This function drives the connection without a task. After its end, the response may still
        // be unread.
        tokio::select! {
            answer = &mut exchange => return answer,
            _ended = &mut connection => {}
        }
        exchange.await
    }

    fn request(&self, uri: &Uri) -> Result<Request<Full<Bytes>>, WebError> {
        let authority = uri.authority().map_or_else(String::new, ToString::to_string);
        let method = if self.body.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder()
            .method(method)
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority)
            .header(USER_AGENT, AGENT)
            .header(CONNECTION, "close");
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from(self.body.unwrap_or_default().to_owned()));
        request.body(body).map_err(|error| WebError::Url(error.to_string()))
    }
}

// === impl Authorities ===

impl Authorities<'_> {
    /// The certificates are read from disk for each request, so a new root needs no restart.
    async fn connector(self) -> Result<TlsConnector, WebError> {
        let (file, setting) = (self.file.map(Path::to_owned), self.setting.to_owned());
        let path = file.clone().unwrap_or_else(|| PathBuf::from(tls_roots::SYSTEM));
        let read = move || tls_roots::read(file.as_deref()).map_err(|why| (file, why));
        let roots = disk::run(&path, read).await.map_err(|error| self.refused(&error))?;
        let roots = roots.map_err(|(file, why)| match file {
            Some(path) => WebError::Authority { path, setting, why },
            None => WebError::Tls { why, setting },
        })?;
        self.connector_for(roots)
    }

    fn connector_for(self, roots: RootCertStore) -> Result<TlsConnector, WebError> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.refused(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn refused(self, error: &dyn std::error::Error) -> WebError {
        WebError::Tls { why: error.to_string(), setting: self.setting.to_owned() }
    }
}

// === impl WebResponse ===

impl WebResponse {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The status code with its meaning: "404 Not Found".
    pub fn status_line(&self) -> String {
        self.status.to_string()
    }

    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}
