//! The management API: its router, and the server of that router over HTTP.
//!
//! Read it in this order:
//!
//! 1. [`state`] is what every endpoint works with;
//! 2. [`auth`] authenticates the sender ([`admin_token`], [`identity`]), [`grant`] checks its role and its tenant ([`access`],
//!    [`grant_scope`]), [`mask`] removes payloads from what viewers read;
//! 3. [`route`] describes one route, [`routes`] lists them all, [`openapi`] writes their document;
//! 4. [`extract`] reads a request, [`params`] its values, [`condition`] the version it is
//!    for, [`renamed`] old names of parameters;
//! 5. [`page`] and [`problem`] are the common responses, [`registry_errors`] and
//!    [`downlink_errors`] map errors to problems.
//!
//! The router is a tower service and knows no transport: [`call`] calls it without HTTP, and
//! [`page_api`] does so for the pages of a person who is [`signed_in`].

pub(crate) mod access;
pub(crate) mod admin_token;
pub(crate) mod auth;
pub(crate) mod call;
pub(crate) mod condition;
pub(crate) mod downlink_errors;
pub(crate) mod extract;
mod grant;
mod grant_scope;
pub(crate) mod identity;
pub(crate) mod mask;
pub(crate) mod openapi;
pub(crate) mod page;
pub(crate) mod page_api;
pub(crate) mod params;
pub(crate) mod problem;
pub(crate) mod registry_errors;
pub(crate) mod renamed;
pub(crate) mod route;
pub(crate) mod routes;
pub(crate) mod signed_in;
pub(crate) mod state;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::listener::browser::{refuse_foreign_changes, require_one_host};
use super::listener::drain::serve_until_stopped;
use super::listener::limits::{
    ConnectionLimits, HEAD_TIMEOUT, LimitedListener, Peer, report_progress,
};
use super::listener::places::Pace;
use super::shared_counts::SharedCounts;
use crate::telemetry::http::ListenerMetrics;
use admin_token::FromThisMachine;
use auth::authenticate;
use extract::{MAX_BODY, body_of};
use grant::authorize;
use problem::{Problem, ProblemKind};
use renamed::warn_of_old_names;
use state::Api;

/// The limits of its connections.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 64,
    // A connection carries one request: waiting for a permit, running, and a slow reader of a long
    // response.
    lifetime: Some(Duration::from_mins(1)),
    pace: Pace { head: HEAD_TIMEOUT, idle: HEAD_TIMEOUT },
    // A form of the console, which takes three bytes for some, twice: of a larger one the rest is
    // thrown away, and the browser reads why. With a large head.
    sent_bytes: 6 * MAX_BODY + 32 * 1024,
};

/// How long a request may take, including the wait for a permit; longer than the timeout of a
/// statement.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(25);

/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The router of the whole API. A request counts as local if its extensions contain
/// [`FromThisMachine`].
pub fn api_router(api: Api) -> Router {
    let (mut guarded, mut open) = (Router::new(), Router::new());
    for route in routes::table() {
        let permits = if route.is_patient { &api.waiting_permits } else { &api.working_permits };
        let guard = from_fn_with_state((api.clone(), route.access), authorize);
        // The guard comes first: a request that it refuses waits for no permit.
        let mut endpoint = route
            .endpoint
            .route_layer(from_fn_with_state(Arc::clone(permits), limit_concurrency))
            .route_layer(from_fn_with_state(api.counts.clone(), note_change))
            .route_layer(guard);
        if !route.renamed.is_empty() {
            endpoint = endpoint.route_layer(from_fn_with_state(route.renamed, warn_of_old_names));
        }
        let endpoint = endpoint.route_layer(from_fn(read_body_first));
        let router = if route.is_guarded { &mut guarded } else { &mut open };
        *router = std::mem::take(router).route(route.path, endpoint);
    }
    let guarded = guarded
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.clone(), authenticate));
    let open = open.method_not_allowed_fallback(wrong_method);
    let routes = guarded.merge(open).layer(DefaultBodyLimit::max(MAX_BODY));
    routes
        .layer(from_fn(refuse_foreign_changes))
        .layer(from_fn(require_one_host))
        .layer(from_fn(limit_time))
        .with_state(api)
}

/// The router of pages for a browser, with the limits of a request.
pub fn page_router(pages: Router) -> Router {
    pages
        .layer(from_fn(refuse_foreign_changes))
        .layer(from_fn(require_one_host))
        .layer(from_fn(limit_time))
}

/// Serves the API and the pages on `listener` until `stop`, and then briefly waits for running
/// responses.
pub async fn serve_api(
    listener: TcpListener,
    api: Api,
    pages: Option<Router>,
    listener_metrics: ListenerMetrics,
    stop: CancellationToken,
) {
    // No other machine reaches a listener on the loopback.
    let is_private = listener.local_addr().is_ok_and(|bound| bound.ip().is_loopback());
    if api.config.http.admin_token.is_none() {
        tracing::info!(
            is_private,
            "ADMIN_TOKEN is not set: the API serves only requests from this machine, on a loopback HTTP_BIND"
        );
    }
    let mark = move |ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next| {
        mark_and_close(is_private && peer.ip().is_loopback(), request, next)
    };
    let router = api_router(api).merge(pages.unwrap_or_default());
    let router = router.layer(from_fn(mark)).layer(from_fn(report_progress));
    let service = router.into_make_service_with_connect_info::<Peer>();
    let listener = LimitedListener::new(listener, LIMITS, listener_metrics);
    let serving =
        axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    serve_until_stopped(serving.into_future(), stop, "of the API").await;
}

// === private helpers ===

async fn no_such_path() -> Problem {
    Problem::new(ProblemKind::NoSuchPath, "GET /api/v1/openapi.json lists the paths")
}

async fn wrong_method() -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        "GET /api/v1/openapi.json lists the methods of each path",
    )
}

/// Marks a local request, and closes the connection after it: the limits of a connection then bound
/// one request.
async fn mark_and_close(is_local: bool, mut request: Request, next: Next) -> Response {
    if is_local {
        request.extensions_mut().insert(FromThisMachine);
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Reads the body before the request takes a permit, so that a slow sender does not delay other
/// requests.
async fn read_body_first(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let whole = timeout(BODY_TIMEOUT, body_of(Request::from_parts(parts.clone(), body)))
        .await
        .unwrap_or_else(|_| {
            let detail =
                format!("the body did not arrive within {} s: try again", BODY_TIMEOUT.as_secs());
            Err(Problem::new(ProblemKind::BadRequest, detail))
        });
    if let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<Peer>>() {
        peer.arrived();
    }
    match whole {
        Ok(whole) => next.run(Request::from_parts(parts, whole.into())).await,
        Err(problem) => problem.into_response(),
    }
}

/// Runs the request under a permit.
async fn limit_concurrency(
    State(permits): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    let _permit = permits.acquire().await;
    next.run(request).await
}

/// Makes the kept counts old after a change.
async fn note_change(State(counts): State<SharedCounts>, request: Request, next: Next) -> Response {
    let is_change = !request.method().is_safe();
    let response = next.run(request).await;
    if is_change {
        counts.note_change();
    }
    response
}

/// Limits the time of a request, and logs it without its query and headers.
async fn limit_time(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let started_at = Instant::now();
    let response = timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| {
        let detail = format!(
            "the request did not end within {} s: request less, or try again",
            REQUEST_TIMEOUT.as_secs()
        );
        Problem::new(ProblemKind::TimedOut, detail).into_response()
    });
    let took = started_at.elapsed();
    tracing::debug!(%method, path, status = response.status().as_u16(), ?took, "the API answered");
    response
}
