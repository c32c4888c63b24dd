//! The search grammar of every list: `tenant:acme silent:1h -device:pump-7 pump-*`.
//!
//! A term is `key:value`; a word without a key is a name. A `-` before a term excludes what it
//! matches. Terms with one key are alternatives, different keys must all match. A `*` at the end of a
//! value matches every end. Quotes take spaces, colons and stars as they are.
//!
//! Each list names its keys ([`SearchKeys`]). This module knows no list and reads no clock.

mod reader;
#[cfg(test)]
mod tests;

use std::fmt;

use super::time_range::TimeBound;

/// Most characters of a search.
pub const MAX_SEARCH_CHARS: usize = 1024;

/// Most terms of a search.
pub const MAX_SEARCH_TERMS: usize = 32;

/// A key that a list accepts.
#[derive(Clone, Copy, Debug)]
pub struct SearchKey {
    /// The text before the colon.
    pub name: &'static str,
    /// What may follow the colon.
    pub accepts: Accepts,
    /// What the key selects, for help texts.
    pub help: &'static str,
}

/// The keys of a list.
#[derive(Clone, Copy, Debug)]
pub struct SearchKeys {
    /// All keys, in the order in which texts name them.
    pub keys: &'static [SearchKey],
    /// The key of a word without a key.
    pub bare: &'static str,
}

/// What may follow the colon of a key.
#[derive(Clone, Copy, Debug)]
pub enum Accepts {
    /// A text, or the beginning of one with `*`.
    Text,
    /// A span such as `90s`, `30m`, `2h`, `7d`.
    Span,
    /// A span of at most this many hours.
    SpanUpTo(u32),
    /// A time in RFC 3339, or a span before now.
    Time,
    /// One of these words, in any case.
    Words(fn() -> Vec<&'static str>),
    /// One of the words of `alone`, or a word of `with_span`, a colon and a span.
    WordsAndSpans {
        /// The words that stand alone.
        alone: &'static [&'static str],
        /// The words before a span.
        with_span: &'static [&'static str],
    },
}

/// The value of a term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchValue {
    /// Exactly this text.
    Exact(String),
    /// Every text that begins with this.
    Prefix(String),
    /// A word of the key.
    Word(&'static str),
    /// A span in seconds.
    Span(i64),
    /// A time.
    Time(TimeBound),
    /// A word of the key with a span in seconds.
    WordSpan(&'static str, i64),
}

/// One term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchTerm {
    /// The name of its key.
    pub key: &'static str,
    /// Its value.
    pub value: SearchValue,
    /// Whether it excludes what it matches.
    pub is_negated: bool,
}

/// A search that was read for a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    terms: Vec<SearchTerm>,
}

/// Why a search cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The list has no such key.
    #[error(
        "unknown key `{key}`; the keys are {keys}; write a name that contains a colon in quotes"
    )]
    UnknownKey {
        /// The text before the colon.
        key: String,
        /// The keys that exist.
        keys: String,
    },
    /// The key does not accept the value.
    #[error("`{key}:` expects {expected}, not `{value}`")]
    Value {
        /// The key.
        key: &'static str,
        /// What was written.
        value: String,
        /// What the key accepts.
        expected: String,
    },
    /// Nothing follows the colon or the minus sign.
    #[error(
        "`{0}` has no value: write it directly after the colon, in quotes if it contains spaces"
    )]
    Empty(String),
    /// A quotation mark has no end.
    #[error("a quotation mark has no end: add `\"`")]
    OpenQuote,
    /// Text follows a quoted value.
    #[error("after a quoted value only a space or `*` can follow")]
    AfterQuote,
    /// The search contains a control character.
    #[error("the search contains a control character: remove it")]
    ControlCharacter,
    /// The search is too long.
    #[error("the search has more than {MAX_SEARCH_CHARS} characters: shorten it")]
    TooLong,
    /// The search has too many terms.
    #[error("the search has more than {MAX_SEARCH_TERMS} terms: remove some")]
    TooManyTerms,
}

// === impl Search ===

impl Search {
    /// All terms, in the order in which they were written.
    pub fn terms(&self) -> &[SearchTerm] {
        &self.terms
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The terms of each key, in the order of their first term: those that include, and those that
    /// exclude.
    pub fn groups(&self) -> Vec<(&'static str, Vec<&SearchValue>, Vec<&SearchValue>)> {
        let mut groups: Vec<(&'static str, Vec<_>, Vec<_>)> = Vec::new();
        for term in &self.terms {
            let place = groups.iter().position(|(key, ..)| *key == term.key);
            let place = place.unwrap_or_else(|| {
                groups.push((term.key, Vec::new(), Vec::new()));
                groups.len() - 1
            });
            let (_, included, excluded) = &mut groups[place];
            if term.is_negated { excluded.push(&term.value) } else { included.push(&term.value) }
        }
        groups
    }

    /// The values of the terms of `key` that include.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a SearchValue> {
        let of_key = self.terms.iter().filter(move |term| term.key == key && !term.is_negated);
        of_key.map(|term| &term.value)
    }

    /// The value of `key` as it is written, if exactly one term includes by it.
    pub fn only(&self, key: &str) -> Option<String> {
        let mut values = self.values(key);
        let value = values.next().map(ToString::to_string);
        value.filter(|_| values.next().is_none())
    }

    /// This search without the terms of `key`.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        Self { terms: self.terms.iter().filter(|term| term.key != key).cloned().collect() }
    }

    /// This search with one more term. A term that it has already is not repeated.
    #[must_use]
    pub fn with(&self, term: SearchTerm) -> Self {
        let mut terms = self.terms.clone();
        if !terms.contains(&term) {
            terms.push(term);
        }
        Self { terms }
    }

    /// This search with `key` bound to this one text.
    #[must_use]
    pub fn bound_to(&self, key: &'static str, text: &str) -> Self {
        let value = SearchValue::Exact(text.to_owned());
        self.without(key).with(SearchTerm { key, value, is_negated: false })
    }
}

/// Reads back as the same search.
impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, term) in self.terms.iter().enumerate() {
            f.write_str(if place == 0 { "" } else { " " })?;
            write!(f, "{term}")?;
        }
        Ok(())
    }
}

// === impl SearchTerm ===

impl fmt::Display for SearchTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", if self.is_negated { "-" } else { "" }, self.key, self.value)
    }
}

// === impl SearchValue ===

impl fmt::Display for SearchValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write_text(f, text),
            Self::Prefix(text) if text.is_empty() => f.write_str("*"),
            Self::Prefix(text) => {
                write_text(f, text)?;
                f.write_str("*")
            }
            Self::Word(word) => f.write_str(word),
            Self::Time(TimeBound::At(time)) => write!(f, "{time}"),
            Self::Span(seconds) | Self::Time(TimeBound::Ago(seconds)) => write_span(f, *seconds),
            Self::WordSpan(word, seconds) => {
                write!(f, "{word}:")?;
                write_span(f, *seconds)
            }
        }
    }
}

// === impl SearchKeys ===

impl SearchKeys {
    /// The key of that name.
    pub fn find(&self, name: &str) -> Option<&'static SearchKey> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of all keys, for a sentence.
    pub fn names(&self) -> String {
        self.keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
    }
}

// === impl Accepts ===

impl Accepts {
    /// What may follow the colon, for a sentence.
    pub fn expected(self) -> String {
        match self {
            Self::Text => "a text, or its beginning with `*`".to_owned(),
            Self::Span => "a span such as 90s, 30m, 2h, 7d".to_owned(),
            Self::SpanUpTo(hours) => format!("a span of at most {hours}h, such as 30m or 2h"),
            Self::Time => {
                "a day such as 2026-11-21 (from 00:00 UTC on), a time in RFC 3339 such as \
                 2026-11-21T06:00:00Z, or a span such as 2h"
                    .to_owned()
            }
            Self::Words(words) => format!("one of {}", words().join(", ")),
            Self::WordsAndSpans { alone, with_span } => {
                let spans = with_span.iter().map(|word| format!("{word}:30d"));
                let all: Vec<String> = alone.iter().map(ToString::to_string).chain(spans).collect();
                format!("one of {}", all.join(", "))
            }
        }
    }
}

// === private helpers ===

/// Whether a text needs quotes to be read as it is.
fn needs_quotes(text: &str) -> bool {
    text.is_empty() || text.ends_with('*') || text.chars().any(|c| c.is_whitespace() || c == '"')
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if needs_quotes(text) {
        write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        f.write_str(text)
    }
}

/// In the largest unit that fits; up to a day in hours.
fn write_span(f: &mut fmt::Formatter<'_>, seconds: i64) -> fmt::Result {
    match seconds {
        0 => f.write_str("0s"),
        _ if seconds % 86_400 == 0 && seconds > 86_400 => write!(f, "{}d", seconds / 86_400),
        _ if seconds % 3_600 == 0 => write!(f, "{}h", seconds / 3_600),
        _ if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
        _ => write!(f, "{seconds}s"),
    }
}
