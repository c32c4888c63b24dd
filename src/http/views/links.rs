//! The views of a link and its lanes. They contain no login.

use chrono::{DateTime, Utc};

use super::view;
use crate::link::overview::{LaneOverview, LinkOverview};

view! {
    /// A lane of a link: one connection to the other broker.
    LaneView as "LinkLane" of LaneOverview {
        /// The number of the lane.
        lane: i16,
        /// `connecting`, `up`, `refused`, `throttled`, `flapping`, `standby`, or `unknown` without a recent report.
        state: String,
        /// Since when.
        since: DateTime<Utc>,
        /// The client id of the daemon that reports.
        replica: String,
        /// What happened last.
        detail: Option<String>,
        /// What to do.
        advice: Option<String>,
        /// The messages that the other broker has acknowledged since the start of the daemon.
        published: i64,
        /// The messages without an acknowledgement.
        in_flight: i32,
        /// When the lane reported.
        reported_at: DateTime<Utc>,
    }
}

/// A link to another broker.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "Link")]
pub struct LinkView {
    /// The name of the link.
    pub link: String,
    /// The worst state of its lanes.
    pub state: String,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
    /// The number of messages that wait.
    pub waiting: i64,
    /// Their bytes.
    pub waiting_bytes: i64,
    /// When Sluice received the oldest of them.
    pub oldest: Option<DateTime<Utc>>,
    /// From when on messages are only in `telemetry`, because the backlog was full.
    pub gap_since: Option<DateTime<Utc>>,
    /// The number of these messages.
    pub gap_messages: i64,
    /// The messages of earlier gaps that could not be read back.
    pub lost: i64,
    /// The messages that the link did not accept.
    pub refused: i64,
    /// The lanes that have reported.
    pub lanes: Vec<LaneView>,
}

impl From<LinkOverview> for LinkView {
    fn from(link: LinkOverview) -> Self {
        Self {
            link: link.link,
            state: link.state,
            since: link.since,
            waiting: link.waiting,
            waiting_bytes: link.waiting_bytes,
            oldest: link.oldest,
            gap_since: link.gap_since,
            gap_messages: link.gap_messages,
            lost: link.lost,
            refused: link.refused,
            lanes: link.lanes.into_iter().map(LaneView::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{day, json_of};
    use super::*;

    #[test]
    fn a_link_has_this_json() {
        let lane = LaneOverview {
            lane: 0,
            state: "up".into(),
            since: day(1),
            replica: "sluice".into(),
            detail: None,
            advice: None,
            published: 7,
            in_flight: 1,
            reported_at: day(2),
        };
        let link = LinkOverview {
            link: "azure".into(),
            state: "up".into(),
            since: Some(day(1)),
            waiting: 3,
            waiting_bytes: 400,
            oldest: Some(day(2)),
            gap_since: None,
            gap_messages: 0,
            lost: 0,
            refused: 1,
            lanes: vec![lane],
        };
        let expected = concat!(
            r#"{"link":"azure","state":"up","since":"2026-11-01T00:00:00Z","waiting":3,"#,
            r#""waiting_bytes":400,"oldest":"2026-11-02T00:00:00Z","gap_since":null,"#,
            r#""gap_messages":0,"lost":0,"refused":1,"lanes":[{"lane":0,"state":"up","#,
            r#""since":"2026-11-01T00:00:00Z","replica":"sluice","detail":null,"advice":null,"#,
            r#""published":7,"in_flight":1,"reported_at":"2026-11-02T00:00:00Z"}]}"#
        );
        assert_eq!(json_of::<_, LinkView>(link), expected);
    }
}
