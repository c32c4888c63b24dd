//! Reads `device_commands`: a list in pages, and one command.
//!
//! It changes nothing: [`super::command_changes`] does.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::domain::command::CommandStatus;
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;

/// A row of `device_commands`.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct CommandRow {
    /// The tenant of its device.
    pub tenant_id: String,
    /// Its device.
    pub device_id: String,
    /// Its identifier.
    pub command_id: Uuid,
    /// Its type.
    pub command_type: String,
    /// Its parameters; numbers are exact.
    #[sqlx(json)]
    pub params: Box<RawValue>,
    /// Its state.
    pub status: CommandStatus,
    /// The batch it was queued with.
    pub batch_id: Option<Uuid>,
    /// When it was queued.
    pub created_at: DateTime<Utc>,
    /// Until when it is valid. `None`: `COMMAND_TTL_SECONDS` after it was queued.
    pub expires_at: Option<DateTime<Utc>>,
    /// How often it was published.
    pub attempts: i32,
    /// When it was last published.
    pub published_at: Option<DateTime<Utc>>,
    /// When the device acknowledged it.
    pub acked_at: Option<DateTime<Utc>>,
    /// What the device said of it.
    #[sqlx(json(nullable))]
    pub ack_details: Option<Box<RawValue>>,
    /// When its state became final.
    pub finished_at: Option<DateTime<Utc>>,
    /// Its place among those queued at the same time.
    #[serde(skip)]
    pub position: i64,
}

/// Which commands; all fields unset means all commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandFilter {
    /// To devices of this tenant.
    pub tenant: Option<String>,
    /// To this device.
    pub device: Option<String>,
    /// In this state.
    pub status: Option<CommandStatus>,
    /// Of this batch.
    pub batch: Option<Uuid>,
    /// Queued at this moment or later.
    pub since: Option<Timestamp>,
    /// Queued before this moment.
    pub until: Option<Timestamp>,
}

/// The place of a command in the order of queueing, where the next page begins. As text
/// `<microseconds>-<position>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandCursor {
    /// When it was queued.
    pub at: Timestamp,
    /// Its place among those queued at the same time.
    pub position: i64,
}

/// The text is no [`CommandCursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a command cursor, as printed by `sluice command list`")]
pub struct InvalidCommandCursor;

/// The columns of a [`CommandRow`], of the table `c`.
macro_rules! command_columns {
    () => {
        "c.tenant_id, c.device_id, c.command_id, c.command_type, c.params, c.status, c.batch_id, c.created_at, c.expires_at,
         c.attempts, c.published_at, c.acked_at, c.ack_details, c.finished_at, c.position"
    };
}

pub(super) use command_columns;

const SHOW: &str = concat!(
    "SELECT ",
    command_columns!(),
    " FROM device_commands c WHERE tenant_id = $1 AND device_id = $2 AND command_id = $3"
);

/// Lists a page of commands before `before`, the newest first.
pub async fn list(
    pool: &PgPool,
    filter: &CommandFilter,
    before: Option<CommandCursor>,
    limit: u32,
) -> Result<Vec<CommandRow>, Outage> {
    let mut query =
        QueryBuilder::new(concat!("SELECT ", command_columns!(), " FROM device_commands c WHERE "));
    filter.push_to(&mut query);
    if let Some(before) = before {
        query.push(" AND (created_at, position) < (").push_bind(before.at.to_utc());
        query.push(", ").push_bind(before.position).push(")");
    }
    query.push(" ORDER BY created_at DESC, position DESC LIMIT ").push_bind(i64::from(limit));
    query.build_query_as().fetch_all(pool).await.map_err(outage)
}

/// Reads one command.
pub async fn show(
    pool: &PgPool,
    device: &DeviceKey,
    command_id: Uuid,
) -> Result<Option<CommandRow>, Outage> {
    sqlx::query_as(SHOW)
        .bind(device.tenant())
        .bind(device.device())
        .bind(command_id)
        .fetch_optional(pool)
        .await
        .map_err(outage)
}

// === impl CommandRow ===

impl CommandRow {
    /// Its place in the order of queueing.
    pub fn place(&self) -> CommandCursor {
        CommandCursor { at: self.created_at.into(), position: self.position }
    }
}

// === impl CommandFilter ===

impl CommandFilter {
    fn push_to(&self, query: &mut QueryBuilder<Postgres>) {
        query.push("true");
        if let Some(tenant) = &self.tenant {
            query.push(" AND tenant_id = ").push_bind(tenant.clone());
        }
        if let Some(device) = &self.device {
            query.push(" AND device_id = ").push_bind(device.clone());
        }
        if let Some(status) = self.status {
            query.push(" AND status = ").push_bind(status);
        }
        if let Some(batch) = self.batch {
            query.push(" AND batch_id = ").push_bind(batch);
        }
        if let Some(since) = self.since {
            query.push(" AND created_at >= ").push_bind(since.to_utc());
        }
        if let Some(until) = self.until {
            query.push(" AND created_at < ").push_bind(until.to_utc());
        }
    }
}

// === impl CommandCursor ===

impl fmt::Display for CommandCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at.micros(), self.position)
    }
}

impl FromStr for CommandCursor {
    type Err = InvalidCommandCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCommandCursor> {
        let (at, position) = text.rsplit_once('-').ok_or(InvalidCommandCursor)?;
        let at = at.parse().map(Timestamp::from_micros).map_err(|_| InvalidCommandCursor)?;
        let position = position.parse().map_err(|_| InvalidCommandCursor)?;
        Ok(Self { at, position })
    }
}

// === private helpers ===

pub(super) fn outage(error: sqlx::Error) -> Outage {
    StoreError::from(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_written() {
        for micros in [1_795_000_000_123_456, -5] {
            let place = CommandCursor { at: Timestamp::from_micros(micros), position: 7 };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for wrong in ["", "5", "5-", "-x", "a-7"] {
            assert_eq!(wrong.parse::<CommandCursor>(), Err(InvalidCommandCursor), "{wrong}");
        }
    }
}
