//! The part of the overview that was rendered last, for each scope of viewers: one rendering serves
//! all of them for a second.
//!
//! It renders nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::markup::Markup;
use crate::domain::ids::TenantId;

/// The most tenants whose parts are kept: a viewer that is bound to one sees only it.
const TENANTS_MAX: usize = 64;

/// The parts that were rendered last, by the tenant that bounds their viewers. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct RenderedParts(Arc<Mutex<BTreeMap<Option<TenantId>, Arc<PartSlot>>>>);

/// The last part, held by the request that renders the next.
pub(super) type PartSlot = tokio::sync::Mutex<Option<(Instant, Arc<Markup>)>>;

// === impl RenderedParts ===

impl RenderedParts {
    pub(super) fn slot(&self, tenant: Option<&TenantId>) -> Arc<PartSlot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() > TENANTS_MAX {
            slots.retain(|tenant, _| tenant.is_none());
        }
        Arc::clone(slots.entry(tenant.cloned()).or_default())
    }
}
