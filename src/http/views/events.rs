//! The view of a refused message in a list. It contains no payload and no token.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::view;
use crate::store::reads::quarantine::EventSummary;

view! {
    /// A refused message without its payload.
    EventView as "QuarantineEvent" of EventSummary {
        /// The identifier of the event.
        id: Uuid,
        /// When the message was quarantined.
        quarantined_at: DateTime<Utc>,
        /// When Sluice received the message.
        received_at: DateTime<Utc>,
        /// The topic.
        topic: String,
        /// The tenant in the topic.
        tenant_id: Option<String>,
        /// The device in the topic.
        device_id: Option<String>,
        /// The reason of the refusal.
        reason: String,
        /// What exactly was wrong.
        detail: String,
        /// The number of payload bytes that are stored.
        payload_bytes: i32,
        /// When the message was replayed.
        replayed_at: Option<DateTime<Utc>>,
        /// The link that the message came from; null: the local broker.
        link: Option<String>,
        /// How many replays refused the message again.
        replay_attempts: i32,
        /// The identity at the broker that is proven to have published the message; null: not proven.
        publisher: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{day, json_of};
    use super::*;

    #[test]
    fn an_event_has_this_json() {
        let event = EventSummary {
            id: Uuid::from_u128(1),
            quarantined_at: day(2),
            received_at: day(1),
            topic: "odd".into(),
            tenant_id: None,
            device_id: Some("pump-1".into()),
            reason: "BAD_PAYLOAD".into(),
            detail: "not JSON".into(),
            payload_bytes: 7,
            replayed_at: None,
            link: Some("azure".into()),
            replay_attempts: 2,
            publisher: Some("acme/device/pump-1".into()),
        };
        let expected = concat!(
            r#"{"id":"00000000-0000-0000-0000-000000000001","quarantined_at":"2026-11-02T00:00:00Z","#,
            r#""received_at":"2026-11-01T00:00:00Z","topic":"odd","tenant_id":null,"#,
            r#""device_id":"pump-1","reason":"BAD_PAYLOAD","detail":"not JSON","payload_bytes":7,"#,
            r#""replayed_at":null,"link":"azure","replay_attempts":2,"publisher":"acme/device/pump-1"}"#
        );
        assert_eq!(json_of::<_, EventView>(event), expected);
    }
}
