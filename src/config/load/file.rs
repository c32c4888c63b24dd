//! Reads the settings file, and files that hold one secret.
//!
//! An unknown key in the file is an error. An error never repeats a line of the file, which may
//! hold a secret.

use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Num, Value};

use super::error::ConfigError;
use super::origin::SettingOrigin;
use super::texts::Texts;
use crate::config::setting::Setting;
use crate::config::table;
use crate::disk;

/// Longest settings file, in bytes; the commented template is a tenth of it.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Longest file of a secret, in bytes: an MQTT password and a line end.
const MAX_SECRET_BYTES: u64 = 65_537;

/// Reads the settings file. Errors are added to `errors`, and valid entries are returned.
pub(super) fn read(path: &Path, named_by: &'static str, errors: &mut Vec<ConfigError>) -> Texts {
    let text = match disk::read_text(path, MAX_FILE_BYTES) {
        Ok(text) => text,
        Err(why) => {
            errors.push(ConfigError::Unreadable { path: path.to_owned(), named_by, why });
            return Texts::default();
        }
    };
    let sections = match Toml::from_str::<Dict>(&text) {
        Ok(sections) => sections,
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let place = format!("line {}", before.matches('\n').count() + 1);
            let why = format!("not TOML: {}", error.message());
            errors.push(ConfigError::InFile { path: path.to_owned(), place, why });
            return Texts::default();
        }
    };
    let mut texts = Texts::default();
    for (section, value) in sections {
        if let Err((place, why)) = read_section(&section, value, &mut texts, |place, why| {
            errors.push(ConfigError::InFile { path: path.to_owned(), place, why });
        }) {
            errors.push(ConfigError::InFile { path: path.to_owned(), place, why });
        }
    }
    texts
}

fn read_section(
    section: &str,
    value: Value,
    texts: &mut Texts,
    mut wrong: impl FnMut(String, String),
) -> Result<(), (String, String)> {
    let Some(area) = table::AREAS.iter().find(|area| area.name == section) else {
        return Err((format!("[{section}]"), unknown_section(section)));
    };
    let Some(keys) = value.into_dict() else {
        return Err((
            section.to_owned(),
            format!("{section} is a section: write [{section}], then its settings below"),
        ));
    };
    for (key, value) in keys {
        let place = || format!("[{section}] {key}");
        match find_key(&key) {
            None => wrong(place(), format!("unknown setting; {}", table::did_you_mean(&key))),
            Some((owner, _)) if owner.name != area.name => {
                wrong(place(), format!("this setting belongs under [{}]", owner.name));
            }
            Some((_, setting)) => match text_of(&value) {
                Some(text) => texts.put(area.name, key, text),
                None => wrong(place(), format!("expected {}, as one plain value", setting.kind)),
            },
        }
    }
    Ok(())
}

fn unknown_section(name: &str) -> String {
    if let Some((owner, _)) = find_key(name) {
        return format!("this setting belongs under [{}]", owner.name);
    }
    let names: Vec<_> = table::AREAS.iter().map(|area| area.name).collect();
    format!("unknown section; the sections are {}", names.join(", "))
}

/// Finds the setting of `key`, which must be in lower case.
fn find_key(key: &str) -> Option<(&'static table::Area, &'static Setting)> {
    table::find(&key.to_uppercase()).filter(|_| key.to_lowercase() == key)
}

/// Converts one value to the text it would be in the environment.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Bool(_, value) => Some(value.to_string()),
        Value::Num(_, number @ (Num::F32(_) | Num::F64(_))) => {
            number.to_f64().map(|number| number.to_string())
        }
        Value::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_u128().map(|number| number.to_string())),
        _ => None,
    }
}

/// Reads a secret from its file, without the line end that editors and `echo` add.
pub(super) fn read_secret(
    setting: &Setting,
    path: PathBuf,
    origin: SettingOrigin,
    errors: &mut Vec<ConfigError>,
) -> Option<(String, SettingOrigin)> {
    let read = disk::read_text(&path, MAX_SECRET_BYTES)
        .map_err(|error| error.to_string())
        .and_then(|text| {
            let secret = text
                .strip_suffix('\n')
                .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
            if secret.is_empty() {
                Err("the file is empty".to_owned())
            } else {
                Ok(secret.to_owned())
            }
        });
    match read {
        Ok(secret) => Some((secret, SettingOrigin::SecretFile(path, Box::new(origin)))),
        Err(why) => {
            errors.push(ConfigError::SecretFile { name: setting.name, path, origin, why });
            None
        }
    }
}
