//! The public listener: a credential for any client, and a page that shows the messages under
//! `public/`.
//!
//! It is off unless `PUBLIC_BIND` is set, and serves nothing of the API. It bounds connections,
//! bytes, time, and the credentials of each address ([`rate_limit`], [`caller`](mod@caller)). It
//! stores and logs no client address.

pub(crate) mod caller;
pub(crate) mod rate_limit;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::SecondsFormat;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::api::problem::{Problem, ProblemKind};
use super::listener::browser::require_one_host;
use super::listener::drain::serve_until_stopped;
use super::listener::limits::{
    ConnectionLimits, HEAD_TIMEOUT, LimitedListener, Peer, report_progress,
};
use super::listener::places::Pace;
use crate::access::hooks::guest;
use crate::config::sections::public::{Network, PublicConfig, websocket_origin};
use crate::domain::time::Clock;
use crate::registry::guests::{Credential, GuestIssueError, Guests};
use crate::telemetry::guests::GuestMetrics;
use crate::telemetry::http::ListenerMetrics;
use crate::telemetry::logs::Repeated;
use caller::caller;
use rate_limit::AddressRates;

/// The limits of its connections, each of which carries one request. A proxy in front may have
/// stricter ones.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 256,
    lifetime: Some(Duration::from_secs(15)),
    pace: Pace { head: HEAD_TIMEOUT, idle: HEAD_TIMEOUT },
    // A request is one line and a few headers.
    sent_bytes: 16 * 1024,
};

/// The longest body: none is needed, and some clients send `{}`.
const MAX_BODY: usize = 1024;

/// How long a request may wait for Postgres.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval between log lines about failed issues.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_mins(1);

const PAGE: &str = include_str!("public/page.html");
const SCRIPT: &str = include_str!("public/page.js");
const STYLE: &str = include_str!("public/page.css");

/// A page of any origin may request a credential: it opens only public topics, and cookies are
/// ignored.
const FROM_ANY_ORIGIN: [(HeaderName, &str); 4] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
    (ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
    (ACCESS_CONTROL_MAX_AGE, "600"),
];

/// The state of the public listener. Clones share it.
#[derive(Clone)]
pub struct PublicApi {
    guests: Guests,
    rates: Arc<Mutex<AddressRates>>,
    trusted_proxies: Arc<[Network]>,
    websocket_url: Option<Arc<str>>,
    policy: HeaderValue,
    metrics: GuestMetrics,
    failure_log: Arc<Mutex<Repeated>>,
    clock: Clock,
}

/// A credential, and what a client needs to use it.
#[derive(Serialize)]
struct IssuedCredential<'a> {
    identity_id: String,
    token: String,
    expiration: String,
    /// The remaining time in seconds, for clients with a wrong clock.
    expires_in: i64,
    /// The user name at the broker; the token is the password.
    username: String,
    client_id_prefix: String,
    topics: &'a [&'a str],
    websocket_url: Option<&'a str>,
}

/// Serves `/public` and `/public/credentials` until `stop`, and then briefly waits for running
/// responses.
pub async fn serve_public(
    listener: TcpListener,
    public: PublicApi,
    listener_metrics: ListenerMetrics,
    stop: CancellationToken,
) {
    let router = router(public).layer(from_fn(require_one_host)).layer(from_fn(report_progress));
    let service = router.into_make_service_with_connect_info::<Peer>();
    let listener = LimitedListener::new(listener, LIMITS, listener_metrics);
    let serving =
        axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    serve_until_stopped(serving.into_future(), stop, "of the public listener").await;
}

// === impl PublicApi ===

impl PublicApi {
    /// The state for these settings.
    pub fn new(config: &PublicConfig, guests: Guests, metrics: GuestMetrics, clock: Clock) -> Self {
        Self {
            guests,
            rates: Arc::new(Mutex::new(AddressRates::new(config.credentials_per_minute))),
            trusted_proxies: config.trusted_proxies.clone().into(),
            websocket_url: config.websocket_url.as_deref().map(Arc::from),
            policy: content_policy(config.websocket_url.as_deref()),
            metrics,
            failure_log: Arc::new(Mutex::new(Repeated::new(FAILURE_LOG_INTERVAL))),
            clock,
        }
    }

    fn charge(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), u64> {
        let address = caller(peer.ip(), headers, &self.trusted_proxies);
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).charge(address, (self.clock)())
    }

    fn report_failure(&self, error: &GuestIssueError) {
        let mut failure_log = self.failure_log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = failure_log.ready((self.clock)()) {
            tracing::warn!(
                more,
                "issuing a guest credential failed: {error}; the guest gets a problem"
            );
        }
    }

    fn hand_over(&self, credential: Credential) -> Response {
        let id = credential.id.to_string();
        let issued = IssuedCredential {
            username: id.clone(),
            identity_id: id,
            token: credential.token,
            expiration: credential.expires_at.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true),
            expires_in: guest::LIFETIME_SECONDS,
            client_id_prefix: credential.id.client_id_prefix(),
            topics: &guest::TOPICS,
            websocket_url: self.websocket_url.as_deref(),
        };
        (StatusCode::CREATED, Json(issued)).into_response()
    }
}

// === private helpers ===

fn router(public: PublicApi) -> Router {
    Router::new()
        .route("/public", get(async || ([(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE)))
        .route(
            "/public/page.js",
            get(async || ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)),
        )
        .route(
            "/public/page.css",
            get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)),
        )
        .route(
            "/public/credentials",
            post(issue).options(async || StatusCode::NO_CONTENT).layer(from_fn(allow_any_origin)),
        )
        .fallback(async || {
            Problem::new(
                ProblemKind::NoSuchPath,
                "the routes are GET /public and POST /public/credentials",
            )
        })
        .method_not_allowed_fallback(async || {
            Problem::new(
                ProblemKind::MethodNotAllowed,
                "the routes are GET /public and POST /public/credentials",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(public.clone(), add_headers))
        .with_state(public)
}

async fn issue(
    State(public): State<PublicApi>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if let Err(seconds) = public.charge(&peer, &headers) {
        public.metrics.rate_limited.inc();
        let detail = format!(
            "this address requests credentials too often: wait {seconds} s, and use each credential for its hour"
        );
        return retry_later(ProblemKind::TooManyRequests, detail, seconds);
    }
    peer.arrived();
    // The content of the body has no meaning: the path has one purpose.
    if body.is_err() {
        return Problem::new(ProblemKind::TooLarge, "this path needs no body: send none")
            .into_response();
    }
    match timeout(REQUEST_TIMEOUT, public.guests.issue()).await {
        Ok(Ok(credential)) => {
            public.metrics.issued.inc();
            public.hand_over(credential)
        }
        Ok(Err(error @ GuestIssueError::Full(_))) => {
            public.metrics.full.inc();
            retry_later(ProblemKind::Unavailable, error.to_string(), 60)
        }
        Ok(Err(error)) => {
            public.report_failure(&error);
            retry_later(
                ProblemKind::Unavailable,
                "Sluice cannot issue a credential at the moment: try again later",
                5,
            )
        }
        Err(_) => Problem::new(
            ProblemKind::TimedOut,
            "Sluice could not issue a credential in time: try again",
        )
        .into_response(),
    }
}

/// A refusal with the time after which to retry.
fn retry_later(kind: ProblemKind, detail: impl Into<String>, seconds: u64) -> Response {
    let mut response = Problem::new(kind, detail).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The page may use its own script and style, connect to this listener and the broker, and appear
/// in no frame.
fn content_policy(websocket_url: Option<&str>) -> HeaderValue {
    let broker = websocket_url
        .and_then(websocket_origin)
        .map(|origin| format!(" {origin}"))
        .unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'{broker}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
}

async fn allow_any_origin(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in FROM_ANY_ORIGIN {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Adds the headers of every response, and closes the connection: its limits then bound one
/// request.
async fn add_headers(State(public): State<PublicApi>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, public.policy.clone());
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (CONNECTION, "close"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
