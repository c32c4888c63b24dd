//! The settings as displayed: each with its value, or `***` for a secret, and where it came from.
//!
//! It parses and checks nothing.

use serde::Serialize;

use super::merged::Merged;
use super::origin::SettingOrigin;
use crate::config::setting::Setting;
use crate::config::table::{self, Area};

/// One setting as displayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// Its area.
    pub area: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its value, `***` for a secret; `None` means unset.
    pub value: Option<String>,
    /// The source of the value.
    pub source: String,
}

/// Returns all settings, in the order of the table.
pub(super) fn of(merged: &Merged) -> Vec<Effective> {
    table::all().map(|(area, setting)| row(area, setting, merged)).collect()
}

fn row(area: &Area, setting: &Setting, merged: &Merged) -> Effective {
    let given = merged.get(setting.name);
    let value = given.filter(|given| !given.text.is_empty());
    let shown = |text: &str| if setting.is_secret() { "***" } else { text }.to_owned();
    Effective {
        area: area.name,
        name: setting.name,
        value: value.map(|given| shown(&given.text)),
        source: given.map_or(SettingOrigin::Default, |given| given.origin.clone()).to_string(),
    }
}
