//! Stores the broker session of each client id: one row, read at start and written when the session
//! changes.
//!
//! It knows no MQTT. After a drain it removes the row. Only the start waits for it: a late or lost row costs no message.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::broker_subscription::{SessionMemory, Subscribed};
use crate::domain::ports::Outage;
use crate::lifecycle::draining::{DrainDesk, DrainPhase, DrainState};
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::store::access::replica_sessions::{self, SessionEnding};
use crate::store::connection::writer_connection::answer;
use crate::store::registry::audit::Actor;

/// Pause before a failed write is retried.
const RETRY: Duration = Duration::from_secs(5);

/// Upper bound of the last write after the daemon stops.
const LAST_ROW: Duration = Duration::from_secs(2);

/// The row says that the daemon runs so many times before it would count as orphaned.
const SIGNS: u32 = 6;

const TEXTS: HealthTexts = HealthTexts {
    failed: "cannot store the subscriptions of the broker session",
    action: "retrying",
    recovered: "the subscriptions of the broker session are stored again",
};

const RECALL: &str =
    "SELECT broker, subscribed_at, filters FROM broker_sessions WHERE client_id = $1";

const EXPECT: &str = "INSERT INTO broker_sessions (client_id, filters, seen_at) VALUES ($1, ARRAY[$2], now()) \
    ON CONFLICT (client_id) DO UPDATE SET filters = array_append(broker_sessions.filters, $2), \
        seen_at = excluded.seen_at";

const NOTE: &str = "INSERT INTO broker_sessions (client_id, broker, subscribed_at, filters, seen_at) VALUES ($1, $2, $3, $4, now()) \
    ON CONFLICT (client_id) DO UPDATE SET broker = excluded.broker, subscribed_at = excluded.subscribed_at, \
        filters = excluded.filters, seen_at = excluded.seen_at";

const SIGN: &str = "UPDATE broker_sessions SET seen_at = now() WHERE client_id = $1";

#[derive(sqlx::FromRow)]
struct SessionRow {
    broker: Option<String>,
    subscribed_at: Option<DateTime<Utc>>,
    filters: Vec<String>,
}

/// Reads the stored session of `client_id`. `filter` is stored before the SUBSCRIBE is sent, so
/// that a run killed in between leaves no unknown subscription.
pub async fn recall(pool: &PgPool, client_id: &str, filter: &str) -> Result<SessionMemory, Outage> {
    let query = sqlx::query_as(RECALL).bind(client_id).fetch_optional(pool);
    let memory: SessionMemory = answer(query).await?.map(SessionRow::into).unwrap_or_default();
    if !memory.filters.iter().any(|known| known == filter) {
        let query = sqlx::query(EXPECT).bind(client_id).bind(filter).execute(pool);
        answer(query).await?;
    }
    Ok(memory)
}

/// Writes the latest state of the session until its sender is dropped, and meanwhile that the daemon
/// runs. Retries failed writes until `stop`. After a drain it removes the row.
pub async fn keep(
    pool: PgPool,
    client_id: String,
    orphan_after: Duration,
    drain: DrainDesk,
    sessions: watch::Receiver<SessionMemory>,
    stop: CancellationToken,
) {
    keep_current(&pool, &client_id, orphan_after / SIGNS, (sessions, &drain), stop.clone()).await;
    if drain.state().has_ended() {
        forget(&pool, &client_id, &drain).await;
        stop.cancelled().await;
    }
}

/// Removes the row, within the time that the last write has. A row that stays is that of an orphan
/// whose session has ended.
async fn forget(pool: &PgPool, client_id: &str, drain: &DrainDesk) {
    let DrainState { actor, taken, .. } = drain.state();
    let actor = Actor::new(&actor);
    let ending =
        SessionEnding { client_id, actor: &actor, action: "replica.drain", messages: taken };
    let removed = timeout(LAST_ROW, replica_sessions::forget(pool, ending, None)).await;
    let why = match removed {
        Ok(Ok(_)) => None,
        Ok(Err(outage)) => Some(outage.0),
        Err(_) => Some(format!("Postgres did not answer within {} s", LAST_ROW.as_secs())),
    };
    if let Some(why) = why {
        tracing::warn!(
            client_id,
            "the row of the drained session was not removed: {why}; it will count as orphaned; run \
             `sluice adopt {client_id}`, which removes it"
        );
    }
    drain.reach(DrainPhase::Done);
}

/// Ends with the sender, with `stop`, or when the session has ended by a drain. It leaves no write open
/// behind: Postgres could carry it out after the row is removed, and the row would be there again.
async fn keep_current(
    pool: &PgPool,
    client_id: &str,
    sign_period: Duration,
    (mut sessions, drain): (watch::Receiver<SessionMemory>, &DrainDesk),
    stop: CancellationToken,
) {
    let mut health = HealthReporter::log_only("broker_sessions", TEXTS);
    loop {
        let has_changed = tokio::select! {
            biased;
            _ = drain.wait_until(DrainState::has_ended) => return,
            changed = sessions.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            () = sleep(sign_period) => false,
        };
        if !has_changed {
            // The next one follows soon; a failure is reported by what must be written.
            let _ = answer(sqlx::query(SIGN).bind(client_id).execute(pool)).await;
            continue;
        }
        loop {
            if drain.state().has_ended() {
                return;
            }
            let memory = sessions.borrow_and_update().clone();
            let noted = tokio::select! {
                biased;
                noted = note(pool, client_id, &memory) => noted,
                () = too_late(&stop) => return,
            };
            let Err(outage) = noted else { break };
            health.failed(&outage.0, Instant::now());
            tokio::select! {
                () = stop.cancelled() => return,
                _ = drain.wait_until(DrainState::has_ended) => return,
                () = sleep(RETRY) => {}
            }
        }
        health.worked(Instant::now());
    }
}

// === impl SessionRow ===

impl From<SessionRow> for SessionMemory {
    fn from(SessionRow { broker, subscribed_at, filters }: SessionRow) -> Self {
        let subscribed =
            broker.zip(subscribed_at).map(|(broker, at)| Subscribed { broker, at: at.into() });
        Self { subscribed, filters }
    }
}

// --- private helpers ---

async fn note(pool: &PgPool, client_id: &str, memory: &SessionMemory) -> Result<(), Outage> {
    let (broker, at) =
        memory.subscribed.as_ref().map(|last| (last.broker.as_str(), last.at.to_utc())).unzip();
    let query = sqlx::query(NOTE).bind(client_id).bind(broker).bind(at).bind(&memory.filters);
    answer(query.execute(pool)).await?;
    Ok(())
}

async fn too_late(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LAST_ROW).await;
}
