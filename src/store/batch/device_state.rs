//! Rows of `device_state`: when a device was last seen, and its last reported state. One upsert for
//! both, sorted by device.
//!
//! Versions: a report with a version replaces one with an equal or lower version or with none. A
//! report without a version replaces any that was not received later, and leaves the stored version
//! unchanged: Sluice invents none. Several reports of one batch have the same result as one after
//! the other.
//!
//! A worked example. The row of device `a` has version 5. One batch has four reports of `a`, with
//! version 7, version 6, no version and version 8; device `b` is seen and reports version 2.
//!
//! | | round 1 | round 2 | round 3 |
//! |---|---|---|---|
//! | `a` | version 7 | no version | version 8 |
//! | `b` | version 2, last seen | | |
//!
//! A round is one statement with at most one row for each device. Versions 7 and 6 follow each
//! other, so the higher one represents both. The report without a version compares with the stored
//! row only, so it gets a round of its own, and so does the report after it. Round 1 stores state 7
//! with version 7; round 2 stores its state and leaves version 7; round 3 stores state 8 with
//! version 8. Three reports took effect, and one is a duplicate. A batch without such a mix, as
//! device `b` alone, has one round.

use std::ops::Range;

use chrono::{DateTime, Utc};

use super::bisect::{Section, WriteTally};
use crate::domain::batch::LastSeen;
use crate::domain::ids::DeviceKey;
use crate::domain::message::ShadowReport;
use crate::domain::time::Timestamp;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// Returns the places of the reports that took effect: the row has their date.
const UPSERT: &str = "WITH given AS ( \
        SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::bigint[], \
            $7::timestamptz[]) WITH ORDINALITY AS g (tenant_id, device_id, seen, telemetry, reported, version, at, place)), \
    kept AS ( \
        INSERT INTO device_state AS s \
            (tenant_id, device_id, last_seen_at, last_telemetry_at, reported, reported_version, reported_at) \
        SELECT tenant_id, device_id, seen, telemetry, reported::jsonb, version, at FROM given \
        ON CONFLICT (tenant_id, device_id) DO UPDATE SET \
            last_seen_at = greatest(s.last_seen_at, excluded.last_seen_at), \
            last_telemetry_at = greatest(s.last_telemetry_at, excluded.last_telemetry_at), \
            (reported, reported_at) = (SELECT \
                CASE WHEN stays THEN s.reported ELSE excluded.reported END, \
                CASE WHEN stays THEN s.reported_at ELSE excluded.reported_at END \
                FROM (SELECT coalesce(excluded.reported IS NULL \
                    OR CASE WHEN excluded.reported_version IS NULL THEN s.reported_at > excluded.reported_at \
                       ELSE s.reported_version > excluded.reported_version END, false) AS stays) rule), \
            reported_version = greatest(s.reported_version, excluded.reported_version) \
        RETURNING s.tenant_id, s.device_id, s.reported_at, s.reported_version) \
    SELECT coalesce(array_agg(g.place), '{}'::bigint[]) FROM given g JOIN kept k USING (tenant_id, device_id) \
    WHERE g.reported IS NOT NULL AND k.reported_at = g.at AND (g.version IS NULL OR g.version = k.reported_version)";

/// One change of a device's row.
#[derive(Clone, Copy, Debug)]
enum StateChange<'a> {
    Seen(&'a LastSeen),
    Reported(&'a ShadowReport),
}

/// All changes of `device_state` in a batch.
#[derive(Debug)]
pub(super) struct StateChanges<'a> {
    changes: Vec<StateChange<'a>>,
}

/// The columns of the upsert.
#[derive(Debug, Default)]
struct Columns<'a> {
    tenants: Vec<&'a str>,
    devices: Vec<&'a str>,
    seen: Vec<Option<DateTime<Utc>>>,
    telemetry: Vec<Option<DateTime<Utc>>>,
    reported: Vec<Option<&'a str>>,
    versions: Vec<Option<i64>>,
    reported_at: Vec<Option<DateTime<Utc>>>,
    /// The messages of the reports.
    origins: Vec<Option<usize>>,
}

// === impl StateChange ===

impl<'a> StateChange<'a> {
    fn device(self) -> &'a DeviceKey {
        match self {
            Self::Seen(sighting) => &sighting.device,
            Self::Reported(report) => &report.device,
        }
    }
}

// === impl StateChanges ===

impl<'a> StateChanges<'a> {
    /// Sorts by device; reports of one device keep the order of arrival.
    pub fn new(sightings: &'a [LastSeen], reports: &'a [ShadowReport]) -> Self {
        let sightings = sightings.iter().map(StateChange::Seen);
        let mut changes: Vec<StateChange<'_>> =
            sightings.chain(reports.iter().map(StateChange::Reported)).collect();
        changes.sort_by(|one, other| one.device().cmp(other.device()));
        Self { changes }
    }
}

impl Section for StateChanges<'_> {
    fn len(&self) -> usize {
        self.changes.len()
    }

    fn origin(&self, place: usize) -> Option<usize> {
        match self.changes[place] {
            StateChange::Seen(_) => None,
            StateChange::Reported(report) => Some(report.origin),
        }
    }

    async fn write(
        &mut self,
        session: &mut WriterConnection,
        places: Range<usize>,
    ) -> Result<WriteTally, StoreError> {
        let changes = &self.changes[places];
        // Usually one round. Further rounds are for devices that mix reports with and without a
        // version.
        let mut rounds = vec![Columns::default()];
        for of_one_device in changes.chunk_by(|one, other| one.device() == other.device()) {
            add(&mut rounds, of_one_device)?;
        }
        let given =
            changes.iter().filter(|change| matches!(change, StateChange::Reported(_))).count()
                as u64;
        let mut effective = Vec::new();
        for round in rounds {
            effective.extend(round.upsert(session).await?);
        }
        let stored = effective.len() as u64;
        let duplicates = given.saturating_sub(stored);
        Ok(WriteTally { stored, duplicates, effective, ..WriteTally::default() })
    }
}

/// Adds the changes of one device to the first round. Reports that compare only with the stored one
/// go to further rounds.
fn add<'a>(rounds: &mut Vec<Columns<'a>>, changes: &[StateChange<'a>]) -> Result<(), StoreError> {
    let Some(device) = changes.first().map(|change| change.device()) else { return Ok(()) };
    let (mut seen, mut telemetry, mut reports) = (None, None, Vec::<&ShadowReport>::new());
    for change in changes {
        match change {
            StateChange::Seen(sighting) => {
                seen = seen.max(Some(sighting.last_seen));
                telemetry = telemetry.max(sighting.last_telemetry);
            }
            StateChange::Reported(report) => reports.push(report),
        }
    }
    let of_a_kind = reports.chunk_by(|one, other| one.version.is_some() == other.version.is_some());
    let mut winners = of_a_kind.filter_map(|run| {
        run.iter().copied().max_by_key(|report| (report.version, report.received_at))
    });
    rounds[0].push(device, seen, telemetry, winners.next())?;
    for (round, winner) in (1..).zip(winners) {
        if rounds.len() <= round {
            rounds.push(Columns::default());
        }
        rounds[round].push(device, None, None, Some(winner))?;
    }
    Ok(())
}

// === impl Columns ===

impl<'a> Columns<'a> {
    fn push(
        &mut self,
        device: &'a DeviceKey,
        seen: Option<Timestamp>,
        telemetry: Option<Timestamp>,
        report: Option<&'a ShadowReport>,
    ) -> Result<(), StoreError> {
        let text = |report: &'a ShadowReport| {
            std::str::from_utf8(&report.reported)
                .map_err(|_| StoreError::Data("the reported state is not UTF-8".into()))
        };
        self.tenants.push(device.tenant());
        self.devices.push(device.device());
        self.seen.push(seen.map(Timestamp::to_utc));
        self.telemetry.push(telemetry.map(Timestamp::to_utc));
        self.reported.push(report.map(text).transpose()?);
        self.versions.push(report.and_then(|report| report.version));
        self.reported_at.push(report.map(|report| report.received_at.to_utc()));
        self.origins.push(report.map(|report| report.origin));
        Ok(())
    }

    /// Writes the rows; returns the messages whose reports took effect.
    async fn upsert(self, session: &mut WriterConnection) -> Result<Vec<usize>, StoreError> {
        let query = sqlx::query_scalar(UPSERT)
            .bind(self.tenants)
            .bind(self.devices)
            .bind(self.seen)
            .bind(self.telemetry)
            .bind(self.reported)
            .bind(self.versions)
            .bind(self.reported_at);
        let places: Vec<i64> = answer(query.fetch_one(&mut session.connection)).await?;
        // Postgres counts from 1.
        let origin =
            |place: i64| *self.origins.get(usize::try_from(place).ok()?.checked_sub(1)?)?;
        Ok(places.into_iter().filter_map(origin).collect())
    }
}
