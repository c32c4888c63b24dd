//! Errors of the settings: each names the setting, its value, the source and what is allowed.
//!
//! No error holds a secret: neither its value nor a line of a file that may hold one.

use std::fmt;
use std::path::PathBuf;

use super::origin::SettingOrigin;
use crate::config::setting::Setting;

/// One error.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// An invalid value.
    #[error("{name} = {shown} ({origin}): expected {allowed}")]
    Value {
        /// The setting.
        name: &'static str,
        /// Its value as displayed.
        shown: ShownValue,
        /// Its origin.
        origin: SettingOrigin,
        /// The allowed values.
        allowed: String,
    },
    /// Settings that conflict.
    #[error("{given}: {why}")]
    Conflict {
        /// The settings with their values and origins.
        given: String,
        /// Why they conflict and what to do.
        why: String,
    },
    /// A secret that is given both directly and by a file.
    #[error("{name} ({direct}) and {name}_FILE ({by_file}) are both set: keep one of them")]
    BothAtOnce {
        /// The secret.
        name: &'static str,
        /// The origin of its value.
        direct: SettingOrigin,
        /// The origin of the file's path.
        by_file: SettingOrigin,
    },
    /// An unusable file of a secret.
    #[error("{name}_FILE = {path:?} ({origin}): {why}")]
    SecretFile {
        /// The secret.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// The origin of its path.
        origin: SettingOrigin,
        /// The cause.
        why: String,
    },
    /// A secret among the arguments.
    #[error(
        "--set {0}: a secret must not be an argument, because every user of the machine can read arguments; use {0}_FILE"
    )]
    SecretFlag(&'static str),
    /// A flag with an unknown name.
    #[error("--set {name}: unknown setting; {hint}")]
    UnknownFlag {
        /// The name.
        name: String,
        /// A hint with the nearest known name.
        hint: String,
    },
    /// An unreadable file.
    #[error("cannot read the settings file {path:?}, named by {named_by}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What named the file.
        named_by: &'static str,
        /// The error of the system.
        why: std::io::Error,
    },
    /// An invalid entry in a file.
    #[error("{}, {place}: {why}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The line, section or key.
        place: String,
        /// What is wrong there and what to do.
        why: String,
    },
}

/// All errors, never empty. Displayed one per line.
#[derive(Debug)]
pub struct ConfigErrors(pub(crate) Vec<ConfigError>);

/// A value as displayed.
#[derive(Debug)]
pub struct ShownValue(String);

/// Most characters of an invalid value that an error repeats.
const SHOWN_CHARS: usize = 100;

// === impl ConfigErrors ===

impl ConfigErrors {
    /// Returns each error.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

// === impl ShownValue ===

impl ShownValue {
    /// Displays `value`, unless it is a secret or a URL that may carry a password.
    pub(super) fn new(setting: &Setting, value: &str) -> Self {
        if setting.is_secret() || (value.contains("://") && value.contains('@')) {
            return Self("***".to_owned());
        }
        let cut: String = value.chars().take(SHOWN_CHARS).collect();
        let rest = if cut.len() < value.len() { "..." } else { "" };
        Self(format!("{cut:?}{rest}"))
    }
}

impl fmt::Display for ShownValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
