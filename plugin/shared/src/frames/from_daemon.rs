//! What the daemon sends. It decides nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::secret::SecretText;
use crate::policy::document::PolicyDocument;

/// A frame of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromDaemon {
    /// The first frame.
    Hello(DaemonHello),
    /// The policy as a whole. It applies at once, also to open sessions.
    Policy {
        /// The policy.
        policy: PolicyDocument,
    },
    /// The names that Sluice itself uses at the broker, as a whole.
    Reserved(ReservedNames),
    /// A snapshot begins; parts and an end follow.
    SnapshotBegin {
        /// The version that the snapshot leads to.
        version: u64,
    },
    /// A part of the snapshot.
    SnapshotPart {
        /// The devices.
        devices: Vec<DeviceEntry>,
    },
    /// The end of the snapshot: it applies as a whole, or not at all.
    SnapshotEnd {
        /// The version of its begin.
        version: u64,
        /// The number of devices in all parts.
        devices: u64,
    },
    /// The certificates of some devices are exactly these from now on.
    Delta {
        /// One more than the version before.
        version: u64,
        /// The devices.
        devices: Vec<DeviceEntry>,
    },
    /// The answer to a question.
    Verdict {
        /// The number of the question.
        id: u64,
        /// The answer.
        verdict: Verdict,
    },
    /// Close sessions.
    Revoke {
        /// The number of the command.
        command: u64,
        /// Which sessions.
        target: RevokeTarget,
    },
    /// The daemon lives.
    Ping,
}

/// Who the daemon is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonHello {
    /// [`super::PROTOCOL`].
    pub protocol: u32,
    /// The version of the daemon.
    pub build: String,
    /// The key of the proofs of this boot; `None` means that the daemon has no secret for proofs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretText>,
}

/// The answer to a login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Verdict {
    /// The login is this subject's.
    Accepted(SubjectDocument),
    /// The login is refused.
    Denied {
        /// The reason, for the log of the broker.
        reason: String,
    },
    /// The daemon cannot decide now; the client shall try again.
    Unavailable {
        /// The reason, for the log of the broker.
        reason: String,
    },
}

/// An authenticated subject in a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectDocument {
    /// The kind, as in a policy file.
    pub kind: String,
    /// The id; of a device its identity.
    pub id: String,
    /// The groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The scopes.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// When the proof expires, in microseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// One device, and all its valid certificates. A device without certificates may not connect by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEntry {
    /// The identity, `<tenant>/device/<device>`.
    pub id: Box<str>,
    /// The certificates.
    pub certificates: Vec<CertificateEntry>,
}

/// One valid certificate of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateEntry {
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: Box<str>,
    /// From when it is valid, in microseconds since the epoch.
    pub from: i64,
    /// Until when it is valid: the end of the certificate, or of its grace after a rotation.
    pub until: i64,
}

/// The names that Sluice itself uses at the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedNames {
    /// The user names. The plugin leaves their logins to the broker's password file.
    pub usernames: Vec<String>,
    /// The client ids. Only a login with a reserved user name may use one.
    pub client_ids: Vec<String>,
    /// The stem of the share group, whose members have client ids that Sluice may not have read yet
    /// ([`crate::client_ids::is_of_share_group`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_group_stem: Option<String>,
}

/// Which sessions to close.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", content = "of", rename_all = "snake_case")]
pub enum RevokeTarget {
    /// The sessions of one certificate.
    Fingerprint(String),
    /// The sessions of one identity.
    Identity(String),
    /// The session of one client id.
    ClientId(String),
}

impl fmt::Debug for DaemonHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonHello").field("build", &self.build).finish_non_exhaustive()
    }
}
