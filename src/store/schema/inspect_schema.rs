//! Inspects the schema: migrations, required objects, partitions, late rows, and the rights of
//! readers.
//!
//! It changes nothing; `sluice migrate` and the daemon do.

use chrono::NaiveDate;

use super::day_tables::DAYS_AHEAD;
use super::day_tables::{Layout, Table, layout};
use super::inspect_server::{ServerCheck, TABLES, count_up_to, get};
use super::migrate::read_state;
use super::open_readers;
use super::required_objects;
use crate::domain::finding::{Finding, Severity};
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::connection::database::Database;
use crate::store::connection::engine::TelemetryLayout;
use crate::store::connection::writer_connection::answer;
use crate::store::error::StoreError;

/// This many rows in a default partition slow down creating partitions; further rows are not
/// counted.
const MANY_LATE_ROWS: i64 = 10_000;

const PARTITIONED: [Table; 2] = [
    Table { name: "telemetry", column: "time", days_kept: None },
    Table { name: "quarantine_events", column: "quarantined_at", days_kept: None },
];

/// What migration 0007 creates for each table, and whether the role of readers exists.
const READER: &str = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader')";
const READER_OF: &str = "SELECT c.relname::text, c.relrowsecurity, \
        EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'sluice_reader_tenant'), \
        has_any_column_privilege('sluice_reader', c.oid, 'SELECT') \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = current_schema() AND c.relname = ANY ($1) ORDER BY 1";

/// Whether readers may read the view of telemetry, and no function of theirs sees other rows.
const VIEW: &str = "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('telemetry_mine') \
    AND reloptions @> '{security_barrier=true}' AND has_table_privilege('sluice_reader', oid, 'SELECT'))";

/// Grants that a reader must not have: on a partition itself, which no policy of the parent covers,
/// and on hashes of tokens.
const LEAKS: &str = "SELECT inhrelid::regclass::text FROM pg_inherits \
        WHERE inhparent IN (to_regclass('telemetry'), to_regclass('quarantine_events')) \
        AND has_any_column_privilege('sluice_reader', inhrelid, 'SELECT') \
    UNION ALL SELECT 'devices.provision_token_hash' WHERE to_regclass('devices') IS NOT NULL \
        AND has_column_privilege('sluice_reader', to_regclass('devices'), 'provision_token_hash', 'SELECT') \
    UNION ALL SELECT 'quarantine_events.token_sha256' WHERE to_regclass('quarantine_events') IS NOT NULL \
        AND has_column_privilege('sluice_reader', to_regclass('quarantine_events'), 'token_sha256', 'SELECT')";

/// Postgres takes a function whose arguments fit better before its own: a reader that may create one in the schema has its code run by
/// the owner of the tables. Everybody may in the schema public of Postgres 14, and of a database that was upgraded from it. There Sluice
/// itself may only by the same grant, so it gets one of its own before.
const MAY_CREATE: &str = "SELECT format('GRANT CREATE ON SCHEMA %1$I TO %2$I; REVOKE CREATE ON SCHEMA %1$I FROM PUBLIC', \
        current_schema(), current_user) \
    WHERE has_schema_privilege('sluice_reader', current_schema(), 'CREATE')";

/// Compares the applied migrations with those of this binary.
pub async fn migrations(database: &Database, migrate_on_start: bool) -> ServerCheck {
    let state = database.schema_state().await?;
    let mut findings = Vec::new();
    if !state.unknown.is_empty() {
        findings.push(Finding::error(
            format!(
                "migrations {:?} are applied but unknown here: the schema is newer than this \
                version of Sluice",
                state.unknown
            ),
            "run the version of Sluice that applied them, or a later one",
        ));
    }
    if !state.changed.is_empty() {
        findings.push(Finding::error(
            format!(
                "migrations {:?} differ from those that were applied to this database",
                state.changed
            ),
            "run the version of Sluice that applied them, or a later one",
        ));
    }
    let names: Vec<String> =
        state.pending.iter().map(|(version, name)| format!("{version:04} {name}")).collect();
    match (names.is_empty(), migrate_on_start) {
        (true, _) => {}
        (false, true) => findings.push(Finding::warning(
            format!("pending migrations: {}", names.join(", ")),
            "run `sluice migrate`, or start the daemon: with MIGRATE_ON_START=1 it applies them",
        )),
        (false, false) => findings.push(Finding::error(
            format!("pending migrations: {}", names.join(", ")),
            "run `sluice migrate`, or set MIGRATE_ON_START=1",
        )),
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!("all {} migrations are applied", state.applied.len())));
    }
    Ok(findings)
}

/// Checks that the required objects exist; skips a schema with pending migrations.
pub async fn objects(database: &Database) -> ServerCheck {
    let mut session = database.connect().await?;
    if read_state(&mut session).await?.check().is_err() {
        return Ok(Vec::new());
    }
    let layout = database.read_engine().await?.layout;
    let missing = required_objects::missing(&mut session, layout).await?;
    session.close().await;
    let advice = "undo the change, or create the object again as its migration does; before you \
        create a unique index, delete the duplicate rows";
    let mut findings: Vec<Finding> =
        missing.broken.into_iter().map(|what| Finding::error(what, advice)).collect();
    findings.extend(missing.slow.into_iter().map(|index| {
        Finding::warning(
            format!("missing: {index}: queries are slower"),
            "create the index again as its migration does",
        )
    }));
    if findings.is_empty() {
        findings.push(Finding::ok(
            "all required tables, unique indexes, triggers, constraints and policies exist",
        ));
    }
    Ok(findings)
}

/// Checks the partitions of the coming days, and the rows in the default partitions.
pub async fn partitions(
    database: &Database,
    migrate_on_start: bool,
    now: Timestamp,
) -> ServerCheck {
    let today = now.to_utc().date_naive();
    let mut findings = Vec::new();
    let engine = database.read_engine().await?;
    for table in PARTITIONED {
        if table.name == "telemetry" && engine.layout.is_hypertable() {
            findings
                .push(Finding::ok("telemetry is a hypertable, which makes its chunks by itself"));
            continue;
        }
        let mut connection = database.pool().acquire().await.map_err(outage)?;
        let layout = layout(&mut connection, table).await.map_err(outage)?;
        drop(connection);
        let Some(layout) = layout else {
            let what = format!("table {} does not exist, or is not partitioned by day", table.name);
            findings.push(if migrate_on_start {
                Finding::warning(
                    what,
                    "run `sluice migrate`, or start the daemon: with MIGRATE_ON_START=1 it creates \
                    the table",
                )
            } else {
                Finding::error(what, "run `sluice migrate`")
            });
            continue;
        };
        findings.push(judge_days(table, &layout, today));
        findings.push(check_late_rows(database, table, &layout).await?);
    }
    Ok(findings)
}

/// Checks that the role of dashboards is restricted to one tenant.
pub async fn readers(database: &Database) -> ServerCheck {
    if !answer(sqlx::query_scalar::<_, bool>(READER).fetch_one(database.pool())).await? {
        return Ok(vec![Finding::warning(
            "the role sluice_reader does not exist: dashboards cannot be limited to one tenant",
            "run \"CREATE ROLE sluice_reader NOLOGIN\" as an administrator, then \"SELECT \
            sluice_bind_reader()\" as the owner of the tables",
        )]);
    }
    let rows = answer(sqlx::query(READER_OF).bind(&TABLES[..]).fetch_all(database.pool())).await?;
    let (mut open, mut unbound) = (Vec::new(), Vec::new());
    for row in &rows {
        let (name, secured, has_policy): (String, bool, bool) =
            (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        let granted: bool = get(row, 3)?;
        if name == "telemetry" && !secured && !granted && reads_the_view(database).await? {
            continue;
        }
        match (secured, granted) {
            (false, true) => open.push(name),
            (true, true) if has_policy => {}
            _ => unbound.push(name),
        }
    }
    let leaks: Vec<String> = answer(sqlx::query_scalar(LEAKS).fetch_all(database.pool())).await?;
    let layout = database.read_engine().await?.layout;
    let readers = open_readers::read(database.pool(), layout).await?;
    let mut findings = open_readers::findings(&readers);
    let taken_by: Option<String> =
        answer(sqlx::query_scalar(MAY_CREATE).fetch_optional(database.pool())).await?;
    findings.extend(taken_by.map(|statements| {
        Finding::error(
            "members of sluice_reader may create functions in the schema of Sluice, which its own statements then call",
            format!("run \"{statements}\" as a superuser in this database"),
        )
    }));
    let is_open = !findings.is_empty();
    let judged = judge_readers(rows.len(), &open, &unbound, &leaks);
    findings.extend(judged.into_iter().filter(|finding| !is_open || finding.level > Severity::Ok));
    Ok(findings)
}

// --- private helpers ---

/// Whether readers get telemetry by its view: a columnstore has no row-level security.
async fn reads_the_view(database: &Database) -> Result<bool, Outage> {
    let has_columnstore = database.read_engine().await?.layout == TelemetryLayout::Columnstore;
    Ok(has_columnstore && answer(sqlx::query_scalar(VIEW).fetch_one(database.pool())).await?)
}

fn judge_days(table: Table, layout: &Layout, today: NaiveDate) -> Finding {
    let missing: Vec<String> = today
        .iter_days()
        .take(2)
        .filter(|day| !layout.days.contains(day))
        .map(|day| table.partition(day))
        .collect();
    let ahead = today.iter_days().skip(1).take_while(|day| layout.days.contains(day)).count();
    let advice = "run `sluice migrate`; the daemon creates partitions every hour, and logs the \
        cause when it cannot";
    if !missing.is_empty() {
        let what = format!(
            "missing partitions: {}; rows of these days go to {}_late",
            missing.join(" and "),
            table.name
        );
        return Finding::error(what, advice);
    }
    if ahead < usize::try_from(DAYS_AHEAD).unwrap_or(usize::MAX) {
        let what = format!(
            "{} has partitions for {ahead} days ahead; {DAYS_AHEAD} are expected",
            table.name
        );
        return Finding::warning(what, advice);
    }
    Finding::ok(format!("{} has partitions for today and {ahead} days ahead", table.name))
}

async fn check_late_rows(
    database: &Database,
    table: Table,
    layout: &Layout,
) -> Result<Finding, Outage> {
    let name = table.name;
    let Some(late) = &layout.late else {
        return Ok(Finding::error(
            format!(
                "{name} has no default partition: a row of a day without a partition stops all \
                writes"
            ),
            format!("CREATE TABLE {name}_late PARTITION OF {name} DEFAULT"),
        ));
    };
    let rows = count_up_to(database, late, MANY_LATE_ROWS + 1).await?;
    Ok(if rows > MANY_LATE_ROWS {
        Finding::warning(
            format!(
                "{late} contains more than {MANY_LATE_ROWS} rows: queries and creating a partition \
                are slow"
            ),
            "devices send old or future timestamps: lower MAX_AGE_DAYS and MAX_CLOCK_SKEW_SECONDS, \
            or create partitions for those days; retention deletes the rows in time",
        )
    } else {
        Finding::ok(format!("{late} contains {rows} rows"))
    })
}

fn judge_readers(
    tables: usize,
    open: &[String],
    unbound: &[String],
    leaks: &[String],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !open.is_empty() {
        findings.push(Finding::error(
            format!(
                "row-level security is off and sluice_reader may read {}: each tenant sees the \
                rows of all tenants",
                open.join(", ")
            ),
            "run \"SELECT sluice_bind_reader()\" as the owner of the tables",
        ));
    }
    if !leaks.is_empty() {
        let leaks = leaks.join(", ");
        findings.push(Finding::error(
            format!("sluice_reader may read {leaks}, where no policy limits it to its tenant"),
            format!("REVOKE SELECT on {leaks} from sluice_reader, and from PUBLIC"),
        ));
    }
    if !unbound.is_empty() {
        findings.push(Finding::warning(
            format!(
                "sluice_reader has no grant or no policy on {}: dashboards show nothing there",
                unbound.join(", ")
            ),
            "run \"SELECT sluice_bind_reader()\" as the owner of the tables",
        ));
    }
    if tables < TABLES.len() {
        let what = format!("{} of {} tables are missing", TABLES.len() - tables, TABLES.len());
        findings.push(Finding::warning(what, "run `sluice migrate`"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "row-level security limits sluice_reader to one tenant on every table",
        ));
    }
    findings
}

fn outage(error: sqlx::Error) -> Outage {
    StoreError::from(error).into()
}
