//! What is answered at the broker's door.

use std::path::PathBuf;

use super::reader::Reader;
use super::setting::{Kind, Setting};

/// The settings of the broker's door.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// `ACL_RULES_PATH`.
    pub acl_rules_path: Option<PathBuf>,
}

/// The rows of the table.
pub(super) const SETTINGS: &[Setting] = &[Setting::optional(
    "ACL_RULES_PATH",
    Kind::Path,
    "The policy: who may do what with which topics (JSON or TOML). Not set: only what is built in.",
)];

// === impl AccessConfig ===

impl AccessConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self { acl_rules_path: reader.path("ACL_RULES_PATH") }
    }
}
