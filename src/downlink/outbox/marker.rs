//! What the broker may have lost of the documents it retained.
//!
//! Sluice retains a marker at the broker: which database its documents are of, and until when they
//! are complete. The broker accepted each document before the marker that covers it, so a broker
//! that has a marker has those documents too, also one that was killed and reads an older file. What
//! was accepted after the marker's time, up to the begin of this connection, may be lost.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::broker::exchange::ExchangeState;
use crate::domain::message::ConnectionId;

/// The content of the marker message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutboxMarker {
    /// The database.
    pub(super) database: Uuid,
    /// Until when the broker has every document it accepted.
    pub(super) complete_until: DateTime<Utc>,
    /// Whether the desired documents are retained (`SHADOW_RETAIN`).
    pub(super) retains: bool,
}

/// What this replica knows of its connection to the broker.
#[derive(Clone, Debug, Default)]
pub(super) struct BrokerView {
    connection: Option<ConnectionId>,
    marker: Option<OutboxMarker>,
    /// Postgres' clock soon after the connection began.
    since: Option<DateTime<Utc>>,
    is_checked: bool,
}

/// Documents to publish again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LostInterval {
    /// Accepted after this time; `None`: all.
    pub(super) after: Option<DateTime<Utc>>,
    /// Accepted until this time.
    pub(super) until: DateTime<Utc>,
}

// === impl OutboxMarker ===

impl OutboxMarker {
    /// Reads the content; `None`: it is no marker of this version.
    fn parse(content: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(content).ok()?.split(' ');
        let database = Uuid::try_parse(words.next()?).ok()?;
        let micros = words.next()?.parse().ok()?;
        let complete_until = DateTime::from_timestamp_micros(micros)?;
        Some(Self { database, complete_until, retains: words.next() != Some("unretained") })
    }

    /// The content.
    pub(super) fn content(&self) -> String {
        let mode = if self.retains { "" } else { " unretained" };
        format!("{} {}{mode}", self.database, self.complete_until.timestamp_micros())
    }
}

// === impl BrokerView ===

impl BrokerView {
    /// Notes the state of the connection, and Postgres' clock after it was read.
    pub(super) fn note(&mut self, state: &ExchangeState, now: DateTime<Utc>) {
        let ExchangeState::Connected { connection, marker } = state else {
            *self = Self::default();
            return;
        };
        if self.connection == Some(*connection) {
            return;
        }
        let marker = marker.as_deref().and_then(OutboxMarker::parse);
        *self = Self { connection: Some(*connection), marker, since: Some(now), is_checked: false };
    }

    /// Whether the state is another connection than the one noted.
    pub(super) fn is_new(&self, state: &ExchangeState) -> bool {
        match state {
            ExchangeState::Disconnected => self.connection.is_some(),
            ExchangeState::Connected { connection, .. } => self.connection != Some(*connection),
        }
    }

    /// What the broker may have lost, once for each connection. The second value says whether the
    /// marker is this database's and of this mode.
    pub(super) fn lost(&self, database: Uuid, retains: bool) -> Option<(LostInterval, bool)> {
        let until = self.since.filter(|_| !self.is_checked)?;
        let own =
            self.marker.filter(|marker| marker.database == database && marker.retains == retains);
        let after = own.map(|marker| marker.complete_until);
        Some((LostInterval { after, until }, own.is_some()))
    }

    /// Whether all that was lost is marked.
    pub(super) fn is_checked(&self) -> bool {
        self.is_checked
    }

    /// What was lost is marked.
    pub(super) fn checked(&mut self) {
        self.is_checked = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: Uuid = Uuid::from_u128(7);

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn connected(number: u64, marker: Option<OutboxMarker>) -> ExchangeState {
        let marker = marker.map(|marker| marker.content().into_bytes().into());
        ExchangeState::Connected { connection: ConnectionId(number), marker }
    }

    fn marker(retains: bool) -> OutboxMarker {
        OutboxMarker { database: DATABASE, complete_until: at(50), retains }
    }

    #[test]
    fn a_marker_reads_back_and_other_content_is_none() {
        for retains in [true, false] {
            let marker = marker(retains);
            assert_eq!(OutboxMarker::parse(marker.content().as_bytes()), Some(marker));
        }
        for content in ["", "x 1", "00000000-0000-0000-0000-000000000007", "\u{ff}"] {
            assert_eq!(OutboxMarker::parse(content.as_bytes()), None, "{content}");
        }
    }

    #[test]
    fn what_was_accepted_between_the_marker_and_the_connection_may_be_lost() {
        let mut view = BrokerView::default();
        view.note(&connected(1, Some(marker(true))), at(90));
        view.note(&connected(1, Some(marker(true))), at(95));
        let lost = LostInterval { after: Some(at(50)), until: at(90) };
        assert_eq!(view.lost(DATABASE, true), Some((lost, true)));
        view.checked();
        assert_eq!(view.lost(DATABASE, true), None, "once for each connection");
        view.note(&connected(2, None), at(99));
        let all = LostInterval { after: None, until: at(99) };
        assert_eq!(view.lost(DATABASE, true), Some((all, false)));
    }

    #[test]
    fn a_marker_of_another_database_or_mode_does_not_count() {
        for (database, retains) in [(Uuid::from_u128(8), true), (DATABASE, false)] {
            let mut view = BrokerView::default();
            view.note(&connected(1, Some(marker(true))), at(90));
            let all = LostInterval { after: None, until: at(90) };
            assert_eq!(view.lost(database, retains), Some((all, false)));
        }
    }
}
