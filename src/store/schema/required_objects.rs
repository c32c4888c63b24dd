//! The objects that the schema must contain: tables, unique indexes, enabled triggers, constraints,
//! default partitions, and the policies of readers. The list is `required_objects.txt`, one object
//! a line.
//!
//! An object is compared by its definition, not its name: an index created again under another name
//! is accepted. It changes nothing. A migration that changes an object changes the list too; a test
//! compares the list with a freshly migrated database.

use std::collections::BTreeSet;

use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::connection::engine::TelemetryLayout;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// The objects of a correct schema.
pub const REQUIRED: &str = include_str!("required_objects.txt");

/// What telemetry lacks as a hypertable, whose chunks need no partition.
const PARTITIONS_OF_TELEMETRY: [&str; 2] =
    ["default partition of telemetry", "partitions of telemetry RANGE (\"time\")"];

/// Objects that a sentence names; further ones are only counted.
const NAMED: usize = 3;

/// Every existing object, as a line of the list; and `unread <table>` for each table that
/// `sluice_reader` may not read, which therefore needs no policy.
const PRESENT: &str = r"
WITH own AS MATERIALIZED (
    SELECT c.oid, c.relname::text AS name, c.relkind, c.relrowsecurity FROM pg_class c
    WHERE c.relkind IN ('r', 'p', 'S') AND NOT c.relispartition AND pg_table_is_visible(c.oid) AND c.relname <> '_sqlx_migrations'
        AND c.relnamespace NOT IN (SELECT oid FROM pg_namespace
            WHERE nspname IN ('pg_catalog', 'information_schema') OR nspname LIKE 'pg\_t%')),
read AS (
    SELECT own.oid FROM own JOIN pg_roles r ON r.rolname = 'sluice_reader'
    WHERE own.relkind <> 'S' AND has_any_column_privilege(r.oid, own.oid, 'SELECT'))
SELECT CASE relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || name FROM own
UNION ALL SELECT 'partitions of ' || name || ' ' || pg_get_partkeydef(oid) FROM own WHERE relkind = 'p'
UNION ALL SELECT 'default partition of ' || name FROM own JOIN pg_partitioned_table p ON p.partrelid = own.oid WHERE p.partdefid <> 0
UNION ALL SELECT CASE WHEN i.indisunique AND i.indimmediate THEN 'unique ' ELSE 'index ' END || name || ' '
        || substring(pg_get_indexdef(i.indexrelid) FROM ' USING (.*)$')
    FROM own JOIN pg_index i ON i.indrelid = own.oid WHERE i.indisvalid AND i.indisready
UNION ALL SELECT 'constraint ' || name || ' ' || pg_get_constraintdef(k.oid)
    FROM own JOIN pg_constraint k ON k.conrelid = own.oid WHERE k.contype IN ('c', 'f') AND k.convalidated AND k.conparentid = 0
UNION ALL SELECT 'trigger ' || name || ' ' || t.tgname
        || ' ' || substring(pg_get_triggerdef(t.oid) FROM '^CREATE (?:CONSTRAINT )?TRIGGER \S+ (.*) ON ')
        || ' ' || p.proname || ' ' || md5(regexp_replace(p.prosrc, '\s+', ' ', 'g'))
    FROM own JOIN pg_trigger t ON t.tgrelid = own.oid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
UNION ALL SELECT 'subscriber trigger ' || name || ' ' || t.tgname
        || ' ' || substring(pg_get_triggerdef(t.oid) FROM '^CREATE (?:CONSTRAINT )?TRIGGER \S+ (.*) ON ')
        || ' ' || p.proname || ' ' || md5(regexp_replace(p.prosrc, '\s+', ' ', 'g'))
    FROM own JOIN pg_trigger t ON t.tgrelid = own.oid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND t.tgenabled IN ('R', 'A')
UNION ALL SELECT 'row security ' || name FROM own WHERE relrowsecurity
UNION ALL SELECT 'policy ' || name || ' ' || p.polname || ' ' || p.polcmd::text || ' ' || coalesce(pg_get_expr(p.polqual, p.polrelid), '')
    FROM own JOIN pg_policy p ON p.polrelid = own.oid
UNION ALL SELECT 'unread ' || name FROM own WHERE relkind <> 'S' AND oid NOT IN (SELECT oid FROM read)";

/// The objects that are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Objects that a promise depends on.
    pub broken: Vec<String>,
    /// Objects that only make queries fast.
    pub slow: Vec<String>,
}

/// Compares the schema with the list.
pub(crate) async fn missing(
    session: &mut WriterConnection,
    layout: TelemetryLayout,
) -> Result<Missing, StoreError> {
    let mut missing = compare(&present(session).await?);
    if layout.is_hypertable() {
        missing.broken.retain(|what| !PARTITIONS_OF_TELEMETRY.iter().any(|it| what.ends_with(it)));
    }
    Ok(missing)
}

/// Every object of this database, for the comparison of the list with the migrations.
pub async fn listed(database: &Database) -> Result<Vec<String>, Outage> {
    let mut session = database.connect().await?;
    Ok(present(&mut session).await?)
}

/// Every object that is there, in the order of the list.
async fn present(session: &mut WriterConnection) -> Result<Vec<String>, StoreError> {
    let mut lines: Vec<String> =
        answer(sqlx::query_scalar(PRESENT).fetch_all(&mut session.connection)).await?;
    lines.sort_unstable();
    lines.dedup();
    Ok(lines)
}

// === impl Missing ===

impl Missing {
    /// What is wrong and what to do, in one sentence. `None` means no promise is affected.
    pub fn complaint(&self) -> Option<String> {
        let first = self.broken.get(..NAMED).unwrap_or(&self.broken);
        let more = self.broken.len() - first.len();
        let more = if more > 0 {
            format!("; and {more} more, which `sluice doctor` lists")
        } else {
            String::new()
        };
        (!self.broken.is_empty()).then(|| {
            format!(
                "the migrations are applied, but the schema differs from them, or is not in \
                search_path: {}{more}; undo the change, or create the object again as its \
                migration does (before you create a unique index, delete the duplicate rows)",
                first.join("; ")
            )
        })
    }
}

// --- private helpers ---

fn compare(present: &[String]) -> Missing {
    let present: BTreeSet<&str> = present.iter().map(String::as_str).collect();
    let is_read = |table: &str| !present.contains(format!("unread {table}").as_str());
    let mut missing = Missing::default();
    for line in REQUIRED.lines().filter(|line| !line.is_empty() && !present.contains(line)) {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let binds = rest
            .strip_prefix("security ")
            .or_else(|| rest.split(' ').next().filter(|_| kind == "policy"));
        match kind {
            "index" => missing.slow.push(line.to_owned()),
            "row" | "policy" if !binds.is_some_and(is_read) => {}
            _ => missing.broken.push(format!("missing: {line}")),
        }
    }
    // A further policy permits more rows.
    let required: BTreeSet<&str> = REQUIRED.lines().collect();
    let policies =
        present.iter().filter(|line| line.starts_with("policy ") && !required.contains(*line));
    let of_readers = policies.filter(|line| line.split(' ').nth(1).is_some_and(is_read));
    missing.broken.extend(of_readers.map(|line| format!("not created by a migration: {line}")));
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_object_is_named_and_a_missing_plain_index_is_no_complaint() {
        let all: Vec<String> = REQUIRED.lines().map(str::to_owned).collect();
        assert_eq!(compare(&all), Missing::default());
        let without = |words: &str| {
            let left: Vec<String> =
                all.iter().filter(|line| !line.contains(words)).cloned().collect();
            assert!(left.len() < all.len(), "{words}");
            compare(&left)
        };
        assert!(without("unique telemetry").complaint().unwrap().contains("unique telemetry"));
        assert!(without("default partition").complaint().unwrap().contains("quarantine_events"));
        let slow = without("index ");
        assert!(slow.broken.is_empty() && !slow.slow.is_empty());
        assert!(compare(&[]).complaint().unwrap().contains(" more, which"));
    }

    #[test]
    fn an_unreadable_table_needs_no_policy_and_an_additional_policy_is_reported() {
        let is_bound = |line: &&str| {
            !line.contains("security telemetry") && !line.starts_with("policy telemetry")
        };
        let mut lines: Vec<String> = REQUIRED.lines().filter(is_bound).map(str::to_owned).collect();
        assert_eq!(compare(&lines).broken.len(), 2);
        lines.push("unread telemetry".to_owned());
        assert_eq!(compare(&lines), Missing::default());
        lines.push("policy devices everybody r true".to_owned());
        assert!(
            compare(&lines)
                .complaint()
                .unwrap()
                .contains("not created by a migration: policy devices everybody")
        );
    }
}
