//! A table that is partitioned by day: the names of its partitions, and which of them exist. It
//! changes nothing.

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use sqlx::PgConnection;

/// Days after today that have their partition ready: a daemon that was down over a weekend finds
/// them.
pub(super) const DAYS_AHEAD: u64 = 3;

/// A table that is partitioned by day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: &'static str,
    /// The column it is partitioned by.
    pub(super) column: &'static str,
    /// Days to keep; `None` keeps all.
    pub(super) days_kept: Option<u32>,
}

/// The partitions of a table, from the catalog.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The days that have their partition.
    pub(super) days: BTreeSet<NaiveDate>,
    /// The default partition, quoted as SQL wants it.
    pub(super) late: Option<String>,
}

// === impl Table ===

impl Table {
    /// The name of a day's partition.
    pub(super) fn partition(&self, day: NaiveDate) -> String {
        format!("{}_{}", self.name, day.format("%Y%m%d"))
    }

    /// The day of a partition. `None` means its name is not one of ours.
    fn day_of(&self, partition: &str) -> Option<NaiveDate> {
        let digits = partition.strip_prefix(self.name)?.strip_prefix('_')?;
        NaiveDate::parse_from_str(digits, "%Y%m%d")
            .ok()
            .filter(|day| self.partition(*day) == partition)
    }

    /// The first day to keep. `None` keeps all.
    pub(super) fn cutoff(&self, today: NaiveDate) -> Option<NaiveDate> {
        today.checked_sub_days(Days::new(self.days_kept?.into()))
    }
}

// === reading the catalog ===

/// Reads the table's days and its default partition. `None` means it is not partitioned.
pub(super) async fn layout(
    connection: &mut PgConnection,
    table: Table,
) -> Result<Option<Layout>, sqlx::Error> {
    let late: Option<Option<String>> = sqlx::query_scalar(
        "SELECT nullif(partdefid, 0)::regclass::text FROM pg_partitioned_table WHERE partrelid = to_regclass($1)",
    )
    .bind(table.name)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(late) = late else { return Ok(None) };
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = to_regclass($1)",
    )
    .bind(table.name)
    .fetch_all(connection)
    .await?;
    Ok(Some(Layout { days: names.iter().filter_map(|name| table.day_of(name)).collect(), late }))
}

/// The first moment of a day, in UTC.
pub(super) fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_partition_name_of_the_table_is_parsed_as_a_day() {
        let table = Table { name: "telemetry", column: "time", days_kept: None };
        let today = "2026-11-21".parse().unwrap();
        assert_eq!(table.partition(today), "telemetry_20261121");
        assert_eq!(table.day_of("telemetry_20261121"), Some(today));
        for other in [
            "telemetry_late",
            "telemetry_2026112",
            "telemetry_20261121_old",
            "telemetry_20261332",
            "x_20261121",
        ] {
            assert_eq!(table.day_of(other), None, "{other}");
        }
    }
}
