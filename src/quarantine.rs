//! The quarantine as an operator works on it: list, find, discard, and [`replay`] at once; as a job,
//! [`replay_worker`] replays in the background. [`registration`] says what adding the sender would do.
//!
//! The API and the command line call the same functions. It judges no message itself: that is the
//! task of [`crate::ingest`]. It shows no token.

pub(crate) mod registration;
pub(crate) mod replay;
pub(crate) mod replay_jobs;
pub(crate) mod replay_worker;
pub(crate) mod search;

use uuid::Uuid;

use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::quarantine::filter::QuarantineFilter;
use crate::store::reads::quarantine::{self as events, EventSummary, Record};
use crate::store::registry::audit::Actor;

/// The quarantine, and who works on it.
#[derive(Clone, Copy, Debug)]
pub struct Quarantine<'a> {
    /// The database with the events.
    pub database: &'a Database,
    /// The actor recorded in the audit log.
    pub actor: &'a Actor,
}

/// Why a filter does not select the events of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectionError {
    /// Neither `all` nor a condition is set.
    Empty,
    /// Both `all` and a condition are set.
    AllWithConditions,
}

/// Checks the filter of a change: every event needs `all`, and `all` excludes other conditions.
pub fn select(filter: QuarantineFilter, all: bool) -> Result<QuarantineFilter, SelectionError> {
    match (filter.is_everything(), all) {
        (true, false) => Err(SelectionError::Empty),
        (false, true) => Err(SelectionError::AllWithConditions),
        _ => Ok(filter),
    }
}

/// The filter that selects one event.
pub fn by_id(id: Uuid) -> QuarantineFilter {
    QuarantineFilter { ids: vec![id], ..QuarantineFilter::default() }
}

// === impl Quarantine ===

impl Quarantine<'_> {
    /// Lists a page of events before `before`, newest first.
    pub async fn list(
        &self,
        filter: &QuarantineFilter,
        before: Option<QuarantineCursor>,
        limit: u32,
    ) -> Result<Vec<EventSummary>, Outage> {
        events::list(self.database.pool(), filter, before, limit).await
    }

    /// Where [`Self::list`] stopped to look, if it did not look at all events.
    pub async fn scan_end(
        &self,
        filter: &QuarantineFilter,
        before: Option<QuarantineCursor>,
    ) -> Result<Option<QuarantineCursor>, Outage> {
        events::scan_end(self.database.pool(), filter, before).await
    }

    /// The event that follows this place in time, of those that a list shows.
    pub async fn next_newer(
        &self,
        filter: &QuarantineFilter,
        after: QuarantineCursor,
    ) -> Result<Option<Uuid>, Outage> {
        events::next_newer(self.database.pool(), filter, after).await
    }

    /// Finds one event with its payload.
    pub async fn find(&self, id: Uuid) -> Result<Option<Record>, Outage> {
        Ok(events::fetch(self.database.pool(), &by_id(id), None, 1).await?.pop())
    }

    /// Deletes the selected events, or only counts them in a dry run; returns their number.
    pub async fn discard(&self, filter: &QuarantineFilter, is_dry: bool) -> Result<u64, Outage> {
        let pool = self.database.pool();
        if is_dry {
            Ok(events::count(pool, filter).await?.unsigned_abs())
        } else {
            events::discard(pool, self.actor, filter).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_selected_by_all_alone() {
        let everything = QuarantineFilter::default();
        let of_a_tenant =
            QuarantineFilter { tenant: Some("acme".into()), ..QuarantineFilter::default() };
        assert_eq!(select(everything.clone(), true), Ok(everything.clone()));
        assert_eq!(select(everything, false), Err(SelectionError::Empty));
        assert_eq!(select(of_a_tenant.clone(), false), Ok(of_a_tenant.clone()));
        assert_eq!(select(of_a_tenant, true), Err(SelectionError::AllWithConditions));
        assert!(select(by_id(Uuid::from_u128(7)), false).is_ok());
    }
}
