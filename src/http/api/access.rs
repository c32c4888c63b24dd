//! What a route demands of its caller: a role, and where the request names the tenant whose
//! rows it is about.
//!
//! It holds the answers only; `grant` checks a request against them.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::identity::{Acting, CallIdentity};
use super::state::Api;
use crate::domain::caller::CallerRole;

/// What a route demands of its caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteAccess {
    pub path: &'static str,
    pub role: CallerRole,
    pub scope: RouteScope,
    /// Whether the route needs no proof: its response is the same for everyone and no secret.
    pub is_public: bool,
    /// Whether the response to this body would contain a secret.
    pub gives_secret: fn(&[u8]) -> bool,
    /// The fields of the response that hold payloads, which viewers do not see.
    pub payloads: &'static [&'static str],
}

/// Where a request names the tenant whose rows it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteScope {
    /// Nowhere: it is about all tenants.
    Everything,
    /// Nowhere: it is about links, which serve all tenants.
    Links,
    /// In the path.
    Tenant,
    /// By the certificate in the path.
    Certificate,
    /// By the event in the path.
    Event,
    /// By the replay job in the path.
    Replay,
    /// By the refused message of a link in the path.
    DeadLetter,
    /// In the parameter `tenant`; a bound caller gets it set.
    Query,
    /// In the field `tenant` of the body.
    Body,
    /// In the field `topic` of the body.
    Topic,
    /// Its response is the same for all tenants.
    Nothing,
}

/// The state of the API, with the sender of the request as the author of changes.
pub(super) struct ActingApi(pub Api);

/// For a body that always makes a secret.
pub(super) fn always(_: &[u8]) -> bool {
    true
}

/// For a body that orders a private key, and for one that cannot be read.
pub(super) fn with_new_key(body: &[u8]) -> bool {
    object(body).is_none_or(|fields| fields.get("new_key").is_some_and(|value| *value != false))
}

/// For a body that adds a device, which gets a token unless the body says no or names a message
/// whose token it takes over, and for one that cannot be read.
pub(super) fn unless_without_token(body: &[u8]) -> bool {
    object(body).is_none_or(|fields| {
        let is_made = fields.get("token").is_none_or(|value| *value != false);
        is_made && fields.get("token_of_event").is_none_or(Value::is_null)
    })
}

/// An array is none: a struct would be read from it, too.
fn object(body: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(body).ok()
}

// === impl RouteAccess ===

impl RouteAccess {
    /// The access that follows from the method and the path: what is below a tenant or a
    /// certificate can be read by a viewer and changed by an operator; the rest is for admins.
    pub(super) fn of(method: &str, path: &'static str) -> Self {
        let scope = if path.contains("{tenant}") {
            RouteScope::Tenant
        } else if path.contains("{certificate}") {
            RouteScope::Certificate
        } else {
            RouteScope::Everything
        };
        let is_row_of_tenant = path.contains("{tenant}/") || scope == RouteScope::Certificate;
        let role = match (scope, method) {
            (RouteScope::Everything, _) => CallerRole::Admin,
            (_, "get") => CallerRole::Viewer,
            _ if is_row_of_tenant => CallerRole::Operator,
            _ => CallerRole::Admin,
        };
        Self { path, role, scope, is_public: false, gives_secret: |_| false, payloads: &[] }
    }
}

// === impl ActingApi ===

impl FromRequestParts<Api> for ActingApi {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let api = api.clone();
        Ok(Self(match parts.extensions.get::<CallIdentity>() {
            Some(identity) => {
                let actor = Arc::clone(&identity.actor);
                Api { actor, acting: Acting::of(identity), ..api }
            }
            None => api,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_makes_a_secret_if_its_field_says_so() {
        assert!(with_new_key(br#"{"new_key":true}"#));
        for body in [&br#"{"csr":"x"}"#[..], br#"{"new_key":false}"#] {
            assert!(!with_new_key(body));
        }
        for body in [&b""[..], b"null", b"[null,true,null]", b"[]", br#"{"new_key":1}"#] {
            assert!(with_new_key(body) && unless_without_token(body));
        }
        assert!(unless_without_token(br#"{"device_id":"a"}"#));
        assert!(unless_without_token(br#"{"token":true}"#));
        assert!(!unless_without_token(br#"{"token":false}"#));
        assert!(!unless_without_token(br#"{"token_of_event":"e"}"#));
        assert!(unless_without_token(br#"{"token_of_event":null}"#));
    }
}
