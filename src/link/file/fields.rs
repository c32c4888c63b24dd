//! Reads the values of one table, each of an expected type and within its bounds.
//!
//! A value that is missing and one that has a fault are both `None`; the fault is recorded.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::units;
use crate::config::document::reader::{ValueReader, get, key_path};
use crate::config::document::tree::{Node, TableEntries};
use crate::config::nearest::nearest;

/// Most characters of a value that a fault repeats.
const SHOWN_CHARS: usize = 100;

/// One table of the file, and where the faults go.
pub(super) struct LinkFields<'r, 'n> {
    pub values: &'r mut ValueReader,
    pub entries: &'n TableEntries,
    /// Its path.
    pub place: String,
}

// === impl LinkFields ===

impl<'n> LinkFields<'_, 'n> {
    /// The path of a key.
    pub fn path_of(&self, key: &str) -> String {
        key_path(&self.place, key)
    }

    pub fn get(&self, key: &str) -> Option<&'n Node> {
        get(self.entries, key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Records a fault of a key.
    pub fn fault(&mut self, key: &str, why: impl Into<String>) {
        self.values.fault(self.path_of(key), why);
    }

    /// Records that a key is missing, unless it is there.
    pub fn require(&mut self, key: &str, what: &str) {
        if !self.has(key) {
            self.values.fault(self.place.clone(), format!("{key} is missing: {what}"));
        }
    }

    /// A text that is not empty.
    pub fn text(&mut self, key: &str) -> Option<&'n str> {
        let node = self.get(key)?;
        let text = self.values.text(&self.path_of(key), node)?;
        if !text.is_empty() && !text.contains(char::is_control) {
            return Some(text);
        }
        let why = if text.is_empty() { "it is empty" } else { "it has a control character" };
        self.fault(key, why);
        None
    }

    pub fn switch(&mut self, key: &str) -> Option<bool> {
        let node = self.get(key)?;
        self.values.switch(&self.path_of(key), node)
    }

    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// One of several names.
    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*choice);
        }
        let names = choices.iter().map(|(name, _)| *name);
        let expected: Vec<_> = names.clone().map(|name| format!("{name:?}")).collect();
        let hint = nearest(text, names)
            .map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
        self.fault(key, format!("expected {}, found {}{hint}", expected.join(", "), shown(text)));
        None
    }

    /// A whole number.
    pub fn whole<T: TryFrom<i128> + PartialOrd + Display>(
        &mut self,
        key: &str,
        allowed: RangeInclusive<T>,
        because: &str,
    ) -> Option<T> {
        let expected =
            format!("expected a whole number from {} to {}", allowed.start(), allowed.end());
        match self.get(key)? {
            Node::Whole(number) => {
                if let Some(value) = T::try_from(*number).ok().filter(|n| allowed.contains(n)) {
                    return Some(value);
                }
                self.fault(key, format!("{expected}, found {number}{because}"));
            }
            other => self.fault(key, format!("{expected}, found {}", other.kind())),
        }
        None
    }

    /// A duration, such as `90s`.
    pub fn duration(
        &mut self,
        key: &str,
        allowed: RangeInclusive<Duration>,
        because: &str,
    ) -> Option<Duration> {
        let [least, most] = [allowed.start(), allowed.end()].map(|end| units::show_duration(*end));
        let expected = format!("expected a duration from \"{least}\" to \"{most}\"");
        match self.get(key)? {
            Node::Text(text) => match units::duration(text) {
                Some(duration) if allowed.contains(&duration) => return Some(duration),
                Some(_) => {
                    self.fault(key, format!("{expected}, found {}{because}", shown(text)));
                }
                None => {
                    let why = format!("{expected}, in s, m, h or d, found {}", shown(text));
                    self.fault(key, why);
                }
            },
            Node::Whole(number) => {
                let why = format!("a duration has a unit: write \"{number}s\" for seconds");
                self.fault(key, why);
            }
            other => self.fault(key, format!("{expected}, found {}", other.kind())),
        }
        None
    }

    /// A size, such as `256MiB`, or a number of bytes.
    pub fn size(&mut self, key: &str, allowed: RangeInclusive<u64>, because: &str) -> Option<u64> {
        let [least, most] = [allowed.start(), allowed.end()].map(|end| units::show_size(*end));
        let expected = format!("expected a size from \"{least}\" to \"{most}\"");
        let (found, size) = match self.get(key)? {
            Node::Text(text) => (shown(text), units::size(text)),
            Node::Whole(number) => (number.to_string(), u64::try_from(*number).ok()),
            other => (other.kind().to_owned(), None),
        };
        match size {
            Some(size) if allowed.contains(&size) => return Some(size),
            Some(_) => self.fault(key, format!("{expected}, found {found}{because}")),
            None => self.fault(key, format!("{expected}, in KiB, MiB or GiB, found {found}")),
        }
        None
    }
}

/// A value of the file as a fault repeats it.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    if cut.len() < text.len() { format!("{cut:?}...") } else { format!("{text:?}") }
}
