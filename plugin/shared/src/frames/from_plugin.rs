//! What the plugin sends. It decides nothing.

use serde::{Deserialize, Serialize};

use super::secret::SecretText;

/// A frame of the plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromPlugin {
    /// The first frame.
    Hello(PluginHello),
    /// Verify a login; answered by a [`super::from_daemon::FromDaemon::Verdict`].
    Ask(Question),
    /// The plugin has applied the snapshot or delta of this version.
    Applied {
        /// The version.
        version: u64,
    },
    /// A snapshot or a delta does not follow the version that the plugin has: send a snapshot.
    Resync {
        /// The version that the plugin has.
        version: u64,
    },
    /// A session is accepted.
    Opened(SessionOpened),
    /// A session has ended.
    Closed {
        /// Its number within the boot.
        session: u64,
        /// Why.
        why: ClosedWhy,
    },
    /// The sessions of a [`super::from_daemon::FromDaemon::Revoke`] are closed.
    Revoked {
        /// The number of the command.
        command: u64,
        /// How many sessions were closed.
        sessions: u64,
    },
    /// What the plugin counted since its start.
    Stats(Box<Stats>),
}

/// Who the plugin is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginHello {
    /// [`super::PROTOCOL`].
    pub protocol: u32,
    /// The version of the plugin.
    pub build: String,
    /// The version of the broker, such as `2.0.11`.
    pub broker: String,
    /// The profile of this instance (`plugin_opt_profile`).
    pub profile: String,
    /// The number of this start, in hexadecimal.
    pub boot: String,
    /// Whether the broker calls the plugin at a tick. Without it a session ends at its next message.
    pub ticks: bool,
    /// Whether the broker can wait for a verdict without stopping for others (Mosquitto 2.1).
    pub delayed: bool,
    /// Whether the instance adds proofs.
    pub stamps: bool,
    /// Options of the broker or the plugin that weaken what it promises, one sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A login to verify.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its number within the connection.
    pub id: u64,
    /// What is offered.
    pub kind: QuestionKind,
    /// The client id.
    pub client_id: String,
    /// The user name, if the client sends one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password or the token, if the client sends one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
}

/// What a login offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionKind {
    /// A user name and a password, or a token in either.
    Password,
    /// A token by extended authentication.
    Extended,
}

/// An accepted session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOpened {
    /// Its number within the boot.
    pub session: u64,
    /// The identity of the client.
    pub identity: String,
    /// The client id.
    pub client_id: String,
    /// The fingerprint of its certificate, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The address of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedWhy {
    /// The client or the network ended it.
    Disconnected,
    /// Its certificate or its login is no longer valid.
    Revoked,
    /// Its proof expired.
    Expired,
}

/// What a plugin counted since its start. Numbers grow only, gauges are named so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Gauge: open sessions.
    pub sessions: u64,
    /// Gauge: the version of the registry in use.
    pub version: u64,
    /// Gauge: certificates in the registry in use.
    pub certificates: u64,
    /// Gauge: whether asking is suspended because questions were not answered in time.
    pub breaker_open: bool,
    /// Logins by their result: accepted, refused, left to the broker.
    pub logins: [u64; 3],
    /// Sessions whose login the broker did not show to the plugin.
    pub late_sessions: u64,
    /// Topic decisions by their result: allowed, denied.
    pub topics: [u64; 2],
    /// Nanoseconds spent in topic decisions.
    pub topic_nanos: u64,
    /// Messages with a proof.
    pub stamped: u64,
    /// Messages that could not be given a proof, and were refused or passed without one.
    pub unstamped: u64,
    /// Nanoseconds spent on proofs.
    pub stamp_nanos: u64,
    /// Reserved properties of clients that were removed.
    pub stripped: u64,
    /// Wills published again with a proof.
    pub wills: u64,
    /// Sessions closed because of a revocation.
    pub kicked_revoked: u64,
    /// Sessions closed because their proof expired.
    pub kicked_expired: u64,
    /// The longest time from a command to the closed session, in microseconds.
    pub kick_micros_max: u64,
    /// Questions that were not answered in time.
    pub ask_timeouts: u64,
    /// Questions answered.
    pub asked: u64,
    /// Nanoseconds spent waiting for answers.
    pub ask_nanos: u64,
    /// Panics caught in callbacks.
    pub panics: u64,
    /// Frames that were lost because the queue to the daemon was full.
    pub frames_lost: u64,
}
