//! Where the value of a setting came from.
//!
//! It knows no layer and no table: the layers name an origin, and errors and `config show` display
//! it.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingOrigin {
    /// No layer sets it.
    Default,
    /// The settings file.
    File(PathBuf),
    /// The environment.
    Environment,
    /// A flag.
    Flag,
    /// A file that holds a secret, and the origin of its path.
    SecretFile(PathBuf, Box<Self>),
}

// === impl SettingOrigin ===

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("--set"),
            Self::SecretFile(path, named_in) => {
                write!(f, "file {}, named in {named_in}", path.display())
            }
        }
    }
}
