//! Defines a setting: its name, default, allowed values, and one sentence of documentation.
//!
//! It parses one text at a time; it knows no layer and no other setting.

use std::fmt;
use std::net::SocketAddr;

/// One row of the table of settings. Parsing, the template and `config show` follow from these
/// rows.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name in the environment; the key in the file is its lower case.
    pub name: &'static str,
    /// The default value; `None` means unset, and an empty text means the same.
    pub default: Option<&'static str>,
    /// The allowed values.
    pub kind: SettingKind,
    /// What the setting does, in a sentence or two.
    pub doc: &'static str,
}

/// The allowed values of a setting, and how its text is parsed.
#[derive(Clone, Copy, Debug)]
pub enum SettingKind {
    /// On or off.
    Switch,
    /// A whole number within bounds (both included).
    Whole {
        /// The minimum.
        min: u64,
        /// The maximum.
        max: u64,
        /// The unit.
        unit: &'static str,
    },
    /// A number within bounds (both included), with or without a fraction.
    Decimal {
        /// The minimum.
        min: f64,
        /// The maximum.
        max: f64,
    },
    /// A text that passes a check, without control characters.
    Text(SettingRule),
    /// One of these values.
    Choice(&'static [&'static str]),
    /// The path of a file; its existence is checked when it is read.
    Path,
    /// An address to listen on.
    Bind,
    /// A text that is never displayed, and that the file `<NAME>_FILE` may hold.
    Secret(SettingRule),
}

/// A rule for a text, as a description and as a check.
#[derive(Clone, Copy, Debug)]
pub struct SettingRule {
    /// The allowed values, as they follow "expected".
    pub allowed: &'static str,
    /// Whether a text satisfies the rule.
    pub holds: fn(&str) -> bool,
}

/// Longest text of a setting, in bytes: the limit of an MQTT string.
pub const MAX_TEXT_BYTES: usize = 65_535;

// === impl Setting ===

impl Setting {
    /// On or off.
    pub(super) const fn switch(
        name: &'static str,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, default: Some(default), kind: SettingKind::Switch, doc }
    }

    /// A whole number of `unit` within `bounds`.
    pub(super) const fn whole(
        name: &'static str,
        default: &'static str,
        (min, max): (u64, u64),
        unit: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, default: Some(default), kind: SettingKind::Whole { min, max, unit }, doc }
    }

    /// A setting of `kind` with a default.
    pub(super) const fn with_default(
        name: &'static str,
        default: &'static str,
        kind: SettingKind,
        doc: &'static str,
    ) -> Self {
        Self { name, default: Some(default), kind, doc }
    }

    /// A setting of `kind` without a default.
    pub(super) const fn optional(name: &'static str, kind: SettingKind, doc: &'static str) -> Self {
        Self { name, default: None, kind, doc }
    }

    /// Returns the key in the file.
    pub fn key(&self) -> String {
        self.name.to_lowercase()
    }

    /// Returns the name of the setting for a file that holds the value; `None` means that it is no
    /// secret.
    pub fn file_name(&self) -> Option<String> {
        self.is_secret().then(|| format!("{}_FILE", self.name))
    }

    /// Whether the value is never displayed.
    pub const fn is_secret(&self) -> bool {
        matches!(self.kind, SettingKind::Secret(_))
    }
}

// === impl SettingKind ===

impl SettingKind {
    /// Parses a switch: exactly 1, 0, true or false, in any case.
    pub(super) fn switch(&self, text: &str) -> Option<bool> {
        match (self, text.to_ascii_lowercase().as_str()) {
            (Self::Switch, "1" | "true") => Some(true),
            (Self::Switch, "0" | "false") => Some(false),
            _ => None,
        }
    }

    /// Parses a whole number: only digits.
    pub(super) fn whole(&self, text: &str) -> Option<u64> {
        let Self::Whole { min, max, .. } = self else { return None };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && (min..=max).contains(&number))
    }

    /// Parses a number.
    pub(super) fn decimal(&self, text: &str) -> Option<f64> {
        let Self::Decimal { min, max } = self else { return None };
        text.parse().ok().filter(|number| (min..=max).contains(&number))
    }

    /// Parses a text, a choice, a path or a secret.
    pub(super) fn text<'a>(&self, text: &'a str) -> Option<&'a str> {
        let fine = match self {
            Self::Text(rule) => !text.chars().any(char::is_control) && (rule.holds)(text),
            Self::Secret(rule) => (rule.holds)(text),
            Self::Choice(words) => words.contains(&text),
            Self::Path => !text.chars().any(char::is_control),
            Self::Switch | Self::Whole { .. } | Self::Decimal { .. } | Self::Bind => false,
        };
        (fine && !text.is_empty() && text.len() <= MAX_TEXT_BYTES).then_some(text)
    }

    /// Parses an address to listen on.
    pub(super) fn bind(&self, text: &str) -> Option<SocketAddr> {
        matches!(self, Self::Bind).then(|| text.parse().ok()).flatten()
    }
}

/// The allowed values, as they follow "expected".
impl fmt::Display for SettingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("1, 0, true or false"),
            Self::Whole { min, max, unit: "" } => write!(f, "a whole number from {min} to {max}"),
            Self::Whole { min, max, unit } => {
                write!(f, "a whole number of {unit} from {min} to {max}")
            }
            Self::Decimal { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Text(rule) | Self::Secret(rule) => f.write_str(rule.allowed),
            Self::Choice([words @ .., last]) if !words.is_empty() => {
                write!(f, "{} or {last}", words.join(", "))
            }
            Self::Choice(words) => f.write_str(&words.concat()),
            Self::Path => f.write_str("the path of a file"),
            Self::Bind => {
                f.write_str("an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_takes_exactly_four_words_in_any_case() {
        for (text, value) in
            [("1", true), ("true", true), ("TRUE", true), ("0", false), ("False", false)]
        {
            assert_eq!(SettingKind::Switch.switch(text), Some(value), "{text}");
        }
        for text in ["", "yes", "no", "on", "off", "2", "01", " 1", "t"] {
            assert_eq!(SettingKind::Switch.switch(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_whole_number_is_digits_within_its_bounds() {
        let kind = SettingKind::Whole { min: 5, max: 3600, unit: "seconds" };
        assert_eq!(kind.whole("5"), Some(5));
        assert_eq!(kind.whole("3600"), Some(3600));
        for text in
            ["", "4", "3601", "+5", "-5", "5.0", "5s", " 5", "0x5", "99999999999999999999999"]
        {
            assert_eq!(kind.whole(text), None, "{text:?}");
        }
        assert_eq!(kind.to_string(), "a whole number of seconds from 5 to 3600");
    }

    #[test]
    fn a_decimal_is_never_infinite_nor_nothing() {
        let kind = SettingKind::Decimal { min: 0.0, max: 10.0 };
        assert_eq!(kind.decimal("0.5"), Some(0.5));
        for text in ["", "nan", "inf", "-1", "11", "1,5"] {
            assert_eq!(kind.decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_choice_lists_its_values() {
        for (values, expected) in
            [(&["a", "b", "c"][..], "a, b or c"), (&["a", "b"], "a or b"), (&["a"], "a")]
        {
            assert_eq!(SettingKind::Choice(values).to_string(), expected);
        }
    }

    #[test]
    fn a_text_holds_no_control_characters() {
        let kind = SettingKind::Text(SettingRule { allowed: "anything", holds: |_| true });
        assert_eq!(kind.text("a b"), Some("a b"));
        for text in ["", "a\n", "a\r", "a\0b", &"x".repeat(MAX_TEXT_BYTES + 1)] {
            assert_eq!(kind.text(text), None, "{text:?}");
        }
    }
}
