//! Asks Postgres every few seconds whether it answers, is not read-only, and has the schema that the promises stand on, so that readiness is right also while nothing is written. The one writer of `sluice_db_up`. It also compares
//! the clocks.
//!
//! It stores nothing and repairs nothing. That a disk is full only a write can tell: then those who write say so.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::clocks;
use super::database::Database;
use super::writer_connection::{WriterConnection, answer};
use crate::domain::clocks::Clocks;
use crate::domain::ports::Outage;
use crate::domain::time::Clock;
use crate::lifecycle::Readiness;
use crate::store::error::StoreError;
use crate::store::schema::migrate::read_state;
use crate::store::schema::required_objects;

/// How often it asks.
const PERIOD: Duration = Duration::from_secs(2);

/// How long an answer may take before Postgres counts as away.
const PATIENCE: Duration = Duration::from_secs(3);

/// The part of readiness that this module speaks for.
const PART: &str = "database";

/// The part that speaks of the schema: the start's, until the start is over, then this module's.
const SCHEMA: &str = "schema";

/// The part that speaks of the clocks.
const CLOCK: &str = "clock";

/// The parts that say so when Postgres does not take what they give it.
const GIVERS: [&str; 2] = ["registry", "writer"];

/// Asks until told to stop.
pub async fn watch(database: Database, readiness: Readiness, clock: Clock, stop: CancellationToken) {
    let mut session = None;
    let mut clocks_agree = true;
    loop {
        let asked = tokio::time::timeout(PATIENCE, ask(&database, &mut session, clock));
        let answered = tokio::select! {
            () = stop.cancelled() => return,
            answered = asked => answered.unwrap_or_else(|_| Err(silent())),
        };
        match answered {
            Ok((wrong, clocks)) => {
                database.metrics().clock_offset.set(clocks.offset_seconds());
                clocks_agree = tell_clocks(&readiness, clocks, clocks_agree);
                match wrong {
                    Some(wrong) => readiness.unwell(SCHEMA, wrong),
                    None => readiness.well(SCHEMA),
                }
                let refused = readiness.troubles().keys().any(|part| GIVERS.contains(part));
                database.metrics().up.set(i64::from(!refused));
                readiness.well(PART);
            }
            Err(trouble) => {
                session = None;
                database.metrics().up.set(0);
                let Outage(why) = trouble.into();
                readiness.unwell(PART, why);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// What is wrong with the schema, if something is; and the clocks.
async fn ask(
    database: &Database,
    session: &mut Option<WriterConnection>,
    clock: Clock,
) -> Result<(Option<String>, Clocks), StoreError> {
    let session = match session {
        Some(session) => session,
        None => session.insert(WriterConnection::open(database.unbounded_options()).await?),
    };
    let asked = sqlx::query_scalar("SELECT current_setting('transaction_read_only')::bool");
    if answer(asked.fetch_one(&mut session.connection)).await? {
        return Err(StoreError::Outage(
            "this Postgres is read-only: point DATABASE_URL at the primary, or switch default_transaction_read_only off"
                .into(),
        ));
    }
    let clocks = clocks::read(&mut session.connection, clock).await?;
    Ok((look_at_schema(session).await?, clocks))
}

/// Says in readiness, and in the log when that changes, whether the clocks agree; returns it.
fn tell_clocks(readiness: &Readiness, clocks: Clocks, agreed: bool) -> bool {
    let Some(why) = clocks.complaint() else {
        if !agreed {
            tracing::info!("the clocks of this machine and of Postgres agree again");
        }
        readiness.well(CLOCK);
        return true;
    };
    if agreed {
        tracing::error!(
            "{why}; until then nothing is deleted or expired by time, and a CRL is made valid by both clocks"
        );
    }
    readiness.unwell(CLOCK, why);
    false
}

async fn look_at_schema(session: &mut WriterConnection) -> Result<Option<String>, StoreError> {
    let state = read_state(session).await.map_err(|Outage(why)| StoreError::Outage(why))?;
    if let Err(wrong) = state.check() {
        return Ok(Some(wrong.to_string()));
    }
    Ok(required_objects::missing(session).await?.complaint())
}

fn silent() -> StoreError {
    StoreError::Outage(format!("Postgres did not answer within {} s", PATIENCE.as_secs()))
}
