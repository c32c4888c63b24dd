//! Commands to devices: their states, and the grammar of their types.
//!
//! It knows no topic and no row.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{IdError, check_id};

/// The state of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CommandStatus {
    /// Not published yet.
    Pending,
    /// The broker has it; the device has not acknowledged it.
    Published,
    /// The device has begun.
    InProgress,
    /// The device has carried it out.
    Acknowledged,
    /// The device refuses it.
    Rejected,
    /// The device could not carry it out.
    Failed,
    /// Its time has passed.
    Expired,
    /// An operator has withdrawn it.
    Cancelled,
}

/// The type of a command, such as `reboot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandType(Box<str>);

// === impl CommandStatus ===

impl CommandStatus {
    /// All states, in the order of a command's life.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Published,
        Self::InProgress,
        Self::Acknowledged,
        Self::Rejected,
        Self::Failed,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The name in the table.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Published => "PUBLISHED",
            Self::InProgress => "IN_PROGRESS",
            Self::Acknowledged => "ACKNOWLEDGED",
            Self::Rejected => "REJECTED",
            Self::Failed => "FAILED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The status of that name.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.label() == label)
    }

    /// Whether the command may still reach the device or be answered.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Published | Self::InProgress)
    }
}

impl fmt::Display for CommandStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

// === impl CommandType ===

impl CommandType {
    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CommandType {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check_id(text.as_bytes())?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for CommandType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_back_and_three_are_open() {
        for status in CommandStatus::ALL {
            assert_eq!(CommandStatus::from_label(status.label()), Some(status));
            assert_eq!(serde_json::json!(status), status.label());
        }
        assert_eq!(CommandStatus::ALL.into_iter().filter(|status| status.is_open()).count(), 3);
    }

    #[test]
    fn a_type_is_a_name() {
        assert_eq!("reboot".parse::<CommandType>().unwrap().as_str(), "reboot");
        assert!("".parse::<CommandType>().is_err());
        assert!("a b".parse::<CommandType>().is_err());
        assert!("x".repeat(65).parse::<CommandType>().is_err());
    }
}
