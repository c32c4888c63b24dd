//! Writes the commented settings file, from the table and from nothing else.

use super::setting::{Setting, SettingKind};
use super::table::{self, Area};

const HEAD: &str = "\
# The settings of Sluice. What is commented out stands at its default.
# Order: defaults < this file < environment < flags (--set NAME=VALUE). In the environment a key is written in capitals.
# `sluice config check` finds what is wrong here; `sluice config show` tells what is in force and why.
";

/// The commented file: every setting with its meaning, its bounds and its default.
pub fn template() -> String {
    table::AREAS.iter().fold(HEAD.to_owned(), |text, area| text + &section(area))
}

fn section(area: &Area) -> String {
    let head = format!("\n# {}\n[{}]\n", area.doc, area.name);
    area.settings.iter().fold(head, |text, setting| text + &entry(setting))
}

/// A setting is commented out by `#` alone, words for people by `#` and a space.
fn entry(setting: &Setting) -> String {
    let entry =
        format!("\n# {}\n# Allowed: {}.\n#{} = {}\n", setting.doc, setting.kind, setting.key(), literal(setting));
    let Some(name) = setting.file_name() else { return entry };
    format!("{entry}# Or the path of a file that holds it:\n#{} = \"\"\n", name.to_lowercase())
}

/// The default as TOML writes it; what is not set by default is an empty text, which means just that.
fn literal(setting: &Setting) -> String {
    match (setting.kind, setting.default) {
        (_, None) => "\"\"".to_owned(),
        (SettingKind::Switch, Some(default)) => (default == "1").to_string(),
        (SettingKind::Whole { .. } | SettingKind::Decimal { .. }, Some(default)) => default.to_owned(),
        (_, Some(default)) => format!("{default:?}"),
    }
}
