//! Views of commands and of their batches.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::view;
use crate::domain::command::CommandStatus;
use crate::http::api::params::Param;
use crate::store::downlink::command_batches::BatchProgress;
use crate::store::downlink::commands::CommandRow;

view! {
    /// A command.
    CommandView as "Command" of CommandRow {
        /// The tenant of the device.
        tenant_id: String,
        /// The device.
        device_id: String,
        /// The identifier of the command.
        command_id: Uuid,
        /// The type of the command.
        command_type: String,
        /// The parameters; numbers are exact.
        #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
        params: Box<RawValue>,
        /// The state of the command. `PENDING`, `PUBLISHED` and `IN_PROGRESS` are open, the others final.
        #[schemars(with = "Param<CommandStatus>")]
        status: CommandStatus,
        /// The batch of the command; null if it was queued alone.
        batch_id: Option<Uuid>,
        /// When the command was queued.
        created_at: DateTime<Utc>,
        /// Until when the command is valid; null: `COMMAND_TTL_SECONDS` after it was queued.
        expires_at: Option<DateTime<Utc>>,
        /// How often the command was published.
        attempts: i32,
        /// When the command was last published.
        published_at: Option<DateTime<Utc>>,
        /// When the device acknowledged the command.
        acked_at: Option<DateTime<Utc>>,
        /// The acknowledgement of the device.
        #[schemars(with = "Option<serde_json::Value>")]
        ack_details: Option<Box<RawValue>>,
        /// When the state became final.
        finished_at: Option<DateTime<Utc>>,
    }
}

view! {
    /// A batch of commands, and how far it is.
    BatchView as "CommandBatch" of BatchProgress {
        /// The tenant of the devices.
        tenant_id: String,
        /// The identifier of the batch.
        batch_id: Uuid,
        /// The type of the commands.
        command_type: String,
        /// When the batch was queued.
        created_at: DateTime<Utc>,
        /// Until when the commands are valid.
        expires_at: Option<DateTime<Utc>>,
        /// The number of commands.
        commands: i64,
        /// The number of commands that are not final.
        open: i64,
        /// The number of commands in each state that has any.
        statuses: BTreeMap<Cow<'static, str>, i64>,
        /// When the last command became final; null while one is open.
        finished_at: Option<DateTime<Utc>>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{day, json_of};
    use super::*;

    #[test]
    fn a_command_has_this_json() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let command = CommandRow {
            tenant_id: "acme".into(),
            device_id: "pump-1".into(),
            command_id: Uuid::from_u128(7),
            command_type: "reboot".into(),
            params: raw(r#"{"delay":1.50}"#),
            status: CommandStatus::InProgress,
            batch_id: None,
            created_at: day(1),
            expires_at: Some(day(2)),
            attempts: 1,
            published_at: Some(day(1)),
            acked_at: None,
            ack_details: Some(raw(r#"{"status":"in_progress"}"#)),
            finished_at: None,
            position: 3,
        };
        assert_eq!(
            json_of::<_, CommandView>(command),
            concat!(
                r#"{"tenant_id":"acme","device_id":"pump-1","#,
                r#""command_id":"00000000-0000-0000-0000-000000000007","command_type":"reboot","#,
                r#""params":{"delay":1.50},"status":"IN_PROGRESS","batch_id":null,"#,
                r#""created_at":"2026-11-01T00:00:00Z","expires_at":"2026-11-02T00:00:00Z","#,
                r#""attempts":1,"published_at":"2026-11-01T00:00:00Z","acked_at":null,"#,
                r#""ack_details":{"status":"in_progress"},"finished_at":null}"#
            )
        );
    }

    #[test]
    fn a_batch_has_this_json() {
        let batch = BatchProgress {
            tenant_id: "acme".into(),
            batch_id: Uuid::from_u128(7),
            command_type: "reboot".into(),
            created_at: day(1),
            expires_at: Some(day(2)),
            commands: 3,
            open: 1,
            statuses: BTreeMap::from([("ACKNOWLEDGED".into(), 2), ("PENDING".into(), 1)]),
            finished_at: None,
        };
        assert_eq!(
            json_of::<_, BatchView>(batch),
            concat!(
                r#"{"tenant_id":"acme","batch_id":"00000000-0000-0000-0000-000000000007","#,
                r#""command_type":"reboot","created_at":"2026-11-01T00:00:00Z","#,
                r#""expires_at":"2026-11-02T00:00:00Z","commands":3,"open":1,"#,
                r#""statuses":{"ACKNOWLEDGED":2,"PENDING":1},"finished_at":null}"#
            )
        );
    }
}
