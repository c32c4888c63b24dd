//! Serves the authorization requests of the broker over HTTP, in the format of mosquitto-go-auth:
//! login, superuser, topic.
//!
//! 200 allows with a fixed body, 403 denies with a reason. It never answers 5xx: the broker would
//! disconnect the publisher because the request for a subscriber failed. It logs no body, header or
//! query. [`question`] parses a request.

pub(crate) mod question;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use axum::{Extension, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::listener::browser::{refuse_pages, require_one_host};
use super::listener::drain::serve_until_stopped;
use super::listener::limits::{
    ConnectionLimits, HEAD_TIMEOUT, LimitedListener, Peer, Unproven, report_progress,
};
use super::listener::places::Pace;
use crate::access::hooks::authorizer::{HookAuthorizer, HookLookup};
use crate::access::hooks::caller::Caller;
use crate::access::hooks::denial::Denial;
use crate::access::record::{AskedFor, RecentDenials};
use crate::clock;
use crate::config::secret::Secret;
use crate::domain::token::TokenHash;
use crate::telemetry::hooks::HookMetrics;
use crate::telemetry::http::ListenerMetrics;
use question::HookQuestion;

/// The limits of its connections.
const LIMITS: ConnectionLimits = ConnectionLimits {
    // A broker uses a few connections; the others are for operators and probes.
    connections: 64,
    lifetime: None,
    // A quiet broker keeps its connection, unless places are scarce.
    pace: Pace { head: HEAD_TIMEOUT, idle: Duration::from_mins(10) },
    // The largest body and a large head.
    sent_bytes: MAX_BODY + 32 * 1024,
};

/// The longest body: a topic of 64 KiB with every second character escaped.
const MAX_BODY: usize = 256 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two logged faults.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

const SECRET_HEADER: HeaderName = HeaderName::from_static("x-hooks-secret");
const SECRET_PARAMETER: &str = "secret=";

const PATHS: &str =
    "the paths are /user, /superuser and /acl, also under /mqtt, and all of these under /text";

/// The state of the hooks listener. Clones share it.
pub struct Hooks<K> {
    authorizer: Arc<HookAuthorizer<K>>,
    /// The hash of the secret. All hashes have the same length, so a comparison leaks nothing about
    /// the secret.
    secret: Option<TokenHash>,
    metrics: HookMetrics,
    denials: RecentDenials,
    warned_at: Arc<Mutex<Option<Instant>>>,
}

/// The type of a request; the number is its position among the labels of the metrics.
#[derive(Clone, Copy, Debug)]
enum Hook {
    User = 0,
    Superuser = 1,
    Acl = 2,
}

/// The format of a response: `response_mode` json and status, or text.
#[derive(Clone, Copy, Debug)]
enum HookFormat {
    Json,
    Text,
}

/// Why a request is not allowed.
#[derive(Debug)]
enum HookRefusal {
    /// The request is malformed, or lacks the secret.
    Invalid(String),
    Denied(Denial),
}

/// Serves the broker on `listener` until `stop`.
pub async fn serve_hooks<K: HookLookup>(
    listener: TcpListener,
    hooks: Hooks<K>,
    listener_metrics: ListenerMetrics,
    stop: CancellationToken,
) {
    let listener = LimitedListener::new(listener, LIMITS, listener_metrics);
    let router = router(hooks)
        .layer(from_fn(refuse_pages))
        .layer(from_fn(require_one_host))
        .layer(from_fn(report_progress));
    let service = router.into_make_service_with_connect_info::<Peer>();
    let serving =
        axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    serve_until_stopped(serving.into_future(), stop, "of the hooks listener").await;
}

fn router<K: HookLookup>(hooks: Hooks<K>) -> Router {
    let mut router = Router::new();
    let methods = MethodFilter::POST.or(MethodFilter::PUT).or(MethodFilter::GET);
    for (format, below) in [(HookFormat::Json, ""), (HookFormat::Text, "/text")] {
        for (hook, name) in
            [(Hook::User, "user"), (Hook::Superuser, "superuser"), (Hook::Acl, "acl")]
        {
            let answer =
                move |State(hooks): State<Hooks<K>>, request| answer(hooks, hook, format, request);
            let endpoint = on(methods, answer);
            router = router.route(&format!("{below}/{name}"), endpoint.clone());
            router = router.route(&format!("{below}/mqtt/{name}"), endpoint);
        }
    }
    let no_such =
        async || (Extension(Unproven), HookFormat::Json.deny(StatusCode::NOT_FOUND, PATHS));
    let wrong = async || {
        (
            Extension(Unproven),
            HookFormat::Json.deny(StatusCode::METHOD_NOT_ALLOWED, "use POST, PUT or GET"),
        )
    };
    router.fallback(no_such).method_not_allowed_fallback(wrong).with_state(hooks)
}

async fn answer<K: HookLookup>(
    hooks: Hooks<K>,
    hook: Hook,
    format: HookFormat,
    request: Request,
) -> Response {
    let started_at = Instant::now();
    let outcome = hooks.decide(hook, request).await;
    let result = match &outcome {
        Ok(()) => 0,
        Err(HookRefusal::Denied(denial)) if denial.is_fault() => {
            hooks.metrics.plain.faults.inc();
            if hooks.is_warning_due() {
                tracing::warn!(
                    ?hook,
                    "deciding a hook failed: {denial}; Sluice denies the request"
                );
            }
            2
        }
        Err(_) => 1,
    };
    hooks.metrics.decided(hook as usize, result).inc();
    let response = match outcome {
        Ok(()) => format.allow(),
        Err(HookRefusal::Invalid(why)) => {
            (Extension(Unproven), format.deny(StatusCode::FORBIDDEN, &why)).into_response()
        }
        Err(HookRefusal::Denied(denial)) => {
            tracing::debug!(?hook, reason = %denial, "denied");
            format.deny(StatusCode::FORBIDDEN, &denial.to_string())
        }
    };
    hooks.metrics.plain.seconds.observe(started_at.elapsed().as_secs_f64());
    response
}

// === impl Hooks ===

impl<K: HookLookup> Hooks<K> {
    /// The state with this authorizer, and the secret that every request must contain.
    pub fn new(
        authorizer: Arc<HookAuthorizer<K>>,
        secret: Option<&Secret>,
        metrics: HookMetrics,
        denials: RecentDenials,
    ) -> Self {
        Self {
            authorizer,
            secret: secret.map(|secret| TokenHash::of(secret.expose())),
            metrics,
            denials,
            warned_at: Arc::default(),
        }
    }

    async fn decide(&self, hook: Hook, request: Request) -> Result<(), HookRefusal> {
        let (head, body) = request.into_parts();
        if !self.has_secret(&head.headers, &head.uri) {
            return Err(HookRefusal::invalid(
                "the request lacks HOOKS_SECRET: append ?secret=.. to the URL",
            ));
        }
        let body = read_body(body).await?;
        if let Some(ConnectInfo(peer)) = head.extensions.get::<ConnectInfo<Peer>>() {
            peer.arrived();
        }
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let question = HookQuestion::read(text(CONTENT_TYPE), &body)
            .map_err(|error| HookRefusal::Invalid(error.to_string()))?;
        let username = question.username.as_deref().filter(|name| !name.is_empty());
        let client_id = question.clientid.as_deref().unwrap_or_default();
        let caller = Caller::new(text(AUTHORIZATION).and_then(bearer), username, client_id);
        let asked = match hook {
            Hook::User => Some(AskedFor::Login),
            // Most clients are no superusers.
            Hook::Superuser => None,
            Hook::Acl => {
                let topic = question.topic.as_deref().unwrap_or_default();
                Some(AskedFor::Topic { acc: question.acc(), topic })
            }
        };
        let outcome = match hook {
            Hook::User => {
                let login = self.authorizer.login(caller, question.password.as_deref());
                login.await.map(drop)
            }
            Hook::Superuser => self.authorizer.superuser(caller),
            Hook::Acl => {
                let topic = question
                    .topic
                    .as_deref()
                    .ok_or_else(|| HookRefusal::invalid("the request has no topic"))?;
                self.authorizer.acl(caller, question.acc(), topic).await
            }
        };
        outcome.map_err(|denial| {
            if let Some(asked) = asked {
                self.denials.note(caller, asked, &denial, clock::now());
            }
            HookRefusal::Denied(denial)
        })
    }

    /// Whether the log may take another fault: a fault repeats with each request, and the metric
    /// counts them all.
    fn is_warning_due(&self) -> bool {
        let mut warned_at = self.warned_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned_at.is_none_or(|warned_at| warned_at.elapsed() >= WARN_INTERVAL);
        if is_due {
            *warned_at = Some(Instant::now());
        }
        is_due
    }

    fn has_secret(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let Some(secret) = &self.secret else { return true };
        let in_query =
            || uri.query()?.split('&').find_map(|pair| pair.strip_prefix(SECRET_PARAMETER));
        let given =
            headers.get(SECRET_HEADER).and_then(|value| value.to_str().ok()).or_else(in_query);
        given.is_some_and(|given| secret.matches(given))
    }
}

impl<K> Clone for Hooks<K> {
    fn clone(&self) -> Self {
        let (authorizer, warned_at) = (Arc::clone(&self.authorizer), Arc::clone(&self.warned_at));
        let (metrics, denials) = (self.metrics.clone(), self.denials.clone());
        Self { authorizer, secret: self.secret, metrics, denials, warned_at }
    }
}

// === impl HookFormat ===

impl HookFormat {
    fn allow(self) -> Response {
        match self {
            Self::Json => ([(CONTENT_TYPE, "application/json")], r#"{"ok":true}"#).into_response(),
            Self::Text => ([(CONTENT_TYPE, "text/plain")], "ok").into_response(),
        }
    }

    fn deny(self, status: StatusCode, why: &str) -> Response {
        match self {
            Self::Json => {
                let body = json!({ "ok": false, "reason": why }).to_string();
                (status, [(CONTENT_TYPE, "application/json")], body).into_response()
            }
            Self::Text => {
                (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{why}\n"))
                    .into_response()
            }
        }
    }
}

// === impl HookRefusal ===

impl HookRefusal {
    fn invalid(why: &str) -> Self {
        Self::Invalid(why.into())
    }
}

// === private helpers ===

async fn read_body(body: axum::body::Body) -> Result<Bytes, HookRefusal> {
    match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(HookRefusal::Invalid(format!(
            "the body is incomplete, or longer than {MAX_BODY} bytes"
        ))),
        Err(_) => Err(HookRefusal::Invalid(format!(
            "the body did not arrive within {} s",
            BODY_TIMEOUT.as_secs()
        ))),
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case("Bearer ").then(|| token.trim())
}
