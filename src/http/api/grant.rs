//! Checks a request against what its route demands: over MQTT, by the token of an operator, and at
//! the console.
//!
//! A request over HTTP with the admin token passes. A caller that is bound to a tenant never
//! reads another tenant's rows: not by a path, a parameter, a cursor or a body, and not by the
//! identifier of a certificate or an event. For such a caller these do not exist.

use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::RouteAccess;
use super::extract::body_of;
use super::grant_scope::{ScopedRequest, confine};
use super::identity::{Acting, CallIdentity, CallerProof};
use super::mask::{mask, sees_payloads};
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::domain::caller::CallerRole;

/// The template of the path of the route that answered, for metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnsweredRoute(pub &'static str);

/// Passes a request on if its sender may send it.
pub(super) async fn authorize(
    State((api, access)): State<(Api, RouteAccess)>,
    path: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let is_masked = !access.payloads.is_empty()
        && request
            .extensions()
            .get::<CallIdentity>()
            .is_some_and(|identity| !sees_payloads(&api, &Acting::of(identity)));
    let mut response = match check(&api, access, &path, request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    if is_masked {
        response = mask(response, access.payloads).await;
    }
    response.extensions_mut().insert(AnsweredRoute(access.path));
    response
}

// === private helpers ===

async fn check(
    api: &Api,
    access: RouteAccess,
    path: &RawPathParams,
    request: Request,
) -> Result<Request, Problem> {
    let Some(identity) = request.extensions().get::<CallIdentity>().cloned() else {
        return Ok(request);
    };
    let bound_to = match identity.proof {
        CallerProof::Token => None,
        CallerProof::Nothing | CallerProof::Named { .. } if access.is_public => None,
        CallerProof::Nothing => return Err(no_proof()),
        CallerProof::Named { role, .. } if role < access.role => {
            return Err(role_too_low(role, access.role));
        }
        CallerProof::Named { tenant, .. } => tenant,
    };
    let (parts, body) = request.into_parts();
    let body = body_of(Request::from_parts(parts.clone(), body)).await?;
    if !identity.may_receive_secrets && (access.gives_secret)(&body) {
        return Err(secret_over_mqtt());
    }
    let mut scoped = ScopedRequest { api, path, parts, body };
    if let Some(tenant) = &bound_to {
        confine(&mut scoped, access, tenant).await?;
    }
    let ScopedRequest { parts, body, .. } = scoped;
    Ok(Request::from_parts(parts, body.into()))
}

fn no_proof() -> Problem {
    let detail = "this request needs the admin token: send it as `metadata.authorization` (`Bearer <ADMIN_TOKEN>`), or use \
                  the request topic of a caller of MQTT_API_CALLERS";
    Problem::new(ProblemKind::Unauthorized, detail)
}

fn role_too_low(role: CallerRole, needed: CallerRole) -> Problem {
    let detail = format!("the role {role} does not permit this request: it needs {needed}");
    Problem::new(ProblemKind::Forbidden, detail)
}

fn secret_over_mqtt() -> Problem {
    let detail = "the response would contain a new secret, and clients of the broker might read it: send the request over \
                  HTTP, or let the device keep its key (`csr`, or `\"token\": false`); MQTT_API_SECRETS=1 permits it";
    Problem::new(ProblemKind::Forbidden, detail)
}
