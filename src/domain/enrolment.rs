//! Enrolment codes: how one is made and read, and which devices it enrols.
//!
//! It stores nothing and prints no code except to the caller that made it. A code has 125 random
//! bits in 25 letters and digits, so that a person can type it and a program cannot guess it.

use std::fmt;
use std::str::FromStr;

use super::ids::{DeviceId, IdError, MAX_ID_LEN, check_id};
use super::time::Timestamp;
use super::time_range::{InvalidTimeBound, TimeBound};
use super::token::TokenHash;

/// The letters and digits of a code: none of them is mistaken for another.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The letters and digits of a code.
const CODE_CHARS: usize = 25;

/// The letters and digits between two hyphens.
const GROUP_CHARS: usize = 5;

/// Longest text that is read as a code, in bytes: longer ones are not hashed.
const MAX_TEXT_BYTES: usize = 128;

/// A new code. Its `Debug` output hides it.
pub struct EnrolmentCode(String);

/// The system returned no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system returned no random bytes for a code: {0}; check that getrandom(2) works here")]
pub struct NoRandomCode(getrandom::Error);

/// Which devices of a tenant a code enrols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrolmentScope {
    /// This device.
    Device(DeviceId),
    /// Each device whose name begins like this.
    Pattern(NamePattern),
}

/// The beginning of names, written with a trailing `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(Box<str>);

/// When a code expires: at a time, or after a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeExpiry(TimeBound);

/// A text is no pattern of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamePatternError {
    /// No `*` at the end.
    #[error("a pattern ends with *, as in pump-*")]
    NoStar,
    /// The text before the `*`.
    #[error("before its * a pattern is the beginning of a name: {0}")]
    Name(#[from] IdError),
}

// === impl CodeExpiry ===

impl CodeExpiry {
    /// The life of a code for which the caller names none: a day.
    pub const USUAL: Self = Self(TimeBound::Ago(86_400));

    /// When a code that is made at `now` expires.
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self.0 {
            TimeBound::At(time) => time,
            // A span of a range reaches back; this one reaches forward.
            TimeBound::Ago(seconds) => now.plus_seconds(seconds),
        }
    }
}

impl FromStr for CodeExpiry {
    type Err = InvalidTimeBound;

    fn from_str(text: &str) -> Result<Self, InvalidTimeBound> {
        text.parse().map(Self)
    }
}

// === impl EnrolmentCode ===

impl EnrolmentCode {
    /// Makes a code.
    pub fn generate() -> Result<Self, NoRandomCode> {
        let mut random = [0; CODE_CHARS];
        getrandom::fill(&mut random).map_err(NoRandomCode)?;
        let mut text = String::with_capacity(CODE_CHARS + CODE_CHARS / GROUP_CHARS);
        for (place, byte) in random.into_iter().enumerate() {
            if place > 0 && place % GROUP_CHARS == 0 {
                text.push('-');
            }
            // 256 is a multiple of 32: each letter is as likely as any other.
            text.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        }
        Ok(Self(text))
    }

    /// The hash to store.
    pub fn hash(&self) -> TokenHash {
        hash_of_code(self.0.as_bytes()).unwrap_or_else(|| TokenHash::of(&self.0))
    }

    /// The code, for the one answer that shows it.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Debug for EnrolmentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentCode(..)")
    }
}

/// The hash of a code as a person wrote it: case and hyphens do not count, O is 0, I and L are 1.
/// `None`: no code is that long.
pub fn hash_of_code(text: &[u8]) -> Option<TokenHash> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let plain: Vec<u8> = text
        .iter()
        .filter(|&&byte| byte != b'-' && byte != b' ')
        .map(|byte| match byte.to_ascii_uppercase() {
            b'O' => b'0',
            b'I' | b'L' => b'1',
            other => other,
        })
        .collect();
    Some(TokenHash::of(plain))
}

// === impl EnrolmentScope ===

impl EnrolmentScope {
    /// Whether the code enrols the device of this name.
    pub fn includes(&self, device: &str) -> bool {
        match self {
            Self::Device(id) => id.as_str() == device,
            Self::Pattern(pattern) => device.starts_with(&*pattern.0),
        }
    }

    /// The name, if it is one device.
    pub fn device(&self) -> Option<&str> {
        match self {
            Self::Device(id) => Some(id.as_str()),
            Self::Pattern(_) => None,
        }
    }

    /// The pattern with its `*`, if it is one.
    pub fn pattern(&self) -> Option<String> {
        match self {
            Self::Device(_) => None,
            Self::Pattern(pattern) => Some(pattern.to_string()),
        }
    }
}

// === impl NamePattern ===

impl FromStr for NamePattern {
    type Err = NamePatternError;

    fn from_str(text: &str) -> Result<Self, NamePatternError> {
        let start = text.strip_suffix('*').ok_or(NamePatternError::NoStar)?;
        if !start.is_empty() {
            check_id(start.as_bytes())?;
        }
        if start.len() > MAX_ID_LEN {
            return Err(IdError::TooLong.into());
        }
        Ok(Self(start.into()))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_five_groups_and_its_hash_ignores_case_and_hyphens() {
        let code = EnrolmentCode::generate().unwrap();
        assert_eq!(format!("{code:?}"), "EnrolmentCode(..)");
        let hash = code.hash();
        let text = code.into_text();
        let groups: Vec<_> = text.split('-').collect();
        assert!(groups.len() == 5 && groups.iter().all(|group| group.len() == 5), "{text}");
        assert!(text.bytes().all(|byte| byte == b'-' || ALPHABET.contains(&byte)), "{text}");
        for written in [text.to_lowercase(), text.replace('-', ""), text.replace('-', " ")] {
            assert!(hash_of_code(written.as_bytes()).unwrap().equals(&hash), "{written}");
        }
        assert!(!hash_of_code(&text.as_bytes()[1..]).unwrap().equals(&hash));
        assert!(hash_of_code(&[b'A'; MAX_TEXT_BYTES + 1]).is_none());
        assert_ne!(text, EnrolmentCode::generate().unwrap().into_text());
    }

    #[test]
    fn a_code_expires_at_a_time_or_after_a_span() {
        let now = Timestamp::from_micros(1_795_000_000_000_000);
        let at = |text: &str| text.parse::<CodeExpiry>().map(|expiry| expiry.at(now));
        assert_eq!(at("7d"), Ok(now.plus_seconds(604_800)));
        assert_eq!(CodeExpiry::USUAL.at(now), at("24h").unwrap());
        assert_eq!(at("2026-11-21T06:00:00Z").unwrap().to_string(), "2026-11-21T06:00:00.000000Z");
        assert!(at("tomorrow").is_err());
    }

    #[test]
    fn a_scope_includes_its_device_or_the_names_that_begin_like_its_pattern() {
        let device = EnrolmentScope::Device("pump-1".parse().unwrap());
        assert!(device.includes("pump-1") && !device.includes("pump-12"));
        let pattern = EnrolmentScope::Pattern("pump-*".parse().unwrap());
        assert!(pattern.includes("pump-12") && !pattern.includes("valve-1"));
        assert_eq!(pattern.pattern().as_deref(), Some("pump-*"));
        assert!(EnrolmentScope::Pattern("*".parse().unwrap()).includes("x"));
        for (wrong, why) in [
            ("pump", NamePatternError::NoStar),
            ("a b*", NamePatternError::Name(IdError::BadCharacter)),
        ] {
            assert_eq!(wrong.parse::<NamePattern>(), Err(why));
        }
        assert!("a*b*".parse::<NamePattern>().is_err());
    }
}
