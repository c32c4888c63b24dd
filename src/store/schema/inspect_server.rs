//! Inspects the server and the role of the daemon, and returns findings.
//!
//! It changes nothing and creates nothing. [`super::inspect_schema`] inspects the schema.

use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{AssertSqlSafe, Row};
use tokio::time::timeout;

use crate::domain::clocks::MAX_CLOCK_OFFSET_SECONDS;
use crate::domain::finding::Finding;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::store::connection::database::Database;
use crate::store::connection::writer_connection::answer;
use crate::store::error::StoreError;
use crate::store::layout::inspect_engine;

/// The findings of one check, or the outage that prevented it.
pub type ServerCheck = Result<Vec<Finding>, Outage>;

/// The oldest Postgres that is supported, as `server_version_num`.
const OLDEST: i32 = 140_000;

/// Connections in addition to the pool: the writer, the probe, the listener, two of the outbox, and
/// two of the requests of devices.
const EXTRA_CONNECTIONS: i64 = 7;

/// Upper bound of the wait for a notification.
const NOTIFY_PATIENCE: Duration = Duration::from_secs(3);

/// How often the clock is read; the fastest answer counts.
const CLOCK_TRIES: usize = 5;

/// A difference of the clocks above this, in seconds, is reported: partitions and certificates
/// depend on both.
const CLOCK_TOLERANCE: f64 = 1.0;

/// The tables of the migrations that people read.
pub(super) const TABLES: [&str; 11] = [
    "tenants",
    "devices",
    "device_certificates",
    "telemetry",
    "quarantine_events",
    "quarantine_counters_minute",
    "device_state",
    "device_commands",
    "link_outbox",
    "link_refused",
    "audit_log",
];

const SERVER: &str = "SELECT current_setting('server_version'), current_setting('server_version_num')::int, \
    pg_is_in_recovery(), current_setting('transaction_read_only')::bool, current_database()::text, current_user::text";

const SAFETY: &str = "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')";

/// `numbackends` is visible to every role.
const ROOM: &str = "SELECT current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint \
        - coalesce(current_setting('reserved_connections', true)::bigint, 0) - (SELECT sum(numbackends)::bigint FROM pg_stat_database), \
    (SELECT nullif(datconnlimit, -1)::bigint - numbackends FROM pg_database JOIN pg_stat_database s ON s.datid = pg_database.oid \
        WHERE pg_database.datname = current_database()), \
    (SELECT nullif(rolconnlimit, -1)::bigint - (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user) \
        FROM pg_roles WHERE rolname = current_user), \
    (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND application_name = 'sluice')";

const PRIVILEGES: &str = "SELECT current_user::text, current_schema()::text, \
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), \
    has_database_privilege(current_database(), 'TEMPORARY'), \
    ARRAY(SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
        WHERE nspname = current_schema() AND relname = ANY ($1) AND NOT pg_has_role(relowner, 'USAGE') ORDER BY 1), \
    current_database()::text";

/// Checks address, login and version, and whether the server accepts writes.
pub async fn connection(database: &Database) -> ServerCheck {
    // On a connection of its own: the pool would hide the cause.
    let mut session = database.connect().await?;
    let row = answer(sqlx::query(SERVER).fetch_one(&mut session.connection)).await?;
    session.close().await;
    let (version, number): (String, i32) = (get(&row, 0)?, get(&row, 1)?);
    let (in_recovery, read_only): (bool, bool) = (get(&row, 2)?, get(&row, 3)?);
    let (name, role): (String, String) = (get(&row, 4)?, get(&row, 5)?);
    let engine = inspect_engine::findings(database).await?;
    let mut findings = vec![if number < OLDEST {
        Finding::error(
            format!("Postgres {version} is too old"),
            format!("use Postgres {} or later", OLDEST / 10_000),
        )
    } else {
        Finding::ok(format!("Postgres {version}, database {name}, as {role}"))
    }];
    findings.extend(engine);
    if in_recovery {
        findings.push(Finding::error(
            "this Postgres is a standby and accepts no writes",
            "point DATABASE_URL at the primary",
        ));
    } else if read_only {
        findings.push(Finding::error(
            "this Postgres is read-only",
            "turn default_transaction_read_only off for the server, the database and the role",
        ));
    }
    Ok(findings)
}

/// Checks that a commit survives a crash of Postgres: acknowledgements to the broker depend on it.
pub async fn safety(database: &Database) -> ServerCheck {
    let row = answer(sqlx::query(SAFETY).fetch_one(database.pool())).await?;
    let mut findings = Vec::new();
    let risks = [
        (
            "fsync",
            "if the machine of Postgres crashes, acknowledged messages or the whole database are \
            lost",
        ),
        (
            "full_page_writes",
            "if the machine of Postgres crashes, a half-written page stays corrupt",
        ),
        ("synchronous_commit", "if Postgres crashes, acknowledged messages are lost"),
    ];
    for (place, (setting, risk)) in risks.into_iter().enumerate() {
        let value: String = get(&row, place)?;
        if value == "off" {
            let advice = format!(
                "set {setting} = on in postgresql.conf, or for the role or the database that turns \
                it off"
            );
            findings.push(Finding::warning(format!("{setting} is off: {risk}"), advice));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "committed rows survive a crash (fsync, full_page_writes and synchronous_commit are \
            on)",
        ));
    }
    Ok(findings)
}

/// Checks that the server has connections for the pool and [`EXTRA_CONNECTIONS`].
pub async fn room(database: &Database, pool_max: u32) -> ServerCheck {
    let row = answer(sqlx::query(ROOM).fetch_one(database.pool())).await?;
    let needed = i64::from(pool_max) + EXTRA_CONNECTIONS;
    let ours: i64 = get(&row, 3)?;
    let limits = [
        ("the server", "max_connections"),
        (
            "the database",
            "the connection limit of the database (ALTER DATABASE .. CONNECTION LIMIT)",
        ),
        ("the role", "the connection limit of the role (ALTER ROLE .. CONNECTION LIMIT)"),
    ];
    let mut findings = Vec::new();
    let mut least = i64::MAX;
    for (place, (whose, setting)) in limits.into_iter().enumerate() {
        let Some(free) = get::<Option<i64>>(&row, place)? else { continue };
        least = least.min(free);
        if free + ours < needed {
            findings.push(Finding::warning(
                format!(
                    "{whose} has {} free connections in addition to the {ours} that Sluice uses; a \
                    daemon needs up to {needed} (PG_POOL_MAX={pool_max} and {EXTRA_CONNECTIONS} \
                    more)",
                    free.max(0)
                ),
                format!("raise {setting}, or lower PG_POOL_MAX"),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!(
            "{least} connections are free in addition to the {ours} that Sluice uses; a daemon \
            needs up to {needed}"
        )));
    }
    Ok(findings)
}

/// Checks the privileges of the role.
pub async fn privileges(database: &Database) -> ServerCheck {
    let row = answer(sqlx::query(PRIVILEGES).bind(&TABLES[..]).fetch_one(database.pool())).await?;
    let (role, schema): (String, Option<String>) = (get(&row, 0)?, get(&row, 1)?);
    let (may_create, may_temporary): (bool, bool) = (get(&row, 2)?, get(&row, 3)?);
    let (foreign, name): (Vec<String>, String) = (get(&row, 4)?, get(&row, 5)?);
    let Some(schema) = schema else {
        let advice = "create the schema that search_path names, or set search_path for the role";
        return Ok(vec![Finding::error("search_path names no existing schema", advice)]);
    };
    let mut findings = Vec::new();
    if !may_create {
        findings.push(Finding::error(
            format!("{role} may not create tables in schema {schema}: migrations and partitions \
                fail"),
            format!("GRANT CREATE ON SCHEMA {schema} TO {role}, or ALTER DATABASE {name} OWNER TO {role}"),
        ));
    }
    if !may_temporary {
        findings.push(Finding::error(
            format!(
                "{role} may not create temporary tables: redelivered messages cannot be stored"
            ),
            format!("GRANT TEMPORARY ON DATABASE {name} TO {role}"),
        ));
    }
    if !foreign.is_empty() {
        findings.push(Finding::error(
            format!(
                "{role} does not own {}: only the owner can create partitions and migrate",
                foreign.join(", ")
            ),
            format!("run ALTER TABLE .. OWNER TO {role} for each table, or log in as the owner"),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!(
            "{role} may create tables and temporary tables, and owns the existing tables"
        )));
    }
    Ok(findings)
}

/// Checks that a notification arrives: a pooler may drop notifications, and revocations with them.
pub async fn notices(database: &Database) -> ServerCheck {
    let channel = format!("sluice_doctor_{}", uuid::Uuid::new_v4().simple());
    let received = async {
        let mut listener = PgListener::connect_with(database.pool()).await?;
        listener.listen(&channel).await?;
        sqlx::query("SELECT pg_notify($1, '')").bind(&channel).execute(database.pool()).await?;
        listener.recv().await.map(drop)
    };
    match timeout(NOTIFY_PATIENCE, received).await {
        Ok(received) => {
            received.map_err(StoreError::from)?;
            Ok(vec![Finding::ok("notifications of registry changes arrive (LISTEN)")])
        }
        Err(_) => Ok(vec![Finding::error(
            format!(
                "a notification did not arrive within {} s: revocations would take effect late",
                NOTIFY_PATIENCE.as_secs()
            ),
            "connect to Postgres directly, or through a pooler in session mode (PgBouncer: \
            pool_mode = session)",
        )]),
    }
}

/// Checks the difference of the clocks, as exactly as the round trip allows.
pub async fn clock(database: &Database, clock: Clock) -> ServerCheck {
    let mut best: Option<(f64, f64)> = None;
    for _ in 0..CLOCK_TRIES {
        let sent = clock();
        let query = sqlx::query_scalar("SELECT clock_timestamp()");
        let database_time: chrono::DateTime<chrono::Utc> =
            answer(query.fetch_one(database.pool())).await?;
        let trip = clock().seconds_since(sent);
        let skew = Timestamp::from(database_time).seconds_since(sent) - trip / 2.0;
        if best.is_none_or(|(_, quickest)| trip < quickest) {
            best = Some((skew, trip));
        }
    }
    let Some((skew, trip)) = best else { return Ok(Vec::new()) };
    Ok(vec![judge_skew(skew, trip / 2.0)])
}

// --- private helpers ---

fn judge_skew(skew: f64, doubt: f64) -> Finding {
    let direction = if skew < 0.0 { "behind" } else { "ahead of" };
    let what = format!(
        "the clock of Postgres is {:.3} s {direction} this machine's (± {doubt:.3} s)",
        skew.abs()
    );
    let advice = "synchronize both machines with a time server (chrony, systemd-timesyncd)";
    if skew.abs() - doubt > MAX_CLOCK_OFFSET_SECONDS {
        let what = format!(
            "{what}, more than {MAX_CLOCK_OFFSET_SECONDS} s: Sluice deletes and expires nothing by \
            time"
        );
        return Finding::error(what, advice);
    }
    if skew.abs() - doubt > CLOCK_TOLERANCE {
        return Finding::warning(what, advice);
    }
    Finding::ok(what)
}

/// Reads a column of a row; the statement fixes its type.
pub(super) fn get<'r, T>(row: &'r sqlx::postgres::PgRow, place: usize) -> Result<T, Outage>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(place).map_err(|error| StoreError::from(error).into())
}

/// Counts the rows up to `most`.
pub(super) async fn count_up_to(
    database: &Database,
    quoted_table: &str,
    most: i64,
) -> Result<i64, Outage> {
    let statement = format!("SELECT count(*) FROM (SELECT 1 FROM {quoted_table} LIMIT $1) rows");
    let query = sqlx::query_scalar(AssertSqlSafe(statement)).bind(most);
    Ok(answer(query.fetch_one(database.pool())).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Severity;

    #[test]
    fn a_clock_offset_within_half_a_round_trip_is_no_finding() {
        assert_eq!(judge_skew(1.5, 0.6).level, Severity::Ok);
        assert_eq!(judge_skew(-1.5, 0.1).level, Severity::Warning);
        assert!(judge_skew(-1.5, 0.1).what.contains("1.500 s behind"));
        assert_eq!(judge_skew(-121.0, 0.1).level, Severity::Error);
    }
}
