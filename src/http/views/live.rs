//! The views of the live tail: a line, the recent lines, and the events of a stream.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::live::LiveLine;

/// A decision about one message. It comes before the commit: a message that Postgres refuses or has
/// already is accepted here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LiveDecision")]
pub(crate) struct LiveLineView {
    /// When Sluice received the message.
    pub(crate) received_at: DateTime<Utc>,
    /// `accepted`, `refused`, `duplicate` or `ignored`.
    pub(crate) outcome: String,
    /// The tenant in the topic; null: the topic names none.
    pub(crate) tenant_id: Option<String>,
    /// The device in the topic.
    pub(crate) device_id: Option<String>,
    /// The type of the message: the topic's path after the device.
    pub(crate) msg_type: Option<String>,
    /// Why the message is refused.
    pub(crate) reason: Option<String>,
    /// What exactly was wrong.
    pub(crate) detail: Option<String>,
    /// The size of the payload.
    pub(crate) bytes: u64,
    /// The topic, at most 256 characters of it.
    pub(crate) topic: String,
    /// The first 240 characters of the payload, without its token; null for a viewer.
    pub(crate) payload: Option<String>,
    /// Whether the payload continues.
    pub(crate) payload_cut: bool,
    /// The link that the message came from; null: the broker.
    pub(crate) link: Option<String>,
}

/// The recent decisions of a search, which Sluice keeps while someone reads them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RecentDecisions")]
pub(crate) struct RecentDecisionsView {
    /// Since when Sluice keeps decisions of this search. It ends five minutes after the last request.
    pub(crate) since: DateTime<Utc>,
    /// At most 50 decisions, the newest first.
    pub(crate) items: Vec<LiveLineView>,
    /// The decisions since then that the search selects.
    pub(crate) matched: u64,
    /// Those of them that became lines: at most 20 a second.
    pub(crate) shown: u64,
    /// The components that do not work, with the cause. While Postgres does not answer, Sluice decides
    /// few messages or none.
    pub(crate) troubles: BTreeMap<String, String>,
}

/// The event `open`: what the stream shows.
#[derive(Debug, Serialize)]
pub(crate) struct OpenedView {
    pub(crate) at: DateTime<Utc>,
    pub(crate) search: String,
    pub(crate) tenant: Option<String>,
    /// The moment that a line stands for.
    pub(crate) moment: &'static str,
    pub(crate) lines_per_second: u64,
    pub(crate) payloads: bool,
}

/// The event `sampling`: of how many decisions in the last second a line was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SamplingView {
    pub(crate) one_in: u64,
    pub(crate) matched: u64,
    pub(crate) shown: u64,
}

/// The event `dropped`: lines that were lost because the reader was too slow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DroppedView {
    pub(crate) lines: u64,
}

/// The event `troubles`: the components that do not work, whenever that changes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TroublesView {
    pub(crate) troubles: BTreeMap<String, String>,
}

/// The event `heartbeat`, every 15 seconds: the stream works.
#[derive(Debug, Serialize)]
pub(crate) struct HeartbeatView {
    pub(crate) at: DateTime<Utc>,
    pub(crate) matched: u64,
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
}

/// The event `end`: why the stream ends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EndView {
    /// `stopping`, `lifetime` or `access`. After `access`, the same request is refused.
    pub(crate) reason: String,
    pub(crate) detail: String,
}

// === impl LiveLineView ===

impl LiveLineView {
    /// The view of a line, with its payload or without it.
    pub(crate) fn of(line: LiveLine, shows_payload: bool) -> Self {
        Self {
            received_at: line.received_at.to_utc(),
            outcome: line.outcome.label().to_owned(),
            tenant_id: line.tenant_id,
            device_id: line.device_id,
            msg_type: line.msg_type,
            reason: line.reason.map(|reason| reason.label().to_owned()),
            detail: line.detail,
            bytes: u64::try_from(line.bytes).unwrap_or(u64::MAX),
            topic: line.topic,
            payload: shows_payload.then_some(line.payload),
            payload_cut: line.payload_cut,
            link: line.link.map(|link| link.to_string()),
        }
    }
}

// === impl SamplingView ===

impl SamplingView {
    /// Of these decisions, these lines.
    pub(crate) const fn of(matched: u64, shown: u64) -> Self {
        let one_in = if shown == 0 { matched } else { matched.div_ceil(shown) };
        Self { one_in, matched, shown }
    }
}

/// The components that do not work.
pub(crate) fn trouble_texts(troubles: &BTreeMap<&'static str, String>) -> BTreeMap<String, String> {
    troubles.iter().map(|(name, why)| ((*name).to_owned(), why.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::live::LiveOutcome;
    use crate::domain::refusal::Reason;
    use crate::domain::time::Timestamp;

    #[test]
    fn a_line_has_this_json_and_a_viewer_gets_no_payload() {
        let line = LiveLine {
            received_at: Timestamp::from_micros(0),
            outcome: LiveOutcome::Refused,
            tenant_id: Some("acme".into()),
            device_id: Some("pump-1".into()),
            msg_type: Some("telemetry".into()),
            reason: Some(Reason::TokenInvalid),
            detail: Some("wrong".into()),
            bytes: 2,
            topic: "tenant/acme/device/pump-1/telemetry".into(),
            payload: "{}".into(),
            payload_cut: false,
            link: None,
        };
        let json = |shows| serde_json::to_string(&LiveLineView::of(line.clone(), shows)).unwrap();
        let expected = concat!(
            r#"{"received_at":"1970-01-01T00:00:00Z","outcome":"refused","tenant_id":"acme","#,
            r#""device_id":"pump-1","msg_type":"telemetry","reason":"TOKEN_INVALID","detail":"wrong","#,
            r#""bytes":2,"topic":"tenant/acme/device/pump-1/telemetry","payload":"{}","#,
            r#""payload_cut":false,"link":null}"#
        );
        assert_eq!(json(true), expected);
        assert_eq!(json(false), expected.replace(r#""{}""#, "null"));
        let sampled = SamplingView { one_in: 25, matched: 500, shown: 20 };
        assert_eq!(SamplingView::of(500, 20), sampled);
    }
}
