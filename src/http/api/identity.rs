//! Who sends a request, as the transport has found out: over MQTT, by the token of an operator, or at
//! the console.
//!
//! It decides nothing: `grant` compares it with what a route demands.

use std::sync::Arc;

use crate::domain::caller::CallerRole;
use crate::domain::ids::TenantId;
use crate::store::registry::audit::Actor;

/// Who sends a request. Only the transport sets it. Without one it is the bearer of `ADMIN_TOKEN`.
#[derive(Clone, Debug)]
pub struct CallIdentity {
    /// The author of changes in the audit log.
    pub actor: Arc<Actor>,
    /// What the sender has to show.
    pub proof: CallerProof,
    /// Whether responses may contain new tokens and private keys.
    pub may_receive_secrets: bool,
    /// Whether it is a person at the console or a bearer over HTTP, and not a caller over MQTT.
    pub is_person: bool,
}

/// What the sender of a request has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerProof {
    /// Nothing: only public routes.
    Nothing,
    /// The admin token, in the `Authorization` header.
    Token,
    /// The transport has authenticated it.
    Named {
        /// Its role.
        role: CallerRole,
        /// The only tenant that it may read and change.
        tenant: Option<TenantId>,
    },
}

/// What the sender of a request may do, for routes whose response depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acting {
    /// Its role.
    pub role: CallerRole,
    /// The only tenant that it may read and change.
    pub tenant: Option<TenantId>,
    /// Whether it came over HTTP or from a page, and not over MQTT.
    pub is_person: bool,
}

// === impl Acting ===

impl Acting {
    /// The bearer of `ADMIN_TOKEN`.
    pub(super) const fn admin() -> Self {
        Self { role: CallerRole::Admin, tenant: None, is_person: true }
    }

    pub(super) fn of(identity: &CallIdentity) -> Self {
        let is_person = identity.is_person;
        match &identity.proof {
            CallerProof::Named { role, tenant } => {
                Self { role: *role, tenant: tenant.clone(), is_person }
            }
            CallerProof::Token => Self { is_person, ..Self::admin() },
            CallerProof::Nothing => Self { role: CallerRole::Viewer, tenant: None, is_person },
        }
    }
}
