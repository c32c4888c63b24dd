//! What is wrong with the settings: each error says which, what it was, where it came from, and what is allowed.
//!
//! No secret is ever in an error: neither its value nor a line of a file that may hold one.

use std::fmt;
use std::path::PathBuf;

use super::origin::SettingOrigin;
use crate::config::setting::Setting;

/// One thing wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that is not allowed.
    #[error("{name} = {shown} ({origin}): expected {allowed}")]
    Value {
        /// Which setting.
        name: &'static str,
        /// Its value as it may be shown.
        shown: ShownValue,
        /// Where it came from.
        origin: SettingOrigin,
        /// What is allowed.
        allowed: String,
    },
    /// Settings that do not go together.
    #[error("{given}: {why}")]
    Conflict {
        /// The settings with their values and where those came from.
        given: String,
        /// Why they do not go together and what to do.
        why: String,
    },
    /// A secret and its file.
    #[error("{name} ({direct}) and {name}_FILE ({by_file}) are both set: keep one of them")]
    BothAtOnce {
        /// Which secret.
        name: &'static str,
        /// Where its value came from.
        direct: SettingOrigin,
        /// Where the file's path came from.
        by_file: SettingOrigin,
    },
    /// A secret's file that cannot be used.
    #[error("{name}_FILE = {path:?} ({origin}): {why}")]
    SecretFile {
        /// Which secret.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Where its path came from.
        origin: SettingOrigin,
        /// What is wrong with it.
        why: String,
    },
    /// A secret among the arguments.
    #[error("--set {0}: a secret must not be an argument, which every user of the machine can read; use {0}_FILE")]
    SecretFlag(&'static str),
    /// A name among the flags that no setting has.
    #[error("--set {name}: there is no such setting; {hint}")]
    UnknownFlag {
        /// The name.
        name: String,
        /// The nearest known one.
        hint: String,
    },
    /// The file cannot be read.
    #[error("the settings file {path:?}, named by {named_by}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Who named it.
        named_by: &'static str,
        /// What the system said.
        why: std::io::Error,
    },
    /// The file is not as it should be.
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

/// Everything wrong, at once; never empty. Displayed one a line.
#[derive(Debug)]
pub struct ConfigErrors(pub(crate) Vec<ConfigError>);

/// A value as it may be shown.
#[derive(Debug)]
pub struct ShownValue(String);

/// The most characters of a wrong value that an error repeats.
const SHOWN_CHARS: usize = 100;

// === impl ConfigErrors ===

impl ConfigErrors {
    /// Each of them.
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

// === impl Shown ===

impl ShownValue {
    /// The value of this setting, unless it is a secret or a URL that may carry a password.
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
