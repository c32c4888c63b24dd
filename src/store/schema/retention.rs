//! Decides whether a round of the partitions may delete what is past the retention.
//!
//! Deletion depends on the time, and a clock can be wrong. So it forbids deletion while the clocks
//! of this machine and of Postgres differ, and uses the earlier one. When both are wrong, only
//! history shows it: the day of the last round is stored, and a round that would advance by many
//! days deletes nothing until it is confirmed. It deletes nothing itself.

use chrono::{Days, NaiveDate};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::day_tables::{DAYS_AHEAD, Table, layout, midnight};
use super::partition_report::PartitionReport;
use crate::config::sections::database::DatabaseConfig;
use crate::domain::clocks::Clocks;
use crate::domain::finding::{Finding, Severity};
use crate::domain::ports::Outage;
use crate::store::certificates::ended;
use crate::store::error::StoreError;
use crate::store::layout::chunks;
use crate::store::registry::audit::{self, Actor, Entry};

/// Days that a round may advance without confirmation: enough for a daemon that was down over a
/// long weekend.
const MAX_STEP_DAYS: u32 = 3;

/// The advance is also at most this fraction of the shortest retention: one wrong step must not
/// delete a whole week.
const STEP_PART: u32 = 4;

/// Days that finished commands are kept if `TELEMETRY_RETENTION_DAYS` is unset.
const COMMANDS_KEPT_DAYS: u32 = 90;

/// Days that the identity of a stored event is kept: as long as a cloud keeps a session.
pub const EVENT_IDS_KEPT_DAYS: u32 = 7;

/// Days to keep; `None` keeps all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// `TELEMETRY_RETENTION_DAYS`.
    pub telemetry_days: Option<u32>,
    /// `QUARANTINE_RETENTION_DAYS`.
    pub quarantine_days: Option<u32>,
    /// `CERTIFICATE_RETENTION_DAYS`, after the end of a certificate.
    pub certificate_days: Option<u32>,
    /// `COLUMNSTORE_AFTER_DAYS`; `None` moves nothing into the columnstore.
    pub columnstore_days: Option<u32>,
    /// An operator has confirmed that a round may advance by any number of days.
    pub confirmed: bool,
}

/// What a round would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// The day of the last round.
    pub last_day: NaiveDate,
    /// The day of this round.
    pub day: NaiveDate,
    /// Partitions past the retention.
    pub partitions: Vec<String>,
    /// Why nothing may be deleted; `None` allows deletion.
    pub held: Option<String>,
}

// === impl Retention ===

impl From<&DatabaseConfig> for Retention {
    fn from(config: &DatabaseConfig) -> Self {
        Self {
            telemetry_days: config.telemetry_retention_days,
            quarantine_days: config.quarantine_retention_days,
            certificate_days: config.certificate_retention_days,
            columnstore_days: config.columnstore_after_days,
            confirmed: false,
        }
    }
}

impl Retention {
    pub(super) fn telemetry(&self) -> Table {
        Table { name: "telemetry", column: "time", days_kept: self.telemetry_days }
    }

    pub(super) fn quarantine(&self) -> Table {
        Table {
            name: "quarantine_events",
            column: "quarantined_at",
            days_kept: self.quarantine_days,
        }
    }

    /// The counters, which are not partitioned.
    pub(super) fn counters(&self) -> Table {
        Table {
            name: "quarantine_counters_minute",
            column: "bucket_minute",
            days_kept: self.quarantine_days,
        }
    }

    /// The counters by hour, which are not partitioned.
    pub(super) fn hourly_counters(&self) -> Table {
        Table {
            name: "quarantine_counters_hour",
            column: "bucket_hour",
            days_kept: self.quarantine_days,
        }
    }

    /// Dead letters of links; they are not partitioned.
    pub(super) fn dead_letters(&self) -> Table {
        Table { name: "link_refused", column: "refused_at", days_kept: self.quarantine_days }
    }

    /// Finished commands. A retention applies also if none is set: the table would grow without
    /// bound. Commands that ended before Sluice noted when have no `finished_at`, and stay.
    pub(super) fn commands(&self) -> Table {
        Table {
            name: "device_commands",
            column: "finished_at",
            days_kept: Some(self.telemetry_days.unwrap_or(COMMANDS_KEPT_DAYS)),
        }
    }

    /// Identities of stored events.
    pub(super) const fn event_ids() -> Table {
        Table { name: "link_event_ids", column: "seen_at", days_kept: Some(EVENT_IDS_KEPT_DAYS) }
    }

    /// Certificates that ended before this day are deleted. `None` deletes none.
    pub(super) fn certificates(&self, today: NaiveDate) -> Option<NaiveDate> {
        today.checked_sub_days(Days::new(self.certificate_days?.into()))
    }

    /// The first day that stays out of the columnstore. `None` moves nothing.
    pub(super) fn columnstore(&self, today: NaiveDate) -> Option<NaiveDate> {
        today.checked_sub_days(Days::new(self.columnstore_days?.into()))
    }

    /// Whether a retention is set.
    pub(super) fn deletes(&self) -> bool {
        self.step().is_some()
    }

    /// Days that a round may advance without confirmation. `None` means no retention is set.
    fn step(&self) -> Option<u32> {
        let kept = [self.telemetry_days, self.quarantine_days, self.certificate_days];
        let shortest = kept.into_iter().flatten().min()?;
        Some((shortest / STEP_PART).clamp(1, MAX_STEP_DAYS))
    }
}

/// Returns what a round would do now; changes nothing.
pub async fn look(pool: &PgPool, retention: Retention, clocks: Clocks) -> Result<Prospect, Outage> {
    let result = async {
        let mut connection = pool.acquire().await?;
        let day = clocks.earlier().to_utc().date_naive();
        let last_day = match stored_last_day(&mut connection).await? {
            Some(day) => day,
            None => last_day_by_partitions(&mut connection).await?.unwrap_or(day),
        };
        prospect(&mut connection, retention, clocks, last_day).await
    };
    result.await.map_err(outage)
}

/// Like [`look`], as findings for `sluice doctor`.
pub async fn inspect(
    pool: &PgPool,
    retention: Retention,
    clocks: Clocks,
) -> Result<Vec<Finding>, Outage> {
    let prospect = look(pool, retention, clocks).await?;
    Ok(vec![match prospect.held {
        Some(why) => Finding { level: Severity::Error, what: why, advice: None },
        None => Finding::ok(format!(
            "{} partitions are past their retention; the last round ran for {}",
            prospect.partitions.len(),
            prospect.last_day
        )),
    }])
}

/// Records in the audit log who confirmed a round, and what it deleted.
pub async fn note_confirmed(
    pool: &PgPool,
    actor: &Actor,
    day: NaiveDate,
    report: &PartitionReport,
) -> Result<(), Outage> {
    let detail = json!({ "day": day.to_string(), "partitions": report.dropped, "rows": report.expired, "certificates": report.certificates });
    let entry = Entry { actor, action: "retention.confirm", tenant: None, device: None, detail };
    let recorded = async { audit::record(&mut *pool.acquire().await?, entry).await };
    recorded.await.map_err(outage)
}

/// Returns what a round may do. It stores the day of the last round first: the partitions that the
/// round creates would hide it.
pub(super) async fn before_round(
    connection: &mut PgConnection,
    retention: Retention,
    clocks: Clocks,
) -> Result<Prospect, sqlx::Error> {
    let day = clocks.earlier().to_utc().date_naive();
    let last_day = if let Some(day) = stored_last_day(connection).await? {
        day
    } else {
        let first = last_day_by_partitions(connection).await?.unwrap_or(day);
        let statement = "INSERT INTO retention_rounds (day) VALUES ($1) ON CONFLICT DO NOTHING";
        sqlx::query(statement).bind(first).execute(&mut *connection).await?;
        stored_last_day(connection).await?.unwrap_or(first)
    };
    prospect(connection, retention, clocks, last_day).await
}

/// Records that the round has deleted what was due.
pub(super) async fn after_round(
    connection: &mut PgConnection,
    day: NaiveDate,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE retention_rounds SET day = $1, ran_at = clock_timestamp()")
        .bind(day)
        .execute(connection)
        .await?;
    Ok(())
}

// --- private helpers ---

async fn stored_last_day(connection: &mut PgConnection) -> Result<Option<NaiveDate>, sqlx::Error> {
    sqlx::query_scalar("SELECT day FROM retention_rounds").fetch_optional(connection).await
}

/// The day of the last round, by the partitions it made ahead.
async fn last_day_by_partitions(
    connection: &mut PgConnection,
) -> Result<Option<NaiveDate>, sqlx::Error> {
    let layout = layout(connection, Retention::default().telemetry()).await?.unwrap_or_default();
    Ok(layout.days.last().and_then(|last| last.checked_sub_days(Days::new(DAYS_AHEAD))))
}

async fn prospect(
    connection: &mut PgConnection,
    retention: Retention,
    clocks: Clocks,
    last_day: NaiveDate,
) -> Result<Prospect, sqlx::Error> {
    let day = clocks.earlier().to_utc().date_naive();
    let mut prospect = Prospect { last_day, day, partitions: Vec::new(), held: None };
    let Some(step) = retention.step() else { return Ok(prospect) };
    let mut rows_are_due = false;
    for table in
        [retention.telemetry(), retention.quarantine(), retention.counters(), retention.commands()]
    {
        let Some(cutoff) = table.cutoff(day) else { continue };
        let layout = layout(connection, table).await?;
        let is_partitioned = layout.is_some();
        let layout = layout.unwrap_or_default();
        prospect.partitions.extend(
            layout.days.iter().filter(|day| **day < cutoff).map(|day| table.partition(*day)),
        );
        if table.name == "telemetry" && !is_partitioned && chunks::has_chunks(connection).await? {
            prospect.partitions.extend(chunks::due(connection, midnight(cutoff)).await?);
            continue;
        }
        let loose = if is_partitioned { layout.late } else { Some(table.name.to_owned()) };
        if let Some(loose) = loose {
            rows_are_due |= has_rows_before(connection, &loose, table.column, cutoff).await?;
        }
    }
    if let Some(cutoff) = retention.certificates(day) {
        rows_are_due |= ended::are_due(&mut *connection, midnight(cutoff)).await?;
    }
    let advances = (day - last_day).num_days();
    let is_long = advances > i64::from(step) && !retention.confirmed;
    prospect.held = match clocks.complaint() {
        Some(complaint) => Some(format!("rows past their retention are not deleted: {complaint}")),
        None if is_long && (rows_are_due || !prospect.partitions.is_empty()) => Some(format!(
            "rows past their retention are not deleted: by the clocks it is {day}, and the last \
            round ran for {last_day}. This round would advance by {advances} days; without \
            confirmation it may advance by {step}. Correct the clocks, or, if they are right, run \
            `sluice retention --yes`"
        )),
        None => None,
    };
    Ok(prospect)
}

async fn has_rows_before(
    connection: &mut PgConnection,
    quoted_table: &str,
    column: &str,
    cutoff: NaiveDate,
) -> Result<bool, sqlx::Error> {
    let statement = format!("SELECT EXISTS (SELECT 1 FROM {quoted_table} WHERE {column} < $1)");
    sqlx::query_scalar(AssertSqlSafe(statement)).bind(midnight(cutoff)).fetch_one(connection).await
}

fn outage(error: sqlx::Error) -> Outage {
    StoreError::from(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_advances_by_a_quarter_of_the_shortest_retention_and_at_most_three_days() {
        let step = |telemetry_days, quarantine_days| {
            Retention { telemetry_days, quarantine_days, ..Retention::default() }.step()
        };
        assert_eq!(step(None, None), None);
        assert_eq!(
            [step(Some(30), Some(14)), step(Some(365), None), step(Some(1), Some(90))],
            [Some(3), Some(3), Some(1)]
        );
        assert_eq!(step(None, Some(8)), Some(2));
    }
}
