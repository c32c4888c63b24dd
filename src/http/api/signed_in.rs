//! A person who is signed in at the console: name, role, tenant, and the token that each change
//! must repeat.
//!
//! It authenticates no one: the middleware of the pages adds it to a request that has a valid
//! session.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use subtle::ConstantTimeEq;

use super::identity::{CallIdentity, CallerProof};
use crate::domain::caller::CallerRole;
use crate::domain::ids::TenantId;
use crate::store::registry::audit::Actor;

/// The person of a session.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The name, as the audit log shows it after `console:`.
    pub name: String,
    /// What the person may do.
    pub role: CallerRole,
    /// The only tenant that the person may read and change.
    pub tenant: Option<TenantId>,
    /// The token of the session, which each change must repeat.
    pub csrf: String,
    /// The header that gives the browser its cookie, if it has none yet.
    pub new_cookie: Option<HeaderValue>,
}

// === impl SignedIn ===

impl SignedIn {
    /// The sender of the person's API calls.
    pub fn identity(&self) -> CallIdentity {
        let proof = CallerProof::Named { role: self.role, tenant: self.tenant.clone() };
        let actor = Arc::new(Actor::of_console(&self.name));
        CallIdentity { actor, proof, may_receive_secrets: true, is_person: true }
    }

    /// Whether a change repeats the token of the session. The time this takes does not depend on the
    /// token.
    pub fn has_token(&self, token: &[u8]) -> bool {
        self.csrf.as_bytes().ct_eq(token).into()
    }
}

/// The person of a page. The middleware of the pages has refused a request without one.
impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts.extensions.get::<Self>().cloned().ok_or(StatusCode::UNAUTHORIZED)
    }
}

/// The person of a page that everyone sees.
impl<S: Send + Sync> OptionalFromRequestParts<S> for SignedIn {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}
