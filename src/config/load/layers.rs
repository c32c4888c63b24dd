//! The layers of settings, in rising precedence: defaults, the file, the environment, flags.
//!
//! It merges texts and records the origin of each; it parses no value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::error::ConfigError;
use super::file;
use super::merged::{GivenValue, Merged};
use super::origin::SettingOrigin;
use super::texts::Texts;
use crate::config::table;

/// The settings file that is read if no other is named and it exists.
pub const SYSTEM_FILE: &str = "/etc/sluice/sluice.toml";

/// The environment variable that names the settings file.
pub const FILE_VARIABLE: &str = "SLUICE_CONFIG";

/// The sources of the settings, passed in so that a test needs no file and no environment.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file of `--config`. It must exist.
    pub config_file: Option<PathBuf>,
    /// The file that is read if neither `--config` nor `SLUICE_CONFIG` names one. It may be
    /// missing.
    pub system_file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// The flags `--set NAME=VALUE`; of equal names the last wins.
    pub flags: Vec<(String, String)>,
}

const DEFAULTS: &str = "defaults";
const FILE: &str = "file";
const ENVIRONMENT: &str = "environment";

struct Layer(Metadata, Texts);

/// Merges all layers. What cannot be merged is added to `errors`; everything else is merged.
pub(crate) fn merge(sources: &Sources, errors: &mut Vec<ConfigError>) -> Merged {
    let mut figment = Figment::new().merge(Layer(Metadata::named(DEFAULTS), defaults()));
    if let Some((path, named_by)) = sources.file() {
        let texts = file::read(path, named_by, errors);
        figment = figment.merge(Layer(Metadata::from(FILE, path), texts));
    }
    figment = figment
        .merge(Layer(Metadata::named(ENVIRONMENT), environment(sources)))
        .merge(Layer(Metadata::named("flags"), flags(sources, errors)));
    collect(&figment, errors)
}

/// Parses `NAME=VALUE`, the argument of `--set`.
pub fn parse_flag(argument: &str) -> Result<(String, String), String> {
    let (name, value) = argument.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

// === impl Sources ===

impl Sources {
    /// The sources of this process: `config_file`, `flags`, and the environment variables that are
    /// settings.
    pub fn of_process(config_file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let ours = |name: &str| name == FILE_VARIABLE || table::find(name).is_some();
        let environment = std::env::vars_os()
            .map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            })
            .filter(|(name, _)| ours(name))
            .collect();
        Self { config_file, system_file: Some(SYSTEM_FILE.into()), environment, flags }
    }

    /// Returns the file to read, and what named it.
    fn file(&self) -> Option<(&Path, &'static str)> {
        let named = self
            .environment
            .iter()
            .rev()
            .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
        let flag = self.config_file.as_deref().map(|path| (path, "--config"));
        flag.or_else(|| named.map(|(_, path)| (Path::new(path), FILE_VARIABLE))).or_else(|| {
            self.system_file.as_deref().filter(|path| path.exists()).map(|path| (path, "default"))
        })
    }
}

/// Prints names only: values may be secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |pairs: &[(String, String)]| {
            pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        f.debug_struct("Sources")
            .field("config_file", &self.config_file)
            .field("system_file", &self.system_file)
            .field("environment", &names(&self.environment))
            .field("flags", &names(&self.flags))
            .finish()
    }
}

// === impl Layer ===

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.0.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let values = |texts: &BTreeMap<String, String>| -> Dict {
            texts.iter().map(|(key, text)| (key.clone(), Value::from(text.clone()))).collect()
        };
        let areas: Dict = self
            .1
            .0
            .iter()
            .map(|(area, texts)| ((*area).to_owned(), values(texts).into()))
            .collect();
        Ok(Profile::Default.collect(areas))
    }
}

fn defaults() -> Texts {
    let mut texts = Texts::default();
    for (area, setting) in table::all() {
        if let Some(default) = setting.default {
            texts.put(area.name, setting.key(), default.to_owned());
        }
    }
    texts
}

/// An empty variable counts as unset: compose files pass unset variables as empty.
fn environment(sources: &Sources) -> Texts {
    let mut texts = Texts::default();
    for (name, value) in sources.environment.iter().filter(|(_, value)| !value.is_empty()) {
        if let Some((area, _)) = table::find(name) {
            texts.put(area.name, name.to_lowercase(), value.clone());
        }
    }
    texts
}

fn flags(sources: &Sources, errors: &mut Vec<ConfigError>) -> Texts {
    let mut texts = Texts::default();
    for (name, value) in &sources.flags {
        match table::find(name) {
            None => {
                let name: String = name.chars().take(64).collect();
                errors.push(ConfigError::UnknownFlag { hint: table::did_you_mean(&name), name });
            }
            Some((_, setting)) if setting.is_secret() && setting.name == name => {
                errors.push(ConfigError::SecretFlag(setting.name));
            }
            Some((area, _)) => texts.put(area.name, name.to_lowercase(), value.clone()),
        }
    }
    texts
}

fn collect(figment: &Figment, errors: &mut Vec<ConfigError>) -> Merged {
    let mut merged = Merged::new();
    for area in &table::AREAS {
        let texts =
            figment.find_value(area.name).ok().and_then(Value::into_dict).unwrap_or_default();
        let given = |key: &str| {
            let value = texts.get(key)?;
            Some((value.as_str()?.to_owned(), origin_of(figment.get_metadata(value.tag()))))
        };
        for setting in area.settings {
            let direct = given(&setting.key());
            let by_file = setting.file_name().and_then(|name| given(&name.to_lowercase()));
            let by_file = by_file.filter(|(path, _)| !path.is_empty());
            let found = match (direct, by_file) {
                (Some((text, direct)), Some((_, by_file))) if !text.is_empty() => {
                    errors.push(ConfigError::BothAtOnce { name: setting.name, direct, by_file });
                    None
                }
                (_, Some((path, origin))) => {
                    file::read_secret(setting, path.into(), origin, errors)
                }
                (direct, None) => direct,
            };
            if let Some((text, origin)) = found {
                merged.insert(setting.name, GivenValue { setting, text, origin });
            }
        }
    }
    merged
}

fn origin_of(metadata: Option<&Metadata>) -> SettingOrigin {
    let file =
        metadata.and_then(|metadata| metadata.source.as_ref()).and_then(figment::Source::file_path);
    match (metadata.map(|metadata| metadata.name.as_ref()), file) {
        (Some(FILE), Some(path)) => SettingOrigin::File(path.to_owned()),
        (Some(ENVIRONMENT), _) => SettingOrigin::Environment,
        (None | Some(DEFAULTS), _) => SettingOrigin::Default,
        _ => SettingOrigin::Flag,
    }
}
