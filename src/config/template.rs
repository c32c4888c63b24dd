//! Renders the commented settings file from the table alone.

use super::setting::{Setting, SettingKind};
use super::table::{self, Area};

const HEAD: &str = "\
# The settings of Sluice. A setting that is commented out has its default.
# Order: defaults < this file < environment < flags (--set NAME=VALUE). In the environment a key is written in capitals.
# `sluice config check` finds errors in this file; `sluice config show` prints the effective settings and their sources.
";

/// Renders the file: each setting with its meaning, allowed values and default.
pub fn template() -> String {
    table::AREAS.iter().fold(HEAD.to_owned(), |text, area| text + &section(area))
}

fn section(area: &Area) -> String {
    let head = format!("\n# {}\n[{}]\n", area.doc, area.name);
    area.settings.iter().fold(head, |text, setting| text + &entry(setting))
}

/// A `#` alone comments out a setting; a `#` and a space begin a comment.
fn entry(setting: &Setting) -> String {
    let entry = format!(
        "\n# {}\n# Allowed: {}.\n#{} = {}\n",
        setting.doc,
        setting.kind,
        setting.key(),
        literal(setting)
    );
    let Some(name) = setting.file_name() else { return entry };
    format!("{entry}# Or the path of a file that contains it:\n#{} = \"\"\n", name.to_lowercase())
}

/// The default in TOML syntax; an empty text means unset.
fn literal(setting: &Setting) -> String {
    match (setting.kind, setting.default) {
        (_, None) => "\"\"".to_owned(),
        (SettingKind::Switch, Some(default)) => (default == "1").to_string(),
        (SettingKind::Whole { .. } | SettingKind::Decimal { .. }, Some(default)) => {
            default.to_owned()
        }
        (_, Some(default)) => format!("{default:?}"),
    }
}
