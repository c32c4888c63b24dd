//! The broker's questions over HTTP, as mosquitto-go-auth asks them: may it log in, is everything open to it, may it do that.
//!
//! 200 means yes and has one body, 403 means no and says why. There is no 5xx: the broker would disconnect the publisher of a
//! message because a subscriber could not be judged. No body, no header and no query is ever logged.

pub mod question;

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
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::listener::browser::{no_pages, one_host};
use super::listener::drain::drained;
use super::listener::limits::{ConnectionLimits, HEAD_TIME, LimitedListener, Peer, Unproven, follow};
use super::listener::places::Pace;
use crate::access::hooks::authorizer::{HookAuthorizer, HookLookup};
use crate::access::hooks::caller::Caller;
use crate::access::hooks::denial::Denial;
use crate::config::secret::Secret;
use crate::telemetry::hooks::HookMetrics;
use crate::telemetry::http::ListenerMetrics;
use question::HookQuestion;

/// What connections may take.
const LIMITS: ConnectionLimits = ConnectionLimits {
    // A broker has one connection, or a few; the rest is for people and probes.
    connections: 64,
    lifetime: None,
    // Silence may be long: a quiet broker keeps its connection, unless places are scarce.
    pace: Pace { head: HEAD_TIME, idle: Duration::from_mins(10) },
    // The body, and a generous head.
    sent_bytes: MAX_BODY + 32 * 1024,
};

/// The longest question: a topic of 64 KiB with every second character escaped.
const MAX_BODY: usize = 256 * 1024;

/// How long a question may take to arrive in full.
const ARRIVAL: Duration = Duration::from_secs(5);

/// How often a fault is logged.
const WARN_PAUSE: Duration = Duration::from_secs(10);

const SECRET_HEADER: HeaderName = HeaderName::from_static("x-hooks-secret");
const SECRET_PARAMETER: &str = "secret=";

const PATHS: &str = "there are /user, /superuser and /acl, also below /mqtt, and each of them also below /text";

/// What answers the broker. Cheap to clone.
pub struct Hooks<K> {
    door: Arc<HookAuthorizer<K>>,
    /// The hash of the secret: two of them are of one length, so comparing them tells nothing.
    secret: Option<[u8; 32]>,
    metrics: HookMetrics,
    warned_at: Arc<Mutex<Option<Instant>>>,
}

/// A question; the number is its place among the metrics' labels.
#[derive(Clone, Copy, Debug)]
enum Hook {
    User = 0,
    Superuser = 1,
    Acl = 2,
}

/// How a yes is written: `response_mode` json and status, or text.
#[derive(Clone, Copy, Debug)]
enum HookFormat {
    Json,
    Text,
}

/// What became of a question: yes, or why not.
#[derive(Debug)]
enum HookRefusal {
    /// Not a question the door could be asked.
    Unasked(String),
    Denied(Denial),
}

/// Answers the broker on this listener until `stop`.
pub async fn serve_hooks<K: HookLookup>(
    listener: TcpListener,
    hooks: Hooks<K>,
    numbers: ListenerMetrics,
    stop: CancellationToken,
) {
    let listener = LimitedListener::new(listener, LIMITS, numbers);
    let router = router(hooks).layer(from_fn(no_pages)).layer(from_fn(one_host)).layer(from_fn(follow));
    let service = router.into_make_service_with_connect_info::<Peer>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    drained(serving.into_future(), stop, "to the broker's questions").await;
}

fn router<K: HookLookup>(hooks: Hooks<K>) -> Router {
    let mut router = Router::new();
    let methods = MethodFilter::POST.or(MethodFilter::PUT).or(MethodFilter::GET);
    for (voice, below) in [(HookFormat::Json, ""), (HookFormat::Text, "/text")] {
        for (hook, name) in [(Hook::User, "user"), (Hook::Superuser, "superuser"), (Hook::Acl, "acl")] {
            let answer = move |State(hooks): State<Hooks<K>>, request| answer(hooks, hook, voice, request);
            let endpoint = on(methods, answer);
            router = router.route(&format!("{below}/{name}"), endpoint.clone());
            router = router.route(&format!("{below}/mqtt/{name}"), endpoint);
        }
    }
    let no_such = async || (Extension(Unproven), HookFormat::Json.no(StatusCode::NOT_FOUND, PATHS));
    let wrong =
        async || (Extension(Unproven), HookFormat::Json.no(StatusCode::METHOD_NOT_ALLOWED, "ask by POST, PUT or GET"));
    router.fallback(no_such).method_not_allowed_fallback(wrong).with_state(hooks)
}

async fn answer<K: HookLookup>(hooks: Hooks<K>, hook: Hook, voice: HookFormat, request: Request) -> Response {
    let begun = Instant::now();
    let said = hooks.ask(hook, request).await;
    let result = match &said {
        Ok(()) => 0,
        Err(HookRefusal::Denied(denial)) if denial.is_fault() => {
            hooks.metrics.plain.faults.inc();
            if hooks.may_warn() {
                tracing::warn!(?hook, reason = %denial, "a question of the broker was denied because of a fault");
            }
            2
        }
        Err(_) => 1,
    };
    hooks.metrics.decided(hook as usize, result).inc();
    let response = match said {
        Ok(()) => voice.yes(),
        Err(HookRefusal::Unasked(why)) => (Extension(Unproven), voice.no(StatusCode::FORBIDDEN, &why)).into_response(),
        Err(HookRefusal::Denied(denial)) => {
            tracing::debug!(?hook, reason = %denial, "denied");
            voice.no(StatusCode::FORBIDDEN, &denial.to_string())
        }
    };
    hooks.metrics.plain.seconds.observe(begun.elapsed().as_secs_f64());
    response
}

// === impl Hooks ===

impl<K: HookLookup> Hooks<K> {
    /// This door, and the secret its askers must know.
    pub fn new(door: HookAuthorizer<K>, secret: Option<&Secret>, metrics: HookMetrics) -> Self {
        Self {
            door: Arc::new(door),
            secret: secret.map(|secret| hash(secret.expose())),
            metrics,
            warned_at: Arc::default(),
        }
    }

    async fn ask(&self, hook: Hook, request: Request) -> Result<(), HookRefusal> {
        let (head, body) = request.into_parts();
        if !self.knows_secret(&head.headers, &head.uri) {
            return Err(HookRefusal::unasked("the question does not carry HOOKS_SECRET: append ?secret=.. to the URL"));
        }
        let body = arrived(body).await?;
        if let Some(ConnectInfo(peer)) = head.extensions.get::<ConnectInfo<Peer>>() {
            peer.arrived();
        }
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let question =
            HookQuestion::read(text(CONTENT_TYPE), &body).map_err(|unread| HookRefusal::Unasked(unread.to_string()))?;
        let username = question.username.as_deref().filter(|name| !name.is_empty());
        let client_id = question.clientid.as_deref().unwrap_or_default();
        let caller = Caller::new(text(AUTHORIZATION).and_then(bearer), username, client_id);
        let said = match hook {
            Hook::User => self.door.user(caller, question.password.as_deref()).await,
            Hook::Superuser => self.door.superuser(caller),
            Hook::Acl => {
                let topic =
                    question.topic.as_deref().ok_or_else(|| HookRefusal::unasked("the question names no topic"))?;
                self.door.acl(caller, question.acc(), topic).await
            }
        };
        said.map_err(HookRefusal::Denied)
    }

    /// Faults come with each question; the log hears of one of them in a while, the metric of all.
    fn may_warn(&self) -> bool {
        let mut warned_at = self.warned_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned_at.is_none_or(|warned_at| warned_at.elapsed() >= WARN_PAUSE);
        if is_due {
            *warned_at = Some(Instant::now());
        }
        is_due
    }

    fn knows_secret(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let Some(secret) = &self.secret else { return true };
        let in_query = || uri.query()?.split('&').find_map(|pair| pair.strip_prefix(SECRET_PARAMETER));
        let given = headers.get(SECRET_HEADER).and_then(|value| value.to_str().ok()).or_else(in_query);
        given.is_some_and(|given| bool::from(hash(given).ct_eq(secret)))
    }
}

impl<K> Clone for Hooks<K> {
    fn clone(&self) -> Self {
        let (door, warned_at) = (Arc::clone(&self.door), Arc::clone(&self.warned_at));
        Self { door, secret: self.secret, metrics: self.metrics.clone(), warned_at }
    }
}

// === impl Voice ===

impl HookFormat {
    fn yes(self) -> Response {
        match self {
            Self::Json => ([(CONTENT_TYPE, "application/json")], r#"{"ok":true}"#).into_response(),
            Self::Text => ([(CONTENT_TYPE, "text/plain")], "ok").into_response(),
        }
    }

    fn no(self, status: StatusCode, why: &str) -> Response {
        match self {
            Self::Json => {
                let body = json!({ "ok": false, "reason": why }).to_string();
                (status, [(CONTENT_TYPE, "application/json")], body).into_response()
            }
            Self::Text => (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{why}\n")).into_response(),
        }
    }
}

// === impl No ===

impl HookRefusal {
    fn unasked(why: &str) -> Self {
        Self::Unasked(why.into())
    }
}

// === private helpers ===

async fn arrived(body: axum::body::Body) -> Result<Bytes, HookRefusal> {
    match timeout(ARRIVAL, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(HookRefusal::Unasked(format!("the question broke off, or is longer than {MAX_BODY} bytes"))),
        Err(_) => Err(HookRefusal::Unasked(format!("the question took longer than {} s to arrive", ARRIVAL.as_secs()))),
    }
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case("Bearer ").then(|| token.trim())
}
