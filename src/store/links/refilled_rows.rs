//! Rows of `link_outbox` for messages that are read from `telemetry`.
//!
//! It chooses no range of messages: [`super::gap`] and [`super::refill_range`] do.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rebuilt_payload::TelemetryMessage;
use crate::domain::forwarding::LinkRoutes;
use crate::domain::ids::DeviceKey;

/// The columns of a [`TelemetryMessage`].
macro_rules! message_columns {
    () => {
        "time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics::text AS metrics, \
         extra::text AS extra, message_id"
    };
}
pub(super) use message_columns;

/// Adds rows in the order given, and counts them. The transaction gets its number before the rows get
/// their ids; see [`super::outbox`].
const INSERT: &str = "WITH begun AS MATERIALIZED (SELECT pg_current_xact_id() AS transaction), queued AS ( \
        INSERT INTO link_outbox (link, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id) \
        SELECT $1, g.lane, g.tenant_id, g.device_id, g.msg_type, g.topic, g.mode, convert_to(g.payload, 'UTF8'), g.time, \
            g.received_at, g.message_id \
        FROM begun, unnest($3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], \
            $10::timestamptz[], $11::timestamptz[], $12::uuid[]) WITH ORDINALITY \
            AS g (lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id, place) \
        ORDER BY g.place RETURNING octet_length(payload) + octet_length(topic) + 100 AS bytes) \
    INSERT INTO link_counts AS c (link, writer, messages, bytes) \
    SELECT $1, $2, count(*), sum(bytes) FROM queued HAVING count(*) > 0 \
    ON CONFLICT (link, writer) DO UPDATE SET \
        messages = c.messages + excluded.messages, bytes = c.bytes + excluded.bytes";

/// Messages that a rule of a link matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefillSums {
    /// Their number.
    pub messages: u64,
    /// Their bytes: payload, topic and 100 for each message.
    pub bytes: u64,
    /// When Sluice received the first of them.
    pub first: Option<DateTime<Utc>>,
    /// When Sluice received the last of them.
    pub last: Option<DateTime<Utc>>,
}

/// Queues those of `messages` that a rule of the link matches; returns their number. `writer` is the
/// row of `link_counts`.
pub(super) async fn queue(
    connection: &mut PgConnection,
    routes: &LinkRoutes,
    writer: &str,
    messages: &[TelemetryMessage],
) -> Result<u64, sqlx::Error> {
    let matching: Vec<(&TelemetryMessage, i16, String, &'static str)> =
        messages.iter().filter_map(|message| route(routes, message)).collect();
    if matching.is_empty() {
        return Ok(0);
    }
    let texts = |text: fn(&TelemetryMessage) -> &str| {
        matching.iter().map(|row| text(row.0)).collect::<Vec<&str>>()
    };
    let query = sqlx::query(INSERT)
        .bind(routes.link.as_str())
        .bind(writer)
        .bind(matching.iter().map(|row| row.1).collect::<Vec<i16>>())
        .bind(texts(|message| &message.tenant_id))
        .bind(texts(|message| &message.device_id))
        .bind(texts(|message| &message.msg_type))
        .bind(matching.iter().map(|row| row.2.as_str()).collect::<Vec<&str>>())
        .bind(matching.iter().map(|row| row.3).collect::<Vec<&str>>())
        .bind(matching.iter().map(|row| row.0.payload()).collect::<Vec<String>>())
        .bind(matching.iter().map(|row| row.0.time).collect::<Vec<_>>())
        .bind(matching.iter().map(|row| row.0.received_at).collect::<Vec<_>>())
        .bind(matching.iter().map(|row| row.0.message_id).collect::<Vec<Uuid>>());
    query.execute(connection).await?;
    Ok(matching.len() as u64)
}

// === impl RefillSums ===

impl RefillSums {
    /// Adds those of `messages` that a rule matches, in the order of their receipt.
    pub(super) fn add(&mut self, routes: &LinkRoutes, messages: &[TelemetryMessage]) {
        for (message, _, topic, _) in messages.iter().filter_map(|message| route(routes, message)) {
            self.messages += 1;
            self.bytes += (message.payload().len() + topic.len() + 100) as u64;
            self.first = self.first.or(Some(message.received_at));
            self.last = Some(message.received_at);
        }
    }
}

// === private helpers ===

/// Lane, topic and mode; `None`: no rule matches.
fn route<'a>(
    routes: &LinkRoutes,
    message: &'a TelemetryMessage,
) -> Option<(&'a TelemetryMessage, i16, String, &'static str)> {
    let device = DeviceKey::new(&message.tenant_id, &message.device_id).ok()?;
    let rule = routes.rule_for(&device, &message.msg_type)?;
    let topic = rule.to.render(&device, &message.msg_type);
    Some((message, routes.lane_of(&device), topic, rule.mode.label()))
}
