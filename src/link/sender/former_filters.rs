//! Filters that earlier settings had and the present ones have not: a session that the other broker keeps
//! still has them, and would deliver their messages.
//!
//! It sends nothing: lane 0 unsubscribes, and the outbox keeps the filters until that is done.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::ports::Outage;
use crate::link::settings::LinkSettings;
use crate::store::links::outbox::LinkOutbox;

/// The filters to unsubscribe from.
#[derive(Debug)]
pub(super) struct FormerFilters {
    gone: Vec<String>,
    wanted: Vec<String>,
    /// Set when the session has none of them.
    is_gone: AtomicBool,
    is_stored: AtomicBool,
}

// === impl FormerFilters ===

impl FormerFilters {
    /// Notes the filters of these settings before they are subscribed to.
    pub(super) async fn note(
        outbox: &mut LinkOutbox,
        settings: &LinkSettings,
    ) -> Result<Self, Outage> {
        let rules = settings.ingest.iter();
        let mut wanted: Vec<String> = rules.map(|rule| rule.filter.clone()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut gone = Vec::new();
        // Without a rule the link has no session.
        if !wanted.is_empty() {
            gone = outbox.note_filters(&wanted).await?;
            gone.retain(|filter| !wanted.contains(filter));
        }
        let is_stored = AtomicBool::new(gone.is_empty());
        Ok(Self { gone, wanted, is_gone: AtomicBool::new(false), is_stored })
    }

    /// The filters that the session may still have.
    pub(super) fn left(&self) -> &[String] {
        if self.is_gone.load(Ordering::Relaxed) { &[] } else { &self.gone }
    }

    /// The session has none of them any more.
    pub(super) fn unsubscribed(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }

    /// Removes them from the outbox, when the session has none of them.
    pub(super) async fn store(&self, outbox: &mut LinkOutbox) -> Result<(), Outage> {
        if self.is_gone.load(Ordering::Relaxed) && !self.is_stored.load(Ordering::Relaxed) {
            outbox.set_filters(&self.wanted).await?;
            self.is_stored.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
