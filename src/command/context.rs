//! What commands on the database share: the connection to Postgres, who runs the command, and the
//! failure of a statement.
//!
//! It knows no command.

use crate::telemetry::metrics::Metrics;
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::clock;
use crate::command::failure::{Exit, Failure};
use crate::config::Config;
use crate::domain::ports::Outage;
use crate::downlink::DownlinkContext;
use crate::quarantine::Quarantine;
use crate::registry::ActionContext;
use crate::store::connection::database::Database;
use crate::store::registry::audit::Actor;

/// Who runs a command, and the database it works on.
#[derive(Debug)]
pub struct CommandContext {
    /// The database.
    pub database: Database,
    /// The name in the audit log: `cli:<user>`.
    pub actor: Actor,
    user: String,
}

// === impl CommandContext ===

impl CommandContext {
    /// Reads settings and user, and checks the schema first, so that an unreachable Postgres fails
    /// here with its address.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        let operator = Self::before_the_schema(config)?;
        check_schema(&operator.database).await?;
        Ok(operator)
    }

    /// Skips the schema check, for commands that migrate first; connects with the first statement.
    pub fn before_the_schema(config: &Config) -> Result<Self, Failure> {
        let user = user();
        let actor = Actor::new(&format!("cli:{user}"));
        Ok(Self { database: open_database(config)?, actor, user })
    }

    /// The user who runs the command.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The context of one registry action at the current time.
    pub fn action_context(&self) -> ActionContext<'_> {
        ActionContext { database: &self.database, actor: &self.actor, now: clock::now() }
    }

    /// The context of one decision about commands and shadows at the current time.
    pub fn downlink_context<'a>(&'a self, config: &'a Config) -> DownlinkContext<'a> {
        DownlinkContext {
            database: &self.database,
            actor: &self.actor,
            now: clock::now(),
            settings: &config.downlink,
        }
    }

    /// The quarantine, with the user as actor.
    pub fn quarantine(&self) -> Quarantine<'_> {
        Quarantine { database: &self.database, actor: &self.actor }
    }
}

/// Fails when the schema is missing or from another version.
pub async fn check_schema(database: &Database) -> Result<(), Failure> {
    let state = database.schema_state().await.map_err(|error| outage(&error))?;
    state.check().map_err(|error| {
        Failure::new(Exit::Config, format!("nothing was changed or read: {error}"))
    })
}

/// The failure of a command whose statement Postgres did not execute.
pub fn outage(outage: &Outage) -> Failure {
    if outage.is_of_a_cell() {
        return Failure::new(Exit::Negative, format!("nothing was changed: {outage}"));
    }
    Failure::unavailable(format!("nothing was changed or read: {outage}"))
}

/// The result of a command whose last action was to print.
pub fn printed(result: io::Result<()>) -> Result<Exit, Failure> {
    result?;
    Ok(Exit::Done)
}

/// The user's name, or its number when there is none. With sudo, the calling user.
fn user() -> String {
    let named =
        ["SUDO_USER", "LOGNAME", "USER"].into_iter().filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| {
        let owner = std::fs::metadata("/proc/self").map(|process| process.uid());
        owner.map_or_else(|_| "unknown".to_owned(), |uid| format!("uid-{uid}"))
    })
}

/// Postgres for one command; its metrics are not exported.
pub(crate) fn open_database(config: &Config) -> Result<Database, Failure> {
    let metrics =
        Metrics::new().map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    Database::open(&config.database, metrics.store)
        .map_err(|error| Failure::new(Exit::Config, error.to_string()))
}
