//! Turns merged texts into checked values, one call per setting, and gathers every error on the way.
//!
//! A value that is wrong is stood in for, so that reading goes on; the stand-in never leaves [`crate::config::Config::load`].

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, ShownValue};
use super::merged::Merged;
use crate::config::secret::Secret;
use crate::config::setting::{Setting, SettingKind};

/// Reads settings by name.
pub(crate) struct SettingReader<'a> {
    names: BTreeSet<&'static str>,
    merged: &'a Merged,
    failed: BTreeSet<&'static str>,
    errors: Vec<ConfigError>,
}

// === impl Reader ===

impl<'a> SettingReader<'a> {
    /// Reads `merged`. `table` holds every setting there is; `errors` holds what went wrong before.
    pub(crate) fn new(
        table: impl Iterator<Item = &'static Setting>,
        merged: &'a Merged,
        errors: Vec<ConfigError>,
    ) -> Self {
        Self { names: table.map(|setting| setting.name).collect(), merged, failed: BTreeSet::new(), errors }
    }

    /// On or off.
    pub(crate) fn switch(&mut self, name: &'static str) -> bool {
        self.value(name, SettingKind::switch).unwrap_or_default()
    }

    /// A whole number; the setting's bounds are within the type's.
    pub(crate) fn whole<T: TryFrom<u64> + Default>(&mut self, name: &'static str) -> T {
        self.value(name, |kind, text| kind.whole(text).and_then(|number| T::try_from(number).ok())).unwrap_or_default()
    }

    /// A number.
    pub(crate) fn decimal(&mut self, name: &'static str) -> f64 {
        self.value(name, SettingKind::decimal).unwrap_or_default()
    }

    /// A span given in seconds.
    pub(crate) fn seconds(&mut self, name: &'static str) -> Duration {
        Duration::from_secs(self.whole(name))
    }

    /// A span given in milliseconds.
    pub(crate) fn milliseconds(&mut self, name: &'static str) -> Duration {
        Duration::from_millis(self.whole(name))
    }

    /// A text that has a default.
    pub(crate) fn text(&mut self, name: &'static str) -> String {
        self.optional_text(name).unwrap_or_default()
    }

    /// A text, when it is set.
    pub(crate) fn optional_text(&mut self, name: &'static str) -> Option<String> {
        self.value(name, |kind, text| kind.text(text).map(str::to_owned))
    }

    /// The path of a file, when it is set.
    pub(crate) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.optional_text(name).map(PathBuf::from)
    }

    /// A secret, when it is set.
    pub(crate) fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.optional_text(name).map(Secret::new)
    }

    /// An address to listen on.
    pub(crate) fn bind(&mut self, name: &'static str) -> SocketAddr {
        self.value(name, SettingKind::bind).unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// An address to listen on, when it is set.
    pub(crate) fn optional_bind(&mut self, name: &'static str) -> Option<SocketAddr> {
        self.value(name, SettingKind::bind)
    }

    /// Records that these settings do not go together, unless one of them is wrong by itself.
    pub(crate) fn conflict(&mut self, names: &[&'static str], why: impl Into<String>) {
        if names.iter().any(|name| self.failed.contains(name)) {
            return;
        }
        let given: Vec<_> = names.iter().map(|name| self.describe(name)).collect();
        self.errors.push(ConfigError::Conflict { given: given.join(", "), why: why.into() });
    }

    /// Records what is wrong elsewhere than in a setting's own value.
    pub(crate) fn wrong(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// Everything that was wrong.
    pub(crate) fn finish(self) -> Vec<ConfigError> {
        self.errors
    }

    /// None when it is not set or not allowed; the latter is an error.
    fn value<T>(&mut self, name: &'static str, parse: impl FnOnce(&SettingKind, &str) -> Option<T>) -> Option<T> {
        debug_assert!(self.names.contains(name), "{name} is not in the table");
        let given = self.merged.get(name)?;
        if given.text.is_empty() && given.setting.default.is_none() {
            return None;
        }
        let value = parse(&given.setting.kind, &given.text);
        if value.is_none() {
            self.failed.insert(name);
            self.errors.push(ConfigError::Value {
                name,
                shown: ShownValue::new(given.setting, &given.text),
                origin: given.origin.clone(),
                allowed: given.setting.kind.to_string(),
            });
        }
        value
    }

    fn describe(&self, name: &str) -> String {
        match self.merged.get(name).filter(|given| !given.text.is_empty()) {
            Some(given) => format!("{name} = {} ({})", ShownValue::new(given.setting, &given.text), given.origin),
            None => format!("{name} is not set"),
        }
    }
}
