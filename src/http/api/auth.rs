//! Authentication of the API: the bearer of `ADMIN_TOKEN` or of an operator's token, the cookie of
//! a session of the console, or without `ADMIN_TOKEN` local requests on a loopback listener.
//!
//! What each of them may do depends on the route. It stores and logs neither a token nor a wrong
//! one.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, FORWARDED};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::{CallIdentity, CallerProof};
use super::problem::{Problem, ProblemKind};
use super::signed_in::SignedIn;
use super::state::Api;
use crate::config::secret::Secret;
use crate::domain::operator::{Person, is_operator_token};
use crate::domain::token::TokenHash;
use crate::http::listener::browser::{check_own_page, check_page, is_named_local};
use crate::store::registry::audit::Actor;

/// The header in which a page repeats the token of its session.
pub const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// The header in which a proxy names its client.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

const SET_A_TOKEN: &str = "without ADMIN_TOKEN the API serves only requests from this machine, on a loopback HTTP_BIND and \
    under a local name (localhost, 127.0.0.1); set ADMIN_TOKEN or ADMIN_TOKEN_FILE and send it as `Authorization: Bearer <token>`";

/// Marks a request that comes from this machine. Only the transport sets it; a request without it
/// counts as remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromThisMachine;

/// The hash of the admin token. All hashes have the same length, so a comparison leaks nothing
/// about the token.
#[derive(Clone)]
pub(crate) struct AdminTokenHash(Option<TokenHash>);

/// Passes a request of an authenticated sender on, and answers every other one with the problem.
pub(super) async fn authenticate(State(api): State<Api>, request: Request, next: Next) -> Response {
    let identity = request.extensions().get::<CallIdentity>();
    // The transport has authenticated it, or the route checks that it needs no proof.
    if identity.is_some_and(|identity| identity.proof != CallerProof::Token) {
        return next.run(request).await;
    }
    let is_remote_call = identity.is_some();
    let (mut parts, body) = request.into_parts();
    match identify(&api, &parts, is_remote_call).await {
        Ok(Some(identity)) => drop(parts.extensions.insert(identity)),
        Ok(None) => (),
        Err(problem) => return problem.into_response(),
    }
    next.run(Request::from_parts(parts, body)).await
}

/// The sender, if it is not the bearer of `ADMIN_TOKEN`.
async fn identify(
    api: &Api,
    parts: &Parts,
    is_remote_call: bool,
) -> Result<Option<CallIdentity>, Problem> {
    let bearer = bearer(&parts.headers);
    if let Some(token) = bearer.filter(|token| is_operator_token(token) && !is_remote_call) {
        let found = api.sessions.operator(token).await?;
        let refused = || unauthorized("the bearer token belongs to no operator");
        return found.map(operator).map(Some).ok_or_else(refused);
    }
    if bearer.is_none() && !is_remote_call {
        if let Some(person) = api.sessions.person(parts).await? {
            check_change(&parts.method, &parts.headers, &person)?;
            return Ok(Some(person.identity()));
        }
    }
    let is_local = parts.extensions.get::<FromThisMachine>().is_some();
    api.admin_token.check(&parts.method, &parts.headers, is_local).map(|()| None)
}

/// A change that a cookie authenticates comes from a page of this address, and repeats the token.
fn check_change(method: &Method, headers: &HeaderMap, person: &SignedIn) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    check_own_page(headers)?;
    if headers.get(&CSRF_HEADER).is_some_and(|token| person.has_token(token.as_bytes())) {
        return Ok(());
    }
    let detail = "a change with the cookie of a session needs the session's token in the header X-CSRF-Token: load the page again";
    Err(Problem::new(ProblemKind::Forbidden, detail))
}

fn operator(person: Person) -> CallIdentity {
    CallIdentity {
        actor: Arc::new(Actor::new(&format!("api:{}", person.name))),
        proof: CallerProof::Named { role: person.role, tenant: person.tenant },
        may_receive_secrets: true,
        is_person: true,
    }
}

// === impl AdminTokenHash ===

impl AdminTokenHash {
    pub(super) fn new(token: Option<&Secret>) -> Self {
        Self(token.map(|token| TokenHash::of(token.expose())))
    }

    /// Accepts the bearer of the token, or a local request when there is no token; `is_local` comes
    /// from the transport.
    pub(super) fn check(
        &self,
        method: &Method,
        headers: &HeaderMap,
        is_local: bool,
    ) -> Result<(), Problem> {
        match &self.0 {
            Some(token) => {
                let given = bearer(headers)
                    .ok_or_else(|| unauthorized("send `Authorization: Bearer <ADMIN_TOKEN>`"))?;
                let is_same = token.matches(given);
                is_same
                    .then_some(())
                    .ok_or_else(|| unauthorized("the bearer token is not ADMIN_TOKEN"))
            }
            None if is_local && is_named_local(headers) && !is_forwarded(headers) => {
                check_page(method, headers)
            }
            None => Err(Problem::new(ProblemKind::Forbidden, SET_A_TOKEN)),
        }
    }
}

// === private helpers ===

fn unauthorized(detail: &str) -> Problem {
    Problem::new(ProblemKind::Unauthorized, detail)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) =
        headers.get(AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Whether a proxy forwarded the request: behind a proxy on this machine, every request looks
/// local.
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED) || headers.contains_key(FORWARDED_FOR)
}

#[cfg(test)]
mod tests {
    use axum::http::header::{HOST, ORIGIN};

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn with_a_token_only_its_bearer_is_authenticated() {
        let admin_token = AdminTokenHash::new(Some(&Secret::new("s3cret-token".into())));
        for (sent, is_accepted) in [
            ("Bearer s3cret-token", true),
            ("bearer  s3cret-token ", true),
            ("Bearer s3cret-tokem", false),
            ("Bearer ", false),
            ("Basic s3cret-token", false),
            ("s3cret-token", false),
        ] {
            assert_eq!(
                admin_token.check(&Method::POST, &headers(&[(AUTHORIZATION, sent)]), true).is_ok(),
                is_accepted,
                "{sent}"
            );
        }
        assert_eq!(
            admin_token.check(&Method::POST, &HeaderMap::new(), true).unwrap_err().kind,
            ProblemKind::Unauthorized
        );
    }

    #[test]
    fn without_a_token_only_this_machine_under_its_own_name_is_accepted() {
        let admin_token = AdminTokenHash::new(None);
        let admit = |pairs: &[(HeaderName, &str)], is_local| {
            admin_token.check(&Method::GET, &headers(pairs), is_local)
        };
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]"] {
            let (here, there) = (admit(&[(HOST, host)], true), admit(&[(HOST, host)], false));
            assert!(here.is_ok(), "{host}");
            assert_eq!(there.unwrap_err().kind, ProblemKind::Forbidden, "{host}");
        }
        assert!(admit(&[(HOST, "evil.example:8080")], true).is_err());
        assert!(admit(&[(FORWARDED_FOR, "192.0.2.7")], true).is_err());
        assert!(admit(&[(HOST, "localhost:8080"), (ORIGIN, "http://evil.example")], true).is_err());
    }
}
