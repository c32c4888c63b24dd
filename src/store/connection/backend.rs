//! The server process of a connection: which one it is, whether it waits for its client, and how to
//! end one whose client is gone.
//!
//! Postgres has no timeout for a COPY whose client stops sending: neither `statement_timeout` nor
//! `idle_in_transaction_session_timeout` ends it. Its rows stay locked until the server's kernel
//! closes the connection. It ends only processes of the same role, database and application name
//! that wait for their client.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::database::APPLICATION_NAME;
use super::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// A statement that has waited for its client this long has lost it: a live client gives up sooner
/// ([`super::writer_connection::ANSWER_PATIENCE`]).
const ABANDONED_AFTER: Duration = Duration::from_mins(1);

/// How long to wait for the end of one process; the next attempt ends the rest.
const END_PATIENCE_MILLIS: i64 = 2_000;

/// Upper bound of remembered processes; each served one connection that broke.
pub(crate) const FORMER_MAX: usize = 16;

const OWN: &str = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";

const WAITS: &str = "SELECT coalesce(wait_event_type = 'Client', false), state_change FROM pg_stat_activity \
    WHERE pid = $1 AND backend_start = $2";

/// An idle process locks no rows. A process active within the last 2 s may serve another client of
/// a pooler.
const END: &str = "SELECT pid, backend_start, is_silent, CASE WHEN is_silent THEN pg_terminate_backend(pid, $5) END AS ended \
    FROM (SELECT pid, backend_start, (pid, backend_start) IN (SELECT * FROM unnest($1::int[], $2::timestamptz[])) AS is_former, \
            coalesce(wait_event_type = 'Client' AND state <> 'idle' AND state_change < clock_timestamp() - interval '2 s', false) \
                AS is_silent, \
            coalesce(state = 'active' AND query_start < clock_timestamp() - make_interval(secs => $4), false) AS is_abandoned \
        FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user AND application_name = $3 \
            AND pid <> pg_backend_pid()) AS backends \
    WHERE is_former OR (is_silent AND is_abandoned)";

/// A server process. A pid is reused; pid and start time together are unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    pid: i32,
    started: DateTime<Utc>,
}

/// What `pg_stat_activity` shows of a server process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BackendActivity {
    /// The process has ended.
    Gone,
    /// It waits for its client; its state last changed at this time.
    WaitsForClient(Option<DateTime<Utc>>),
    /// It runs, or waits for a lock or a disk.
    Busy,
}

// === impl Backend ===

impl Backend {
    /// The process that serves `session`. `None` means the server does not show it.
    pub(crate) async fn of(session: &mut WriterConnection) -> Result<Option<Self>, StoreError> {
        let row: Option<(i32, DateTime<Utc>)> =
            answer(sqlx::query_as(OWN).fetch_optional(&mut session.connection)).await?;
        Ok(row.map(|(pid, started)| Self { pid, started }))
    }

    /// Reads its activity over `session`, which is another connection.
    pub(super) async fn activity(
        self,
        session: &mut WriterConnection,
    ) -> Result<BackendActivity, StoreError> {
        let query = sqlx::query_as(WAITS).bind(self.pid).bind(self.started);
        let row: Option<(bool, Option<DateTime<Utc>>)> =
            answer(query.fetch_optional(&mut session.connection)).await?;
        Ok(match row {
            None => BackendActivity::Gone,
            Some((true, since)) => BackendActivity::WaitsForClient(since),
            Some((false, _)) => BackendActivity::Busy,
        })
    }
}

/// Ends the processes of `former` that wait for their client, and any other of ours that has waited
/// for [`ABANDONED_AFTER`]. Keeps in `former` those that still run.
pub(crate) async fn end_abandoned(
    session: &mut WriterConnection,
    former: &mut Vec<Backend>,
) -> Result<(), StoreError> {
    let (pids, starts): (Vec<i32>, Vec<DateTime<Utc>>) =
        former.iter().map(|one| (one.pid, one.started)).unzip();
    let query = sqlx::query_as(END)
        .bind(pids)
        .bind(starts)
        .bind(APPLICATION_NAME)
        .bind(ABANDONED_AFTER.as_secs_f64())
        .bind(END_PATIENCE_MILLIS);
    let seen: Vec<(i32, DateTime<Utc>, bool, Option<bool>)> =
        answer(query.fetch_all(&mut session.connection)).await?;
    former.retain(|one| {
        seen.iter().any(|(pid, started, _, ended)| {
            (*pid, *started) == (one.pid, one.started) && *ended != Some(true)
        })
    });
    let ended = seen.iter().filter(|(_, _, _, ended)| *ended == Some(true));
    let pids: Vec<i32> = ended.map(|(pid, ..)| *pid).collect();
    if !pids.is_empty() {
        tracing::warn!(
            ?pids,
            "the connections of some Postgres processes were lost while they locked rows; Sluice \
            ended the processes"
        );
    }
    Ok(())
}
