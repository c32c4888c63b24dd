//! A person who is signed in at the console: name, role, tenant, and the token that each change
//! must repeat.
//!
//! It authenticates no one: the middleware of the pages adds it to a request that has a valid
//! session.

use std::sync::Arc;

use super::access::{CallIdentity, CallerProof};
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
}

// === impl SignedIn ===

impl SignedIn {
    /// The sender of the person's API calls.
    pub fn identity(&self) -> CallIdentity {
        let proof = CallerProof::Named { role: self.role, tenant: self.tenant.clone() };
        let actor = Arc::new(Actor::new(&format!("console:{}", self.name)));
        CallIdentity { actor, proof, may_receive_secrets: true }
    }
}
