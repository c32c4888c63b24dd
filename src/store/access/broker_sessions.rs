//! Stores the broker session of each client id: one row, read at start and written when the session
//! changes.
//!
//! It knows no MQTT. Only the start waits for it: a late or lost row costs no message.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::broker_subscription::{SessionMemory, Subscribed};
use crate::domain::ports::Outage;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::store::connection::writer_connection::answer;

/// Pause before a failed write is retried.
const RETRY: Duration = Duration::from_secs(5);

/// Upper bound of the last write after the daemon stops.
const LAST_ROW: Duration = Duration::from_secs(2);

/// How often the row says that the daemon runs.
const SIGN_PERIOD: Duration = Duration::from_secs(20);

const TEXTS: HealthTexts = HealthTexts {
    failed: "cannot store the subscriptions of the broker session",
    action: "retrying",
    recovered: "the subscriptions of the broker session are stored again",
};

const RECALL: &str =
    "SELECT broker, subscribed_at, filters FROM broker_sessions WHERE client_id = $1";

const EXPECT: &str = "INSERT INTO broker_sessions (client_id, filters) VALUES ($1, ARRAY[$2]) \
    ON CONFLICT (client_id) DO UPDATE SET filters = array_append(broker_sessions.filters, $2)";

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
/// runs. Retries failed writes until `stop`.
pub async fn keep(
    pool: PgPool,
    client_id: String,
    mut sessions: watch::Receiver<SessionMemory>,
    stop: CancellationToken,
) {
    let mut health = HealthReporter::log_only("broker_sessions", TEXTS);
    loop {
        let has_changed = tokio::select! {
            changed = sessions.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            () = sleep(SIGN_PERIOD) => false,
        };
        if !has_changed {
            // The next one follows soon; a failure is reported by what must be written.
            let _ = answer(sqlx::query(SIGN).bind(&client_id).execute(&pool)).await;
            continue;
        }
        loop {
            let memory = sessions.borrow_and_update().clone();
            let noted = tokio::select! {
                biased;
                noted = note(&pool, &client_id, &memory) => noted,
                () = too_late(&stop) => return,
            };
            let Err(outage) = noted else { break };
            health.failed(&outage.0, Instant::now());
            tokio::select! {
                () = stop.cancelled() => return,
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
