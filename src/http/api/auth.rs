//! Authentication of the API: the bearer of `ADMIN_TOKEN` or of an operator's token, the cookie of
//! a session of the console, or without `ADMIN_TOKEN` local requests on a loopback listener.
//!
//! What each of them may do depends on the route. It stores and logs neither a token nor a wrong
//! one.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::admin_token::{FromThisMachine, bearer, unauthorized};
use super::identity::{Acting, CallIdentity, CallerProof};
use super::problem::{Problem, ProblemKind};
use super::signed_in::SignedIn;
use super::state::Api;
use crate::domain::operator::{Person, is_operator_token};
use crate::http::listener::browser::check_own_page;
use crate::store::registry::audit::Actor;

/// The header in which a page repeats the token of its session.
pub const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

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
    if bearer.is_none()
        && !is_remote_call
        && let Some(person) = api.sessions.person(parts).await?
    {
        check_change(&parts.method, &parts.headers, &person)?;
        return Ok(Some(person.identity()));
    }
    let is_local = parts.extensions.get::<FromThisMachine>().is_some();
    api.admin_token.check(&parts.method, &parts.headers, is_local).map(|()| None)
}

/// What the sender of an earlier request may do now; the problem if it is no longer authenticated.
pub(crate) async fn acting_now(api: &Api, parts: &Parts) -> Result<Acting, Problem> {
    let identity = identify(api, parts, false).await?;
    Ok(identity.as_ref().map_or_else(Acting::admin, Acting::of))
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
