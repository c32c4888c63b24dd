//! Rows of `link_outbox` as values.
//!
//! It runs no statement.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::domain::link::ForwardMode;
use crate::domain::outbox::QueuedForward;
use crate::domain::time::Timestamp;

/// The row of `link_counts` in which the sender subtracts.
pub(super) const SENDER: &str = "sender";

/// The row of `link_counts` in which commands add.
pub(super) const COMMANDS: &str = "command";

/// Reads a row with the columns of `link_outbox`.
pub(super) fn queued(row: &PgRow) -> Result<QueuedForward, sqlx::Error> {
    let text = |name: &str| row.try_get::<&str, _>(name).map(Box::<str>::from);
    let moment = |name: &str| row.try_get::<DateTime<Utc>, _>(name).map(Timestamp::from);
    let via: Option<Vec<String>> = row.try_get("via")?;
    Ok(QueuedForward {
        id: row.try_get("id")?,
        lane: row.try_get("lane")?,
        tenant: text("tenant_id")?,
        device: text("device_id")?,
        msg_type: text("msg_type")?,
        topic: row.try_get("topic")?,
        // The column has a check.
        mode: ForwardMode::of_label(row.try_get("mode")?).unwrap_or(ForwardMode::Raw),
        payload: Bytes::from(row.try_get::<Vec<u8>, _>("payload")?),
        time: moment("time")?,
        received_at: moment("received_at")?,
        message_id: row.try_get("message_id")?,
        via: via.unwrap_or_default().into_iter().map(String::into_boxed_str).collect(),
        queued_at: moment("queued_at")?,
    })
}
