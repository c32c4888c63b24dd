//! Settings of the broker's access rules: the file, the operator's template and the form.
//!
//! Their rows are part of the area `certificates`.

use std::path::PathBuf;

use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind};

/// The settings of the broker's access rules.
#[derive(Clone, Debug)]
pub struct BrokerAclConfig {
    /// `ACL_OUTPUT_PATH`.
    pub output_path: Option<PathBuf>,
    /// `ACL_TEMPLATE_PATH`.
    pub template_path: Option<PathBuf>,
    /// `BROKER_ACL_MODE`.
    pub mode: AclMode,
}

/// What decides the form of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclMode {
    /// The version that the broker reports.
    Auto,
    /// Always as patterns.
    Patterns,
    /// Always as rows for each device.
    Rows,
}

pub(super) const OUTPUT: Setting = Setting::optional(
    "ACL_OUTPUT_PATH",
    SettingKind::Path,
    "The file that Sluice writes the broker's access rules to. Name it as acl_file in mosquitto.conf. Not set: Sluice writes \
     none.",
);

pub(super) const TEMPLATE: Setting = Setting::optional(
    "ACL_TEMPLATE_PATH",
    SettingKind::Path,
    "Your own lines for the access rules, in the syntax of Mosquitto's acl_file. Its patterns with %u define what a device \
     may write and read. Not set: built-in lines for MQTT_USERNAME and the usual message types.",
);

pub(super) const MODE: Setting = Setting::with_default(
    "BROKER_ACL_MODE",
    "auto",
    SettingKind::Choice(&["auto", "patterns", "rows"]),
    "The form of the access rules: patterns for Mosquitto 2.0, rows for each device for 2.1 and later. auto chooses by the \
     version that the broker reports.",
);

// === impl BrokerAclConfig ===

impl BrokerAclConfig {
    pub(super) fn read(reader: &mut SettingReader) -> Self {
        let mode = match reader.text("BROKER_ACL_MODE").as_str() {
            "patterns" => AclMode::Patterns,
            "rows" => AclMode::Rows,
            _ => AclMode::Auto,
        };
        let output_path = reader.path("ACL_OUTPUT_PATH");
        Self { output_path, template_path: reader.path("ACL_TEMPLATE_PATH"), mode }
    }
}
