//! What the commands on the database share: the way to Postgres, who gives the command, and how their trouble is told.
//!
//! It knows no command.

use crate::telemetry::metrics::Metrics;
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::command::failure::{Exit, Failure};
use crate::config::Config;
use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::registry::audit::Actor;

/// The one who gives a command, and the database it is about.
#[derive(Debug)]
pub struct CommandContext {
    /// The database.
    pub database: Database,
    /// The name in the audit log: `cli:<user>`.
    pub actor: Actor,
}

// === impl Operator ===

impl CommandContext {
    /// Reads the settings and the user, and makes sure that the schema is one to work with before the first statement. So a
    /// Postgres that is not there is named here, with its address.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        let operator = Self::before_the_schema(config)?;
        check_schema(&operator.database).await?;
        Ok(operator)
    }

    /// For who brings the schema up to date first; connects with the first statement.
    pub fn before_the_schema(config: &Config) -> Result<Self, Failure> {
        Ok(Self { database: open_database(config)?, actor: Actor::new(&format!("cli:{}", user())) })
    }
}

/// Refuses a schema that this sluice does not know, or that is not there yet.
pub async fn check_schema(database: &Database) -> Result<(), Failure> {
    let state = database.schema_state().await.map_err(|error| outage(&error))?;
    state.check().map_err(|error| Failure::new(Exit::Config, format!("nothing was changed or read: {error}")))
}

/// The failure of a command that Postgres did not carry out.
pub fn outage(outage: &Outage) -> Failure {
    Failure::unavailable(format!("nothing was changed or read: {outage}"))
}

/// The end of a command whose last act was to print.
pub fn printed(result: io::Result<()>) -> Result<Exit, Failure> {
    result?;
    Ok(Exit::Done)
}

/// Tells on standard error that there is more, and how to get at it.
pub fn tell_more(shown: usize, limit: u32, option: &str, cursor: Option<String>) {
    if let Some(cursor) = cursor.filter(|_| shown == limit as usize) {
        super::table::note!("There may be more: add {option} {cursor}");
    }
}

/// The user by name, else by number. With sudo, the one who called it.
fn user() -> String {
    let named = ["SUDO_USER", "LOGNAME", "USER"].into_iter().filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| {
        let owner = std::fs::metadata("/proc/self").map(|process| process.uid());
        owner.map_or_else(|_| "unknown".to_owned(), |uid| format!("uid-{uid}"))
    })
}

/// Postgres for one command; what it counts is not shown to anybody.
pub(crate) fn open_database(config: &Config) -> Result<Database, Failure> {
    let metrics = Metrics::new().map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    Database::open(&config.database, metrics.store).map_err(|error| Failure::new(Exit::Config, error.to_string()))
}
