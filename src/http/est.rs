//! The EST listener: devices get their first certificate with a code, and renew it with the
//! certificate itself (RFC 7030, RFC 8951).
//!
//! Read it in this order:
//!
//! 1. [`tls`] reads the files of the listener, [`tls_listener`] makes the handshakes;
//! 2. [`message`] reads what clients send, [`answer`] writes what they get;
//! 3. [`attempts`] bounds wrong codes;
//! 4. [`state`] is what every answer needs, [`incoming`] takes a request apart;
//! 5. [`inspect`] judges the files for the doctor;
//! 6. [`enrol`] answers with first certificates, [`renew`] with their successors.
//!
//! It is off unless `EST_BIND` is set. It decides nothing about a certificate: the registry does. It
//! keeps no private key of a device and makes none.

mod answer;
mod attempts;
mod enrol;
mod incoming;
pub(crate) mod inspect;
mod message;
mod renew;
mod state;
pub(crate) mod tls;
mod tls_listener;

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONNECTION};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::listener::browser::require_one_host;
use super::listener::drain::serve_until_stopped;
use super::listener::limits::{ConnectionLimits, HEAD_TIMEOUT, LimitedListener, report_progress};
use super::listener::places::Pace;
use crate::telemetry::est::EstMetrics;
use crate::telemetry::http::ListenerMetrics;
pub use state::EstApi;

use answer::EstRefusal;
use message::MAX_BODY;
use tls::{ActiveTls, EstTlsError, EstTlsFiles, TlsReloader};
use tls_listener::{TlsListener, expose_connection};

/// The limits of its connections, each of which carries one request.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 256,
    lifetime: Some(Duration::from_secs(30)),
    pace: Pace { head: HEAD_TIMEOUT, idle: HEAD_TIMEOUT },
    // A handshake with a chain of certificates, the head, and the largest body.
    sent_bytes: 64 * 1024 + MAX_BODY,
};

/// The routes, by their last segment; every other path counts as `other`.
const ROUTES: [&str; 6] =
    ["cacerts", "simpleenroll", "simplereenroll", "csrattrs", "serverkeygen", "fullcmc"];

/// TLS of the listener, read and checked, and the task that reads it again.
pub struct EstTls {
    active: ActiveTls,
    reloader: TlsReloader,
}

/// Serves `/.well-known/est` until `stop`, and then briefly waits for running responses.
pub async fn serve_est(
    listener: TcpListener,
    est: EstApi,
    tls: EstTls,
    listener_metrics: ListenerMetrics,
    stop: CancellationToken,
) {
    let listener = LimitedListener::new(listener, LIMITS, listener_metrics);
    let listener = TlsListener::new(listener, tls.active, est.metrics.clone());
    let router = router(est)
        .layer(from_fn(require_one_host))
        .layer(from_fn(report_progress))
        .layer(from_fn(expose_connection));
    let service = router.into_make_service_with_connect_info::<tls_listener::EstPeer>();
    let serving =
        axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    let serving = serve_until_stopped(serving.into_future(), stop.clone(), "of the EST listener");
    tokio::join!(serving, tls.reloader.run(stop));
}

// === impl EstTls ===

impl EstTls {
    /// Reads the files. Blocks.
    pub fn open(files: EstTlsFiles, metrics: EstMetrics) -> Result<Self, EstTlsError> {
        let (active, reloader) = tls::open(files, metrics)?;
        Ok(Self { active, reloader })
    }
}

// === private helpers ===

fn router(est: EstApi) -> Router {
    let absent = any(async || EstRefusal::not_found("Sluice does not have this function of EST"));
    let mut router = Router::new();
    for prefix in ["/.well-known/est", "/.well-known/est/{tenant}"] {
        router = router
            .route(&format!("{prefix}/cacerts"), get(enrol::authority_certificates))
            .route(&format!("{prefix}/csrattrs"), get(answer::no_attributes))
            .route(&format!("{prefix}/simpleenroll"), post(enrol::first))
            .route(&format!("{prefix}/simplereenroll"), post(renew::again))
            .route(&format!("{prefix}/serverkeygen"), absent.clone())
            .route(&format!("{prefix}/fullcmc"), absent.clone());
    }
    router
        .fallback(async || EstRefusal::not_found("the routes are below /.well-known/est"))
        .method_not_allowed_fallback(async || EstRefusal::wrong_method())
        .layer(from_fn_with_state(est.clone(), count_and_close))
        .with_state(est)
}

/// Counts the request, and closes the connection: its limits then bound one request.
async fn count_and_close(State(est): State<EstApi>, request: Request, next: Next) -> Response {
    let last = request.uri().path().rsplit('/').next().unwrap_or_default();
    let route = ROUTES.into_iter().find(|route| *route == last).unwrap_or("other");
    let mut response = next.run(request).await;
    est.metrics.requests.with_label_values(&[route, response.status().as_str()]).inc();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
