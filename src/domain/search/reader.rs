//! Reads the text of a search into terms. It knows the grammar, and no list.

use super::{
    Accepts, MAX_SEARCH_CHARS, MAX_SEARCH_TERMS, Search, SearchError, SearchKey, SearchKeys,
    SearchTerm, SearchValue,
};
use crate::domain::time_range::{TimeBound, span};

/// The longest span, in seconds: a hundred years.
const MAX_SPAN: i64 = 100 * 366 * 86_400;

/// The longest part of an unreadable value that an error repeats, in characters.
const REPEATED_CHARS: usize = 64;

/// A term as it is written.
struct RawTerm {
    is_negated: bool,
    /// The text before the first colon outside quotes; none: a word without a key.
    key: Option<String>,
    value: RawValue,
}

/// A value as it is written, without its quotes.
struct RawValue {
    text: String,
    is_quoted: bool,
    /// A `*` follows the text.
    is_open: bool,
}

// === impl Search ===

impl Search {
    /// Reads `text` for a list with these keys.
    pub fn read(text: &str, keys: &SearchKeys) -> Result<Self, SearchError> {
        if text.chars().count() > MAX_SEARCH_CHARS {
            return Err(SearchError::TooLong);
        }
        if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
            return Err(SearchError::ControlCharacter);
        }
        let (mut rest, mut terms) = (text.trim_start(), Vec::new());
        while !rest.is_empty() {
            if terms.len() == MAX_SEARCH_TERMS {
                return Err(SearchError::TooManyTerms);
            }
            let (raw, after) = cut_term(rest)?;
            terms.push(typed(raw, keys)?);
            rest = after.trim_start();
        }
        Ok(Self { terms })
    }
}

// === private helpers ===

/// Cuts the first term from a text that does not begin with a space.
fn cut_term(text: &str) -> Result<(RawTerm, &str), SearchError> {
    let (is_negated, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let word_end = text.find(char::is_whitespace).unwrap_or(text.len());
    let key_end = text[..word_end].find([':', '"']);
    let key_end = key_end.filter(|&at| text[at..].starts_with(':'));
    let (key, rest) = key_end
        .map_or((None, text), |at| (Some(text[..at].to_owned()), &text[at + ':'.len_utf8()..]));
    let (value, rest) = cut_value(rest)?;
    if value.text.is_empty() && !value.is_open {
        let sign = if is_negated { "-" } else { "" };
        let written = key.map_or_else(|| sign.to_owned(), |key| format!("{sign}{key}:"));
        return Err(SearchError::Empty(written));
    }
    Ok((RawTerm { is_negated, key, value }, rest))
}

fn cut_value(text: &str) -> Result<(RawValue, &str), SearchError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let beginning = word.strip_suffix('*');
        let is_open = beginning.is_some();
        let text = beginning.unwrap_or(word).to_owned();
        return Ok((RawValue { text, is_quoted: false, is_open }, rest));
    };
    let (text, rest) = cut_quoted(quoted)?;
    let after = rest.strip_prefix('*');
    let (is_open, rest) = (after.is_some(), after.unwrap_or(rest));
    if rest.chars().next().is_some_and(|next| !next.is_whitespace()) {
        return Err(SearchError::AfterQuote);
    }
    Ok((RawValue { text, is_quoted: true, is_open }, rest))
}

/// The text up to the closing quotation mark; a backslash takes the next character as it is.
fn cut_quoted(text: &str) -> Result<(String, &str), SearchError> {
    let mut content = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((content, &text[at + character.len_utf8()..])),
            '\\' => content.extend(characters.next().map(|(_, escaped)| escaped)),
            other => content.push(other),
        }
    }
    Err(SearchError::OpenQuote)
}

fn typed(raw: RawTerm, keys: &SearchKeys) -> Result<SearchTerm, SearchError> {
    let name = raw.key.as_deref().unwrap_or(keys.bare);
    let Some(key) = keys.find(name) else {
        let key = name.chars().take(REPEATED_CHARS).collect();
        return Err(SearchError::UnknownKey { key, keys: keys.names() });
    };
    Ok(SearchTerm { key: key.name, value: value(key, raw.value)?, is_negated: raw.is_negated })
}

fn value(key: &SearchKey, raw: RawValue) -> Result<SearchValue, SearchError> {
    let RawValue { text, is_quoted, is_open } = raw;
    let found = match key.accepts {
        Accepts::Text if is_open => return Ok(SearchValue::Prefix(text)),
        Accepts::Text => return Ok(SearchValue::Exact(text)),
        _ if is_open || is_quoted => None,
        Accepts::Span => bounded_span(&text).map(SearchValue::Span),
        Accepts::SpanUpTo(hours) => {
            let most = i64::from(hours) * 3_600;
            span(&text).filter(|seconds| *seconds <= most).map(SearchValue::Span)
        }
        Accepts::Time => {
            let bound: Option<TimeBound> = text.parse().ok().or_else(|| start_of_day(&text));
            let is_bounded = |bound: &TimeBound| match bound {
                TimeBound::Ago(seconds) => *seconds <= MAX_SPAN,
                TimeBound::At(_) => true,
            };
            bound.filter(is_bounded).map(SearchValue::Time)
        }
        Accepts::Words(words) => word(&words(), &text).map(SearchValue::Word),
        Accepts::WordsAndSpans { alone, with_span } => {
            let alone = word(alone, &text).map(SearchValue::Word);
            alone.or_else(|| {
                let (before, after) = text.split_once(':')?;
                Some(SearchValue::WordSpan(word(with_span, before)?, bounded_span(after)?))
            })
        }
    };
    found.ok_or_else(|| SearchError::Value {
        key: key.name,
        value: text.chars().take(REPEATED_CHARS).chain(is_open.then_some('*')).collect(),
        expected: key.accepts.expected(),
    })
}

/// The beginning of a day in UTC, written as 2026-11-21.
fn start_of_day(text: &str) -> Option<TimeBound> {
    let is_plain = text.len() == "2026-11-21".len();
    is_plain.then(|| format!("{text}T00:00:00Z").parse().ok()).flatten()
}

fn word(words: &[&'static str], text: &str) -> Option<&'static str> {
    words.iter().find(|word| word.eq_ignore_ascii_case(text)).copied()
}

fn bounded_span(text: &str) -> Option<i64> {
    span(text).filter(|seconds| *seconds <= MAX_SPAN)
}
