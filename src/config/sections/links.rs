//! Settings of the links to other brokers and clouds. Each link is described in the links file.

use std::path::PathBuf;

use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind};

/// Settings of the links.
#[derive(Clone, Debug)]
pub struct LinksConfig {
    /// `LINKS_PATH`.
    pub path: Option<PathBuf>,
}

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[Setting::optional(
    "LINKS_PATH",
    SettingKind::Path,
    "The links file (TOML): the clouds and brokers that Sluice forwards accepted messages to and receives messages from. \
     Sluice reads it again on SIGHUP and when it changes; a new path needs a restart, as any setting. Not set: there are no links.",
)];

// === impl LinksConfig ===

impl LinksConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        Self { path: reader.path("LINKS_PATH") }
    }
}
