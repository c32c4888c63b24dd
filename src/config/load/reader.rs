//! Parses merged texts into checked values, one call per setting, and collects all errors.
//!
//! An invalid value is replaced by a placeholder so that reading continues. The placeholder never
//! leaves [`crate::config::Config::load`].

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

// === impl SettingReader ===

impl<'a> SettingReader<'a> {
    /// Reads `merged`. `table` holds every setting there is; `errors` holds what went wrong before.
    pub(crate) fn new(
        table: impl Iterator<Item = &'static Setting>,
        merged: &'a Merged,
        errors: Vec<ConfigError>,
    ) -> Self {
        Self {
            names: table.map(|setting| setting.name).collect(),
            merged,
            failed: BTreeSet::new(),
            errors,
        }
    }

    /// Reads a switch.
    pub(crate) fn switch(&mut self, name: &'static str) -> bool {
        self.value(name, SettingKind::switch).unwrap_or_default()
    }

    /// Reads a whole number; the bounds of the setting must fit `T`.
    pub(crate) fn whole<T: TryFrom<u64> + Default>(&mut self, name: &'static str) -> T {
        self.value(name, |kind, text| kind.whole(text).and_then(|number| T::try_from(number).ok()))
            .unwrap_or_default()
    }

    /// Reads a number.
    pub(crate) fn decimal(&mut self, name: &'static str) -> f64 {
        self.value(name, SettingKind::decimal).unwrap_or_default()
    }

    /// Reads a duration in seconds.
    pub(crate) fn seconds(&mut self, name: &'static str) -> Duration {
        Duration::from_secs(self.whole(name))
    }

    /// Reads a duration in milliseconds.
    pub(crate) fn milliseconds(&mut self, name: &'static str) -> Duration {
        Duration::from_millis(self.whole(name))
    }

    /// Reads a text that has a default.
    pub(crate) fn text(&mut self, name: &'static str) -> String {
        self.optional_text(name).unwrap_or_default()
    }

    /// Reads a text; `None` means unset.
    pub(crate) fn optional_text(&mut self, name: &'static str) -> Option<String> {
        self.value(name, |kind, text| kind.text(text).map(str::to_owned))
    }

    /// Reads the path of a file; `None` means unset.
    pub(crate) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.optional_text(name).map(PathBuf::from)
    }

    /// Reads a secret; `None` means unset.
    pub(crate) fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.optional_text(name).map(Secret::new)
    }

    /// Reads an address to listen on.
    pub(crate) fn bind(&mut self, name: &'static str) -> SocketAddr {
        self.value(name, SettingKind::bind).unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Reads an address to listen on; `None` means unset.
    pub(crate) fn optional_bind(&mut self, name: &'static str) -> Option<SocketAddr> {
        self.value(name, SettingKind::bind)
    }

    /// Records a conflict between `names`, unless one of them alone is invalid.
    pub(crate) fn conflict(&mut self, names: &[&'static str], why: impl Into<String>) {
        if names.iter().any(|name| self.failed.contains(name)) {
            return;
        }
        let given: Vec<_> = names.iter().map(|name| self.describe(name)).collect();
        self.errors.push(ConfigError::Conflict { given: given.join(", "), why: why.into() });
    }

    /// Records an error that is not about the value of one setting.
    pub(crate) fn push_error(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// Returns all errors.
    pub(crate) fn finish(self) -> Vec<ConfigError> {
        self.errors
    }

    /// Parses one value. `None` means unset or invalid; the latter is recorded as an error.
    fn value<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&SettingKind, &str) -> Option<T>,
    ) -> Option<T> {
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
            Some(given) => format!(
                "{name} = {} ({})",
                ShownValue::new(given.setting, &given.text),
                given.origin
            ),
            None => format!("{name} is not set"),
        }
    }
}
