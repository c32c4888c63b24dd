//! The links as operators see them: what their lanes report and what waits for each, joined.
//!
//! The command line, the API and the doctor show it as it is here. It asks no daemon: the lanes report
//! into Postgres. It has no login.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::links::known::{self, LaneStatus, LinkTotals};

/// The state of a link without a current report.
pub const UNKNOWN: &str = "unknown";

/// The state of a working link.
pub const UP: &str = "up";

/// States from the best to the worst. The state of a link is the worst of its lanes.
const STATES: [&str; 7] =
    [UP, "standby", "throttled", "connecting", "flapping", "refused", UNKNOWN];

/// A link to another broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Link")]
pub struct LinkOverview {
    /// The name of the link.
    pub link: String,
    /// The worst state of its lanes; `unknown` if none has reported for a minute.
    pub state: String,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
    /// The messages that the other broker has acknowledged in a second, on average since `sent_since`; null: not known.
    pub sent_per_second: Option<f64>,
    /// About a minute ago, or less after a start.
    pub sent_since: Option<DateTime<Utc>>,
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
    pub lanes: Vec<LaneOverview>,
}

/// A lane of a link: one connection to the other broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LinkLane")]
pub struct LaneOverview {
    /// The number of the lane.
    pub lane: i16,
    /// `connecting`, `up`, `refused`, `throttled`, `flapping`, `standby`, or `unknown` without a recent report.
    pub state: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// The client id of the daemon that reports.
    pub replica: String,
    /// What happened last.
    pub detail: Option<String>,
    /// What to do.
    pub advice: Option<String>,
    /// The messages that the other broker has acknowledged since the start of the daemon.
    pub published: i64,
    /// The messages without an acknowledgement.
    pub in_flight: i32,
    /// The messages that the other broker has acknowledged in a second, on average since `sent_since`; null: not known.
    pub sent_per_second: Option<f64>,
    /// About a minute before `reported_at`, or less after a start.
    pub sent_since: Option<DateTime<Utc>>,
    /// When the lane reported.
    pub reported_at: DateTime<Utc>,
}

/// All links that the daemon knows or that something waits for, by name.
pub async fn list(database: &Database) -> Result<Vec<LinkOverview>, Outage> {
    let totals = known::list_totals(database.pool()).await?;
    let lanes = known::list_status(database.pool()).await?;
    Ok(join(totals, &lanes))
}

// === private helpers ===

fn join(totals: Vec<LinkTotals>, lanes: &[LaneStatus]) -> Vec<LinkOverview> {
    let of_link = |total: LinkTotals| {
        let own: Vec<LaneOverview> =
            lanes.iter().filter(|lane| lane.link == total.link).map(LaneOverview::from).collect();
        let rank = |state: &str| STATES.iter().position(|name| *name == state);
        let worst = own.iter().max_by_key(|lane| rank(&lane.state));
        LinkOverview {
            state: worst.map_or_else(|| UNKNOWN.to_owned(), |lane| lane.state.clone()),
            since: worst.map(|lane| lane.since),
            sent_per_second: own
                .iter()
                .filter_map(|lane| lane.sent_per_second)
                .reduce(|a, b| a + b),
            sent_since: own.iter().filter_map(|lane| lane.sent_since).min(),
            link: total.link,
            waiting: total.messages,
            waiting_bytes: total.bytes,
            oldest: total.oldest,
            gap_since: total.gap_since,
            gap_messages: total.gap_messages,
            lost: total.lost,
            refused: total.refused,
            lanes: own,
        }
    };
    totals.into_iter().map(of_link).collect()
}

impl From<&LaneStatus> for LaneOverview {
    fn from(row: &LaneStatus) -> Self {
        let state = if row.is_current { row.state.as_str() } else { UNKNOWN };
        Self {
            lane: row.lane,
            state: state.to_owned(),
            since: row.since,
            replica: row.replica.clone(),
            detail: row.detail.clone(),
            advice: row.advice.clone(),
            published: row.published,
            in_flight: row.in_flight,
            sent_per_second: row.sent_per_second.filter(|_| row.is_current),
            sent_since: row.sent_since.filter(|_| row.is_current),
            reported_at: row.reported_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(link: &str) -> LinkTotals {
        LinkTotals {
            link: link.into(),
            messages: 3,
            bytes: 400,
            oldest: None,
            gap_since: None,
            gap_messages: 0,
            lost: 0,
            refused: 1,
        }
    }

    fn lane(link: &str, lane: i16, state: &str, is_current: bool) -> LaneStatus {
        LaneStatus {
            link: link.into(),
            lane,
            replica: "sluice".into(),
            state: state.into(),
            since: DateTime::UNIX_EPOCH,
            detail: None,
            advice: None,
            published: 7,
            in_flight: 0,
            sent_per_second: Some(1.5),
            sent_since: Some(DateTime::UNIX_EPOCH),
            reported_at: DateTime::UNIX_EPOCH,
            is_current,
        }
    }

    #[test]
    fn a_link_is_as_well_as_its_worst_lane() {
        let lanes = [
            lane("a", 0, "up", true),
            lane("a", 1, "refused", true),
            lane("b", 0, "up", true),
            lane("c", 0, "up", false),
        ];
        let totals = ["a", "b", "c", "d"].map(total).into();
        let links = join(totals, &lanes);
        let states: Vec<_> = links.iter().map(|link| link.state.as_str()).collect();
        assert_eq!(states, ["refused", "up", "unknown", "unknown"]);
        let rates: Vec<_> = links.iter().map(|link| link.sent_per_second).collect();
        assert_eq!(rates, [Some(3.0), Some(1.5), None, None], "an old report has no rate");
    }

    #[test]
    fn a_link_has_this_json() {
        let link = join([total("a")].into(), &[lane("a", 0, "up", true)]).remove(0);
        let epoch = "1970-01-01T00:00:00Z";
        let expected = serde_json::json!({
            "link": "a", "state": "up", "since": epoch, "sent_per_second": 1.5, "sent_since": epoch,
            "waiting": 3, "waiting_bytes": 400, "oldest": null, "gap_since": null, "gap_messages": 0,
            "lost": 0, "refused": 1, "lanes": [{
                "lane": 0, "state": "up", "since": epoch, "replica": "sluice", "detail": null, "advice": null,
                "published": 7, "in_flight": 0, "sent_per_second": 1.5, "sent_since": epoch, "reported_at": epoch,
            }],
        });
        assert_eq!(serde_json::to_value(&link).unwrap(), expected);
    }
}
