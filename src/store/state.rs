//! Rows of `device_state`: when a device was last heard, and what it last reported. One upsert for both, sorted by device.
//!
//! The rule of versions: a report with a version takes the place of one with an equal or lower version or with none; a
//! report without a version always does, and leaves the stored version as it is, since sluice invents none. Of several
//! in one batch the same rule picks one, in order of arrival.

use std::ops::Range;

use chrono::{DateTime, Utc};

use super::poison::{Section, Tally};
use super::session::{Session, answer};
use super::trouble::Trouble;
use crate::domain::batch::Sighting;
use crate::domain::ids::DeviceKey;
use crate::domain::message::ShadowReport;

/// A report took effect if it carried no version, or if its version is the stored one now.
const UPSERT: &str = "WITH given AS ( \
        SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::bigint[]) \
        AS g (tenant_id, device_id, seen, telemetry, reported, version)), \
    kept AS ( \
        INSERT INTO device_state AS s (tenant_id, device_id, last_seen_at, last_telemetry_at, reported, reported_version) \
        SELECT tenant_id, device_id, seen, telemetry, reported::jsonb, version FROM given \
        ON CONFLICT (tenant_id, device_id) DO UPDATE SET \
            last_seen_at = greatest(s.last_seen_at, excluded.last_seen_at), \
            last_telemetry_at = greatest(s.last_telemetry_at, excluded.last_telemetry_at), \
            reported = CASE WHEN excluded.reported IS NULL OR s.reported_version > excluded.reported_version \
                THEN s.reported ELSE excluded.reported END, \
            reported_version = greatest(s.reported_version, excluded.reported_version) \
        RETURNING s.tenant_id, s.device_id, s.reported_version) \
    SELECT count(*) FROM given g JOIN kept k USING (tenant_id, device_id) \
    WHERE g.reported IS NOT NULL AND (g.version IS NULL OR g.version = k.reported_version)";

/// One thing to keep of a device.
#[derive(Clone, Copy, Debug)]
enum Change<'a> {
    Seen(&'a Sighting),
    Reported(&'a ShadowReport),
}

/// All that a batch keeps in `device_state`.
#[derive(Debug)]
pub(super) struct StateChanges<'a> {
    changes: Vec<Change<'a>>,
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
}

// === impl Change ===

impl<'a> Change<'a> {
    fn device(self) -> &'a DeviceKey {
        match self {
            Self::Seen(sighting) => &sighting.device,
            Self::Reported(report) => &report.device,
        }
    }
}

// === impl StateChanges ===

impl<'a> StateChanges<'a> {
    /// Sorted by device; of one device, the reports stand in order of arrival.
    pub fn new(sightings: &'a [Sighting], reports: &'a [ShadowReport]) -> Self {
        let sightings = sightings.iter().map(Change::Seen);
        let mut changes: Vec<Change<'_>> = sightings.chain(reports.iter().map(Change::Reported)).collect();
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
            Change::Seen(_) => None,
            Change::Reported(report) => Some(report.origin),
        }
    }

    async fn write(&mut self, session: &mut Session, places: Range<usize>) -> Result<Tally, Trouble> {
        let changes = &self.changes[places];
        let mut columns = Columns::default();
        for of_one_device in changes.chunk_by(|one, other| one.device() == other.device()) {
            columns.add(of_one_device)?;
        }
        let given = changes.iter().filter(|change| matches!(change, Change::Reported(_))).count() as u64;
        let asked = sqlx::query_scalar(UPSERT)
            .bind(columns.tenants)
            .bind(columns.devices)
            .bind(columns.seen)
            .bind(columns.telemetry)
            .bind(columns.reported)
            .bind(columns.versions);
        let stored: i64 = answer(asked.fetch_one(&mut session.connection)).await?;
        let stored = u64::try_from(stored).unwrap_or(0);
        Ok(Tally { stored, duplicates: given.saturating_sub(stored), ..Tally::default() })
    }
}

// === impl Columns ===

impl<'a> Columns<'a> {
    /// Adds the one row that all changes of a device make.
    fn add(&mut self, changes: &[Change<'a>]) -> Result<(), Trouble> {
        let Some(device) = changes.first().map(|change| change.device()) else { return Ok(()) };
        let (mut seen, mut telemetry, mut winner) = (None, None, None::<&ShadowReport>);
        for change in changes {
            match change {
                Change::Seen(sighting) => {
                    seen = seen.max(Some(sighting.last_seen));
                    telemetry = telemetry.max(sighting.last_telemetry);
                }
                Change::Reported(report) => {
                    let overtaken = |held: &ShadowReport| report.version.is_some() && held.version > report.version;
                    if !winner.is_some_and(overtaken) {
                        winner = Some(report);
                    }
                }
            }
        }
        let text = |report: &'a ShadowReport| {
            std::str::from_utf8(&report.reported).map_err(|_| Trouble::Data("the reported state is not UTF-8".into()))
        };
        self.tenants.push(device.tenant.as_str());
        self.devices.push(device.device.as_str());
        self.seen.push(seen.map(crate::domain::time::Timestamp::to_utc));
        self.telemetry.push(telemetry.map(crate::domain::time::Timestamp::to_utc));
        self.reported.push(winner.map(text).transpose()?);
        self.versions.push(winner.and_then(|report| report.version));
        Ok(())
    }
}
