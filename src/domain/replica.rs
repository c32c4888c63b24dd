//! The state of a replica, by what it last noted about itself, in the words of all surfaces.
//!
//! It reads no clock: the caller knows how long ago the note was.

use super::broker_subscription::Subscribed;

/// The prefix of a shared subscription.
const SHARE_PREFIX: &str = "$share/";

/// The state of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// It noted lately that it runs.
    Running,
    /// It did not, and its session at the broker still gets its share of the messages.
    Orphaned,
    /// It did not, and it is no member of a share group.
    Gone,
}

/// The session of a replica, as it was noted.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaSession {
    /// `MQTT_CLIENT_ID`.
    pub client_id: String,
    /// Its last subscription; `None`: unknown.
    pub subscribed: Option<Subscribed>,
    /// All filters that the broker may have.
    pub filters: Vec<String>,
    /// When it last noted that it runs, in seconds before now.
    pub seen_seconds_ago: f64,
    /// Its state.
    pub state: ReplicaState,
}

// === impl ReplicaState ===

impl ReplicaState {
    /// The state of a session with these filters.
    pub fn of(is_recent: bool, filters: &[String]) -> Self {
        match is_recent {
            true => Self::Running,
            false if filters.iter().any(|filter| filter.starts_with(SHARE_PREFIX)) => {
                Self::Orphaned
            }
            false => Self::Gone,
        }
    }

    /// Its name on all surfaces.
    pub fn label(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Orphaned => "orphaned",
            Self::Gone => "gone",
        }
    }
}

// === impl ReplicaSession ===

impl ReplicaSession {
    /// The sentence for an orphaned session.
    pub fn orphan_text(&self) -> String {
        format!(
            "the replica {} was not seen for {}, and its share of the messages waits at the broker",
            self.client_id,
            duration_text(self.seen_seconds_ago)
        )
    }

    /// What to do about it.
    pub fn orphan_advice(&self) -> String {
        format!("start it again, or run `sluice adopt {}`", self.client_id)
    }
}

/// A duration for people: seconds up to two minutes, minutes up to two hours, then hours.
#[expect(clippy::cast_possible_truncation, reason = "a time in seconds is far below 2^63")]
pub fn duration_text(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as i64;
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_member_of_a_share_group_leaves_an_orphan() {
        let shared = ["$share/g/tenant/#".to_owned()];
        let own = ["tenant/#".to_owned()];
        assert_eq!(ReplicaState::of(true, &shared), ReplicaState::Running);
        assert_eq!(ReplicaState::of(false, &shared), ReplicaState::Orphaned);
        assert_eq!(ReplicaState::of(false, &own), ReplicaState::Gone);
    }

    #[test]
    fn a_duration_is_said_in_one_unit() {
        let texts = [-1.0, 61.9, 121.0, 7300.0].map(duration_text);
        assert_eq!(texts, ["0 s", "61 s", "2 min", "2 h"]);
    }
}
