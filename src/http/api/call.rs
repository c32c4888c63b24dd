//! Calls the API without HTTP: a request through the router and all its layers, and its response.
//!
//! It authenticates no sender: the transport says who sends, and the routes decide what that sender
//! may do.

use std::fmt;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, IF_MATCH, IF_NONE_MATCH, LOCATION, RETRY_AFTER,
};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use tower_service::Service;

use super::api_router;
use super::grant::AnsweredRoute;
use super::identity::{CallIdentity, CallerProof};
use super::problem::{MEDIA_TYPE, Problem, ProblemKind};
use super::state::Api;
use crate::http::session::Sessions;

/// The largest response of a route, in bytes.
pub const MAX_REPLY: usize = 64 * 1024;

/// The largest response to a request that changes something, in bytes: its sender cannot
/// request less of what is done.
const MAX_CHANGE_REPLY: usize = 256 * 1024;

/// The largest `OpenAPI` document, in bytes: the one response whose size no row decides.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// The path of the `OpenAPI` document.
const DOCUMENT: &str = "/api/v1/openapi.json";

/// The headers of a request that a caller may set.
const REQUEST_HEADERS: [HeaderName; 4] =
    [AUTHORIZATION, IF_MATCH, IF_NONE_MATCH, HeaderName::from_static("idempotency-key")];

/// The headers of a response that its reader gets.
const RESPONSE_HEADERS: [HeaderName; 3] = [ETAG, LOCATION, RETRY_AFTER];

/// How long a call waits for a connection to Postgres before it is answered with status 503.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

/// After how many seconds a request that a fault of the moment refused can be tried again.
const RETRY_SECONDS: u32 = 2;

/// The paths whose responses need no Postgres.
const WITHOUT_DATABASE: [&str; 12] = [
    DOCUMENT,
    "/api/v1/overview",
    "/api/v1/doctor",
    "/api/v1/live",
    "/api/v1/live/recent",
    "/api/v1/settings",
    "/api/v1/access/check",
    "/api/v1/access/lint",
    "/api/v1/access/denials",
    "/api/v1/ca-bundle",
    "/crl.pem",
    "/crl.der",
];

/// A request for the router.
#[derive(Clone, Debug)]
pub struct ApiCall {
    /// The method, in upper case.
    pub method: String,
    /// Path and query, percent-encoded.
    pub target: String,
    /// The type of the body.
    pub content_type: String,
    /// Names and values of headers; only those that the API reads are passed on.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Who sends it.
    pub identity: CallIdentity,
}

/// A response of the router, or a problem document of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiReply {
    /// The HTTP status code.
    pub status: u16,
    /// The type of the body.
    pub content_type: String,
    /// `etag`, `location` and `retry-after`, if the response has them.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// The template of the path of the route, if one answered.
    pub route: Option<&'static str>,
}

/// Why a request gets no response of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// It cannot be read.
    Malformed,
    /// It needs the admin token.
    Unproven,
    /// Its sender may not send it.
    Forbidden,
    /// It names no route.
    NoRoute,
    /// The route has no such method.
    Method,
    /// It is too large.
    TooLarge,
    /// Its sender sends too many.
    TooMany,
    /// A dependency does not answer, or too many requests wait.
    Unavailable,
}

/// Calls the router of the API.
#[derive(Clone)]
pub struct ApiCaller {
    api: Api,
    router: Router,
    /// The largest response to a request that changes nothing, in bytes.
    most_read: usize,
}

// === impl ApiCaller ===

impl ApiCaller {
    /// For the API with this state, which shares its limits of concurrency.
    pub fn new(api: Api) -> Self {
        Self { router: api_router(api.clone()), api, most_read: MAX_REPLY }
    }

    /// The people at the console.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.api.sessions
    }

    /// The same, for a sender in this process, whose responses may be larger.
    pub(crate) fn with_responses_up_to(self, bytes: usize) -> Self {
        Self { most_read: bytes, ..self }
    }

    /// The response to a call.
    pub async fn call(&self, call: ApiCall) -> ApiReply {
        let path = call.target.split('?').next().unwrap_or_default();
        let is_change = call.is_change();
        let limit = match path {
            DOCUMENT => MAX_DOCUMENT,
            _ if is_change => MAX_CHANGE_REPLY.max(self.most_read),
            _ => self.most_read,
        };
        let needs_database = !WITHOUT_DATABASE.contains(&path);
        let Some(request) = request(call) else {
            let detail = "the request has a method, a path or a header that HTTP cannot carry";
            return ApiReply::fault(CallFault::Malformed, detail);
        };
        if needs_database && !self.api.database.is_available(DATABASE_PATIENCE).await {
            return ApiReply::fault(CallFault::Unavailable, "Postgres does not answer: try again");
        }
        let response = self.router.clone().call(request).await;
        match response {
            Ok(response) => ApiReply::of(response, limit, is_change).await,
            Err(never) => match never {},
        }
    }

    /// Whether the sender of a call is authenticated: by the transport or by the admin token. What
    /// it may do depends on the route.
    pub fn is_proven(&self, call: &ApiCall) -> bool {
        match call.identity.proof {
            CallerProof::Nothing => false,
            CallerProof::Named { .. } => true,
            CallerProof::Token => request(call.clone()).is_some_and(|request| {
                self.api.admin_token.check(request.method(), request.headers(), false).is_ok()
            }),
        }
    }
}

/// It contains secrets of the settings.
impl fmt::Debug for ApiCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiCaller").finish_non_exhaustive()
    }
}

// === impl ApiCall ===

impl ApiCall {
    /// Whether its method can change something.
    pub fn is_change(&self) -> bool {
        !["GET", "HEAD"].contains(&self.method.as_str())
    }
}

// === impl ApiReply ===

impl ApiReply {
    /// A problem document.
    pub fn fault(fault: CallFault, detail: &str) -> Self {
        let kind = match fault {
            CallFault::Malformed => ProblemKind::BadRequest,
            CallFault::Unproven => ProblemKind::Unauthorized,
            CallFault::Forbidden => ProblemKind::Forbidden,
            CallFault::NoRoute => ProblemKind::NoSuchPath,
            CallFault::Method => ProblemKind::MethodNotAllowed,
            CallFault::TooLarge => ProblemKind::TooLarge,
            CallFault::TooMany => ProblemKind::TooManyRequests,
            CallFault::Unavailable => ProblemKind::Unavailable,
        };
        let problem = Problem::new(kind, detail);
        let is_transient = matches!(fault, CallFault::TooMany | CallFault::Unavailable);
        let headers = is_transient.then(|| ("retry-after", RETRY_SECONDS.to_string()));
        Self {
            status: problem.status(),
            content_type: MEDIA_TYPE.to_owned(),
            headers: headers.into_iter().collect(),
            // The document holds only strings and numbers, so serialization does not fail.
            body: serde_json::to_vec(&problem.document()).unwrap_or_default().into(),
            route: None,
        }
    }

    async fn of(response: Response, limit: usize, is_change: bool) -> Self {
        let (parts, body) = response.into_parts();
        let text = |name: &HeaderName| {
            parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let route = parts.extensions.get::<AnsweredRoute>().map(|AnsweredRoute(path)| *path);
        let status = parts.status.as_u16();
        let Ok(body) = to_bytes(body, limit).await else {
            let advice = if is_change && parts.status.is_success() {
                "the request was carried out: read its effect by other requests"
            } else {
                "request less, or send the request over HTTP"
            };
            let detail = format!("the response has more than {limit} bytes: {advice}");
            return Self { route, ..Self::fault(CallFault::TooLarge, &detail) };
        };
        let headers = RESPONSE_HEADERS.iter().zip(["etag", "location", "retry-after"]);
        let headers = headers.filter_map(|(name, label)| Some((label, text(name)?))).collect();
        let content_type = text(&CONTENT_TYPE).unwrap_or_default();
        Self { status, content_type, headers, body, route }
    }
}

// === private helpers ===

fn request(call: ApiCall) -> Option<Request> {
    let mut request = Request::builder()
        .method(call.method.as_bytes())
        .uri(&call.target)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, &call.content_type);
    for (name, value) in &call.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        if let Some(name) = name.filter(|name| REQUEST_HEADERS.contains(name)) {
            request = request.header(name, HeaderValue::from_str(value).ok()?);
        }
    }
    let mut request = request.body(Body::from(call.body)).ok()?;
    request.extensions_mut().insert(call.identity);
    Some(request)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test]
    async fn a_response_that_is_too_large_says_whether_something_was_done() {
        for (status, is_change, is_done) in [
            (StatusCode::OK, true, true),
            (StatusCode::CONFLICT, true, false),
            (StatusCode::OK, false, false),
        ] {
            let response = (status, "12345").into_response();
            let reply = ApiReply::of(response, 4, is_change).await;
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            assert_eq!((reply.status, text.contains("was carried out")), (413, is_done), "{text}");
        }
    }
}
