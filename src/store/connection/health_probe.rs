//! Checks every few seconds that Postgres answers, is not read-only, has the required schema, and
//! agrees on the time. So readiness is right also while nothing is written. The one writer of
//! `sluice_db_up`.
//!
//! It stores nothing and repairs nothing. Only a write shows a full disk: the writing components
//! report that.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::clocks;
use super::database::Database;
use super::engine::{EngineKind, StoreEngine};
use super::writer_connection::{WriterConnection, answer};
use crate::domain::clocks::Clocks;
use crate::domain::ports::Outage;
use crate::domain::time::Clock;
use crate::lifecycle::Readiness;
use crate::store::error::StoreError;
use crate::store::schema::migrate::read_state;
use crate::store::schema::required_objects;

/// Pause between two checks.
const PERIOD: Duration = Duration::from_secs(2);

/// Upper bound of one check; a slower answer counts as an outage.
const PATIENCE: Duration = Duration::from_secs(3);

/// The component of readiness that this module reports.
const COMPONENT: &str = "database";

/// The component `schema`: the start reports it first, then this module.
const SCHEMA: &str = "schema";

/// The component that reports the engine.
const ENGINE: &str = "store";

/// The component `clock`.
const CLOCK: &str = "clock";

/// The components that report failed writes.
const WRITING_COMPONENTS: [&str; 2] = ["registry", "writer"];

/// Runs the checks until `stop`.
pub async fn watch(
    database: Database,
    readiness: Readiness,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut session = None;
    let mut clocks_agree = true;
    loop {
        let checked = tokio::time::timeout(PATIENCE, check(&database, &mut session, clock));
        let answered = tokio::select! {
            () = stop.cancelled() => return,
            answered = checked => answered.unwrap_or_else(|_| Err(no_answer())),
        };
        match answered {
            Ok((complaint, clocks)) => {
                database.metrics().clock_offset.set(clocks.offset_seconds());
                clocks_agree = report_clocks(&readiness, clocks, clocks_agree);
                report_engine(&database, &readiness);
                report_answer(&database, &readiness, complaint);
            }
            Err(error) => {
                session = None;
                database.metrics().up.set(0);
                let Outage(why) = error.into();
                readiness.unwell(COMPONENT, why);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// Reports that Postgres answered, and what the answer says of the schema. The metric `up` also
/// needs the components that write.
fn report_answer(database: &Database, readiness: &Readiness, complaint: Option<String>) {
    match complaint {
        Some(complaint) => readiness.unwell(SCHEMA, complaint),
        None => readiness.well(SCHEMA),
    }
    let refused =
        readiness.troubles().keys().any(|component| WRITING_COMPONENTS.contains(component));
    database.metrics().up.set(i64::from(!refused));
    readiness.well(COMPONENT);
}

/// Runs one check. The text says what is wrong with the schema; `None` means nothing.
async fn check(
    database: &Database,
    session: &mut Option<WriterConnection>,
    clock: Clock,
) -> Result<(Option<String>, Clocks), StoreError> {
    let session = match session {
        Some(session) => session,
        None => session.insert(database.connect().await?),
    };
    let query = sqlx::query_scalar("SELECT current_setting('transaction_read_only')::bool");
    if answer(query.fetch_one(&mut session.connection)).await? {
        return Err(StoreError::Outage(
            "this Postgres is read-only: point DATABASE_URL at the primary, or turn \
            default_transaction_read_only off"
                .into(),
        ));
    }
    let clocks = clocks::read(&mut session.connection, clock).await?;
    let engine = StoreEngine::read(&mut session.connection, database.expected_engine());
    let engine = answer(engine).await?;
    database.remember_engine(&engine);
    Ok((check_schema(session, &engine).await?, clocks))
}

/// Reports in readiness whether the engine is the one that the settings name.
fn report_engine(database: &Database, readiness: &Readiness) {
    let Some(engine) = database.engine() else { return };
    match engine.complaint(database.expected_engine()) {
        Some(complaint) => readiness.unwell(ENGINE, complaint),
        None => readiness.well(ENGINE),
    }
    readiness.note(ENGINE, (engine.kind != EngineKind::Plain).then(|| engine.to_string()));
}

/// Reports in readiness whether the clocks agree, and logs a change. Returns whether they agree.
fn report_clocks(readiness: &Readiness, clocks: Clocks, agreed: bool) -> bool {
    let Some(why) = clocks.complaint() else {
        if !agreed {
            tracing::info!("the clocks of this machine and of Postgres agree again");
        }
        readiness.well(CLOCK);
        return true;
    };
    if agreed {
        tracing::error!(
            "{why}; until the clocks agree, Sluice deletes and expires nothing by time, and makes \
            each CRL valid by both clocks"
        );
    }
    readiness.unwell(CLOCK, why);
    false
}

async fn check_schema(
    session: &mut WriterConnection,
    engine: &StoreEngine,
) -> Result<Option<String>, StoreError> {
    let state = read_state(session).await.map_err(|Outage(why)| StoreError::Outage(why))?;
    if let Err(complaint) = state.check() {
        return Ok(Some(complaint.to_string()));
    }
    Ok(required_objects::missing(session, engine.layout).await?.complaint())
}

fn no_answer() -> StoreError {
    StoreError::Outage(format!("Postgres did not answer within {} s", PATIENCE.as_secs()))
}
