//! The view of the settings in force. The values of secrets are masked where they are read.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::overview::ReplicaView;
use crate::config::Effective;
use crate::config::setting::{Setting, SettingKind};

/// The settings of the daemon that answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Settings")]
pub(crate) struct SettingsView {
    /// The `MQTT_CLIENT_ID` of the daemon that answers.
    pub(crate) client_id: String,
    /// Its version.
    pub(crate) version: String,
    /// When it read the settings: at its start.
    pub(crate) read_at: DateTime<Utc>,
    /// The settings that the request asks for, in the order of the reference.
    pub(crate) settings: Vec<SettingView>,
    /// How many settings there are in all.
    pub(crate) total: usize,
    /// How many of them differ from their defaults.
    pub(crate) changed: usize,
    /// Settings that are legal but dangerous, and files that cannot be read now.
    pub(crate) warnings: Vec<String>,
    /// The daemons that have a session at a broker. Their settings are not known here.
    pub(crate) replicas: Vec<ReplicaView>,
    /// Why `replicas` is empty or old; null if it is current.
    pub(crate) missing: Option<String>,
}

/// A setting.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Setting")]
pub(crate) struct SettingView {
    /// Its area: the section of the settings file.
    pub(crate) area: String,
    /// Its name in the environment; the key in the file is its lower case.
    pub(crate) name: String,
    /// The value in force; `***` for a secret; null: not set.
    pub(crate) value: Option<String>,
    /// The default; null: not set.
    pub(crate) default: Option<String>,
    /// Where the value comes from: `default`, `environment`, `--set`, or the path of a file.
    pub(crate) source: String,
    /// Whether the value differs from the default.
    pub(crate) is_changed: bool,
    /// Whether the value is a secret, which is never shown.
    pub(crate) is_secret: bool,
    /// The values that are allowed.
    pub(crate) allowed: String,
    /// The unit of a number; null if it has none.
    pub(crate) unit: Option<String>,
    /// What the setting does.
    pub(crate) doc: String,
}

// === impl SettingView ===

impl SettingView {
    pub(crate) fn new(row: &Effective, setting: &Setting) -> Self {
        let default = setting.default.filter(|text| !text.is_empty());
        let unit = match setting.kind {
            SettingKind::Whole { unit, .. } if !unit.is_empty() => Some(unit.to_owned()),
            _ => None,
        };
        Self {
            area: row.area.to_owned(),
            name: row.name.to_owned(),
            is_changed: is_changed(row.value.as_deref(), default, &setting.kind),
            value: row.value.clone(),
            default: default.map(str::to_owned),
            source: row.source.clone(),
            is_secret: setting.is_secret(),
            allowed: setting.kind.to_string(),
            unit,
            doc: setting.doc.to_owned(),
        }
    }

    /// Whether its name, its area or its text has each of these words.
    pub(crate) fn has_all(&self, words: &[String]) -> bool {
        let text = format!("{} {} {}", self.name, self.area, self.doc).to_lowercase();
        words.iter().all(|word| text.contains(word))
    }
}

// === private helpers ===

fn is_changed(value: Option<&str>, default: Option<&str>, kind: &SettingKind) -> bool {
    let word = |text: &str| match (kind, text.to_ascii_lowercase().as_str()) {
        (SettingKind::Switch, "true") => "1".to_owned(),
        (SettingKind::Switch, "false") => "0".to_owned(),
        _ => text.to_owned(),
    };
    value.map(word) != default.map(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_in_another_word_is_not_changed() {
        assert!(!is_changed(Some("true"), Some("1"), &SettingKind::Switch));
        assert!(is_changed(Some("FALSE"), Some("1"), &SettingKind::Switch));
        assert!(is_changed(Some("a"), None, &SettingKind::Path));
        assert!(!is_changed(None, None, &SettingKind::Path));
    }
}
