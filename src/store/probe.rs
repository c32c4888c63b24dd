//! Asks Postgres every few seconds whether it answers and is not read-only, so that readiness is right also while nothing is
//! written. The one writer of `sluice_db_up`.
//!
//! It stores nothing and repairs nothing. That a disk is full only a write can tell: then those who write say so.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::connect::Database;
use super::session::{Session, answer};
use super::trouble::Trouble;
use crate::domain::ports::Outage;
use crate::lifecycle::Readiness;

/// How often it asks.
const PERIOD: Duration = Duration::from_secs(2);

/// How long an answer may take before Postgres counts as away.
const PATIENCE: Duration = Duration::from_secs(3);

/// The part of readiness that this module speaks for.
const PART: &str = "database";

/// The parts that say so when Postgres does not take what they give it.
const GIVERS: [&str; 3] = ["schema", "registry", "writer"];

/// Asks until told to stop.
pub async fn watch(database: Database, readiness: Readiness, stop: CancellationToken) {
    let mut session = None;
    loop {
        let asked = tokio::time::timeout(PATIENCE, ask(&database, &mut session));
        let answered = tokio::select! {
            () = stop.cancelled() => return,
            answered = asked => answered.unwrap_or_else(|_| Err(silent())),
        };
        match answered {
            Ok(()) => {
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

async fn ask(database: &Database, session: &mut Option<Session>) -> Result<(), Trouble> {
    let session = match session {
        Some(session) => session,
        None => session.insert(Session::open(database.unbounded_options()).await?),
    };
    let asked = sqlx::query_scalar("SELECT current_setting('transaction_read_only')::bool");
    if answer(asked.fetch_one(&mut session.connection)).await? {
        return Err(Trouble::Outage(
            "this Postgres is read-only: point DATABASE_URL at the primary, or switch default_transaction_read_only off"
                .into(),
        ));
    }
    Ok(())
}

fn silent() -> Trouble {
    Trouble::Outage(format!("Postgres did not answer within {} s", PATIENCE.as_secs()))
}
