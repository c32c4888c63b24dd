//! The API: what its endpoints work with, its router, and how the router is served over HTTP.
//!
//! The router knows no transport: it is a tower service that answers requests, wherever they come from.

pub mod auth;
pub mod extract;
pub mod openapi;
pub mod page;
pub mod params;
pub mod problem;
pub mod registry_errors;
pub mod route;
pub mod routes;
pub mod state;

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

use super::listener::browser::{no_foreign_changes, one_host};
use super::listener::drain::drained;
use super::listener::limits::{ConnectionLimits, HEAD_TIME, LimitedListener, Peer, follow};
use super::listener::places::Pace;
use crate::telemetry::http::ListenerMetrics;
use auth::FromThisMachine;
use extract::{MAX_BODY, body_of};
use problem::{Problem, ProblemKind};
use state::Api;

/// What connections may take.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 64,
    // A connection answers one request: its turn, its work, and a slow reader of a long answer.
    lifetime: Some(Duration::from_mins(1)),
    pace: Pace { head: HEAD_TIME, idle: HEAD_TIME },
    // The body, and a generous head.
    sent_bytes: MAX_BODY + 32 * 1024,
};

/// How long a request may take, waiting for its turn included; longer than a statement may take.
const REQUEST_TIME: Duration = Duration::from_secs(25);

/// How long its body may take to come.
const ARRIVAL: Duration = Duration::from_secs(10);

/// The router of the whole API. A request is believed to come from this machine when [`FromThisMachine`] is among its
/// extensions.
pub fn api_router(api: Api) -> Router {
    let (mut guarded, mut open) = (Router::new(), Router::new());
    for route in routes::table() {
        let places = if route.is_patient { &api.waiting_permits } else { &api.working_permits };
        let endpoint =
            route.endpoint.route_layer(from_fn_with_state(Arc::clone(places), in_turn)).route_layer(from_fn(arrived));
        let router = if route.is_guarded { &mut guarded } else { &mut open };
        *router = std::mem::take(router).route(route.path, endpoint);
    }
    let guarded = guarded
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.clone(), check_admin));
    let open = open.method_not_allowed_fallback(wrong_method);
    let routes = guarded.merge(open).layer(DefaultBodyLimit::max(MAX_BODY));
    routes.layer(from_fn(no_foreign_changes)).layer(from_fn(one_host)).layer(from_fn(timed)).with_state(api)
}

/// Serves the API on this listener until `stop`, then lets answers under way finish for a moment.
pub async fn serve_api(listener: TcpListener, api: Api, numbers: ListenerMetrics, stop: CancellationToken) {
    // What is bound on the loopback, no other machine can reach.
    let is_private = listener.local_addr().is_ok_and(|bound| bound.ip().is_loopback());
    if api.config.http.admin_token.is_none() {
        tracing::info!(
            is_private,
            "ADMIN_TOKEN is not set: the API answers only this machine, and only on a loopback HTTP_BIND"
        );
    }
    let mark = move |ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next| {
        one_request(is_private && peer.ip().is_loopback(), request, next)
    };
    let router = api_router(api).layer(from_fn(mark)).layer(from_fn(follow));
    let service = router.into_make_service_with_connect_info::<Peer>();
    let listener = LimitedListener::new(listener, LIMITS, numbers);
    let serving = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    drained(serving.into_future(), stop, "of the API").await;
}

// === private helpers ===

/// Passes a request of the operator on, and answers every other one with the problem.
async fn check_admin(State(api): State<Api>, request: Request, next: Next) -> Response {
    let is_local = request.extensions().get::<FromThisMachine>().is_some();
    match api.admin_token.check(request.method(), request.headers(), is_local) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn no_such_path() -> Problem {
    Problem::new(ProblemKind::NoSuchPath, "GET /api/v1/openapi.json lists the paths there are")
}

async fn wrong_method() -> Problem {
    Problem::new(ProblemKind::MethodNotAllowed, "GET /api/v1/openapi.json lists the methods each path takes")
}

/// One request for each connection: what bounds the one then bounds the other.
async fn one_request(is_here: bool, mut request: Request, next: Next) -> Response {
    if is_here {
        request.extensions_mut().insert(FromThisMachine);
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Waits for the body, before the request takes a turn: who sends it slowly holds nobody else up.
async fn arrived(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let whole = timeout(ARRIVAL, body_of(Request::from_parts(parts.clone(), body))).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", ARRIVAL.as_secs());
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

/// Waits for its turn.
async fn in_turn(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let _turn = places.acquire().await;
    next.run(request).await
}

/// Works within its time, and is logged without its query and its headers.
async fn timed(request: Request, next: Next) -> Response {
    let (method, path, begun) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let response = timeout(REQUEST_TIME, next.run(request)).await.unwrap_or_else(|_| {
        let detail = format!("it was given up after {} s: ask for less", REQUEST_TIME.as_secs());
        Problem::new(ProblemKind::TimedOut, detail).into_response()
    });
    let took = begun.elapsed();
    tracing::debug!(%method, path, status = response.status().as_u16(), ?took, "the API answered");
    response
}
