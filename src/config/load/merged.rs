//! The merged layers as data: one text for each setting that has a value.
//!
//! It parses nothing and reads no source.

use std::collections::BTreeMap;

use super::origin::SettingOrigin;
use crate::config::setting::Setting;

/// The text of a setting, and where it came from.
pub(crate) struct GivenValue {
    /// The setting.
    pub setting: &'static Setting,
    /// The text, unparsed.
    pub text: String,
    /// The layer that set it.
    pub origin: SettingOrigin,
}

/// The texts of all settings that have one, by name.
pub(crate) type Merged = BTreeMap<&'static str, GivenValue>;
