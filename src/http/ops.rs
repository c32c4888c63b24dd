//! The ops listener: liveness, readiness with its reasons, metrics, and the cached grant of a
//! device.
//!
//! It requires no token: no response contains a secret, and none names a device that the request
//! does not name. Bind it where only tools reach it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::listener::browser::{require_local_name, require_one_host};
use super::listener::drain::serve_until_stopped;
use super::listener::limits::{
    ConnectionLimits, HEAD_TIMEOUT, LimitedListener, Peer, report_progress,
};
use super::listener::places::Pace;
use crate::domain::ids::DeviceKey;
use crate::ingest::grants::view::GrantView;
use crate::lifecycle::Readiness;
use crate::telemetry::metrics::Metrics;

/// The limits of its connections: a few scrapers and probes use it at a time.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 64,
    // A connection carries one request, so this bounds the request, the response and a slow peer.
    lifetime: Some(Duration::from_secs(10)),
    pace: Pace { head: HEAD_TIMEOUT, idle: HEAD_TIMEOUT },
    // A request is one line and a few headers, without a body.
    sent_bytes: 16 * 1024,
};

const PATHS: &str =
    "the paths are /livez, /readyz, /health, /metrics and /grants/{tenant}/{device}\n";

const EXPOSITION: &str = "text/plain; version=0.0.4";

/// Closes the connection after each response: the limits of a connection then bound one request.
const ONE_REQUEST: [(HeaderName, &str); 1] = [(CONNECTION, "close")];

/// Reads the current entry of a device in the authorization cache. `None` means the cache has no
/// entry.
pub type CachedGrantReader = Arc<dyn Fn(&DeviceKey) -> Option<GrantView> + Send + Sync>;

#[derive(Clone)]
struct Ops {
    metrics: Metrics,
    readiness: Readiness,
    cached_grant: CachedGrantReader,
}

#[derive(Serialize)]
struct Readyz {
    ready: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    troubles: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    warnings: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    notes: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct GrantQuery {
    cached: bool,
    #[serde(flatten)]
    grant: Option<GrantView>,
}

/// Serves `/livez`, `/readyz`, `/health`, `/metrics` and `/grants/{tenant}/{device}` until `stop`,
/// and then briefly waits for running responses.
pub async fn serve_ops(
    listener: TcpListener,
    metrics: Metrics,
    readiness: Readiness,
    cached_grant: CachedGrantReader,
    stop: CancellationToken,
) {
    let listener = LimitedListener::new(listener, LIMITS, metrics.http.ops.clone());
    serve(listener, Ops { metrics, readiness, cached_grant }, stop).await;
}

async fn serve(listener: LimitedListener, ops: Ops, stop: CancellationToken) {
    let is_private = listener.local_addr().is_ok_and(|bound| bound.ip().is_loopback());
    let routes = Router::new()
        .route("/livez", get(async || (ONE_REQUEST, "ok")))
        .route("/readyz", get(readyz))
        .route("/health", get(readyz))
        .route("/metrics", get(metrics))
        .route("/grants/{tenant}/{device}", get(grant))
        .fallback(async || (StatusCode::NOT_FOUND, ONE_REQUEST, PATHS))
        .method_not_allowed_fallback(async || {
            (StatusCode::METHOD_NOT_ALLOWED, ONE_REQUEST, "use GET\n")
        })
        .with_state(ops);
    // A foreign site can resolve its name to the loopback, so only local names are accepted there.
    let routes = if is_private { routes.layer(from_fn(require_local_name)) } else { routes };
    let routes = routes.layer(from_fn(require_one_host)).layer(from_fn(report_progress));
    let service = routes.into_make_service_with_connect_info::<Peer>();
    let serving =
        axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    serve_until_stopped(serving.into_future(), stop, "of the ops listener").await;
}

async fn readyz(State(ops): State<Ops>) -> Response {
    let troubles = ops.readiness.troubles();
    let ready = troubles.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (warnings, notes) = (ops.readiness.warnings(), ops.readiness.notes());
    (status, ONE_REQUEST, Json(Readyz { ready, troubles, warnings, notes })).into_response()
}

async fn metrics(State(ops): State<Ops>) -> Response {
    match ops.metrics.render() {
        Ok(text) => (ONE_REQUEST, [(CONTENT_TYPE, EXPOSITION)], text).into_response(),
        Err(error) => {
            tracing::error!("encoding the metrics failed: {error}; the scrape gets status 500");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                ONE_REQUEST,
                "encoding the metrics failed; the log has the cause\n",
            )
                .into_response()
        }
    }
}

async fn grant(State(ops): State<Ops>, Path((tenant, device)): Path<(String, String)>) -> Response {
    let key = match DeviceKey::new(&tenant, &device) {
        Ok(key) => key,
        Err(error) => {
            return (StatusCode::BAD_REQUEST, ONE_REQUEST, format!("{error}\n")).into_response();
        }
    };
    let grant = (ops.cached_grant)(&key);
    let status = if grant.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    (status, ONE_REQUEST, Json(GrantQuery { cached: grant.is_some(), grant })).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    use super::*;

    /// How long a test waits for what must come.
    const DEADLINE: Duration = Duration::from_mins(1);

    struct Server {
        address: SocketAddr,
        readiness: Readiness,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    async fn start(limits: ConnectionLimits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let cached_grant: CachedGrantReader =
            Arc::new(|key: &DeviceKey| (key.to_string() == "acme/pump-1").then(unregistered));
        let ops =
            Ops { metrics: Metrics::new().unwrap(), readiness: readiness.clone(), cached_grant };
        let listener = LimitedListener::new(listener, limits, ops.metrics.http.ops.clone());
        let serving = serve(listener, ops, stop.clone());
        #[expect(clippy::disallowed_methods, reason = "a test owns its server by the handle")]
        let task = tokio::spawn(serving);
        Server { address, readiness, stop, task }
    }

    fn unregistered() -> GrantView {
        serde_json::from_str(
            r#"{"age_seconds":1.5,"good_for_seconds":28.5,"tenant_suspended":false,"registered":false,"status":null,
                "site_id":null,"has_token":false,"certificates":[]}"#,
        )
        .unwrap()
    }

    /// Everything the server says until it closes; a reset counts as closed.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
            .await
            .unwrap();
        rest(&mut stream).await
    }

    #[tokio::test]
    async fn each_question_has_its_answer_and_closes_the_connection() {
        let server = start(LIMITS).await;
        for (request, status, kind, part) in [
            ("GET /livez", "200", "text/plain", "\r\n\r\nok"),
            ("GET /readyz", "200", "application/json", r#"{"ready":true}"#),
            ("GET /health", "200", "application/json", r#"{"ready":true}"#),
            ("GET /metrics", "200", "text/plain; version=0.0.4\r\n", "sluice_build_info{version="),
            (
                "GET /grants/acme/pump-1",
                "200",
                "application/json",
                r#"{"cached":true,"age_seconds":1.5,"#,
            ),
            ("GET /grants/acme/pump-2", "404", "application/json", r#"{"cached":false}"#),
            ("GET /grants/acme/pump+2", "400", "text/plain", "A-Z a-z 0-9"),
            ("GET /nothing", "404", "text/plain", "the paths are /livez"),
            ("POST /metrics", "405", "text/plain", "use GET"),
        ] {
            let answer = ask(server.address, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
            assert!(answer.contains(&format!("content-type: {kind}")), "{request}: {answer}");
            assert!(answer.contains(part), "{request}: {answer}");
        }
    }

    #[tokio::test]
    async fn readiness_is_red_with_the_reasons_and_green_again() {
        let server = start(LIMITS).await;
        server.readiness.unwell("database", "connection refused: is Postgres up?");
        let answer = ask(server.address, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        let body =
            r#"{"ready":false,"troubles":{"database":"connection refused: is Postgres up?"}}"#;
        assert!(answer.ends_with(body), "{answer}");
        server.readiness.well("database");
        assert!(ask(server.address, "GET /readyz").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn silent_clients_in_every_place_give_way_to_one_that_asks() {
        let server =
            start(ConnectionLimits { connections: 2, lifetime: Some(DEADLINE * 2), ..LIMITS })
                .await;
        let mut silent = Vec::new();
        for _ in 0..5 {
            silent.push(TcpStream::connect(server.address).await.unwrap());
        }
        for _ in 0..3 {
            assert!(ask(server.address, "GET /livez").await.ends_with("ok"));
        }
        assert_eq!(rest(&mut silent[0]).await, "");
    }

    #[tokio::test]
    async fn clients_that_send_nothing_lose_their_places_to_those_who_ask() {
        let limits = ConnectionLimits {
            connections: 2,
            lifetime: Some(Duration::from_millis(100)),
            ..LIMITS
        };
        let server = start(limits).await;
        let mut silent = Vec::new();
        for _ in 0..6 {
            silent.push(TcpStream::connect(server.address).await.unwrap());
        }
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(b"GET /livez HTTP/1.1\r\nHo").await.unwrap();
        assert!(ask(server.address, "GET /livez").await.ends_with("ok"));
        for stream in &mut silent {
            assert_eq!(rest(stream).await, "");
        }
        assert_eq!(rest(&mut slow).await, "");
    }

    #[tokio::test]
    async fn a_client_that_sends_without_end_is_cut_off() {
        let server = start(ConnectionLimits { lifetime: Some(DEADLINE), ..LIMITS }).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let endless = vec![b'a'; LIMITS.sent_bytes + 1];
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nX: ").await;
        let _ = stream.write_all(&endless).await;
        let answer = rest(&mut stream).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn a_stop_ends_it_although_a_client_is_still_connected() {
        let server = start(ConnectionLimits { lifetime: Some(DEADLINE * 2), ..LIMITS }).await;
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        silent.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        assert!(ask(server.address, "GET /livez").await.ends_with("ok"));
        server.stop.cancel();
        tokio::time::timeout(DEADLINE, server.task).await.unwrap().unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
    }
}
