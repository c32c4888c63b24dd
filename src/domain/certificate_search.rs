//! What a search for certificates may name: `tenant:acme status:ACTIVE ends:<30d pump-*`.
//!
//! It lists the keys and reads periods of ends. The store decides what each matches.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, Months, NaiveDate, Utc};

use super::search::{Accepts, Search, SearchError, SearchKey, SearchKeys, SearchValue};
use super::time::Timestamp;
use super::time_range::span;

/// The longest span of an end, in seconds: a hundred years.
const MAX_SPAN: i64 = 100 * 366 * 86_400;

/// The years that a period may name.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9998;

/// What may follow `ends:`.
const ENDS: &str = "past, a span such as <30d or >30d, a day, month or year such as 2027-03, or two days such as \
     2027-03-01..2027-03-07";

/// The keys of the list of certificates.
pub const CERTIFICATE_KEYS: SearchKeys = SearchKeys {
    keys: &[
        SearchKey { name: "tenant", accepts: Accepts::Text, help: "certificates of this tenant" },
        SearchKey {
            name: "status",
            accepts: Accepts::Words(|| vec!["ACTIVE", "REVOKED", "EXPIRED"]),
            help: "certificates with this status",
        },
        SearchKey {
            name: "ends",
            accepts: Accepts::Text,
            help: "certificates that end in this period, in UTC: past, <30d, >30d, 2027-03-14, 2027-03, \
                   2027, or 2027-03-01..2027-03-07",
        },
        SearchKey {
            name: "replaced",
            accepts: Accepts::Words(|| vec!["yes", "no"]),
            help: "whether an ACTIVE certificate replaces it",
        },
        SearchKey {
            name: "proven",
            accepts: Accepts::Words(|| vec!["yes", "no"]),
            help: "revoked certificates that the broker is proven to refuse, or not yet",
        },
        SearchKey {
            name: "fingerprint",
            accepts: Accepts::Text,
            help: "the SHA-256 fingerprint in hex, or its beginning with `*`",
        },
        SearchKey {
            name: "serial",
            accepts: Accepts::Text,
            help: "the serial number in hex, or its beginning with `*`",
        },
        SearchKey {
            name: "cn",
            accepts: Accepts::Text,
            help: "the common name, or its beginning with `*`",
        },
        SearchKey {
            name: "device",
            accepts: Accepts::Text,
            help: "certificates of this device; a word without a key means the same",
        },
    ],
    bare: "device",
};

/// A search for certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateSearch(pub Search);

/// A period in which certificates end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndPeriod {
    /// Earlier than this many seconds from now on.
    Within(i64),
    /// Not earlier than that.
    After(i64),
    /// From the first moment of one day to the first moment of another, in UTC.
    Days(NaiveDate, NaiveDate),
}

// === impl CertificateSearch ===

impl FromStr for CertificateSearch {
    type Err = SearchError;

    fn from_str(text: &str) -> Result<Self, SearchError> {
        let search = Search::read(text, &CERTIFICATE_KEYS)?;
        for term in search.terms().iter().filter(|term| term.key == "ends") {
            if EndPeriod::of(&term.value).is_none() {
                return Err(SearchError::Value {
                    key: "ends",
                    value: term.value.to_string(),
                    expected: ENDS.to_owned(),
                });
            }
        }
        Ok(Self(search))
    }
}

impl fmt::Display for CertificateSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

// === impl EndPeriod ===

impl EndPeriod {
    /// The period that a term names; a span alone means "within it".
    pub fn of(value: &SearchValue) -> Option<Self> {
        let SearchValue::Exact(text) = value else { return None };
        if text == "past" {
            return Some(Self::Within(0));
        }
        let bounded = |text: &str| span(text).filter(|seconds| *seconds <= MAX_SPAN);
        if let Some(text) = text.strip_prefix('>') {
            return bounded(text).map(Self::After);
        }
        if let Some(seconds) = bounded(text.strip_prefix('<').unwrap_or(text)) {
            return Some(Self::Within(seconds));
        }
        if let Some((first, last)) = text.split_once("..") {
            let (first, _) = days(first)?;
            let (_, after) = days(last)?;
            return (first < after).then_some(Self::Days(first, after));
        }
        days(text).map(|(first, after)| Self::Days(first, after))
    }

    /// The first moment of the period, and the first after it; `None`: no bound.
    pub fn bounds(self, now: Timestamp) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let start = |day: NaiveDate| day.and_time(chrono::NaiveTime::MIN).and_utc();
        match self {
            Self::Within(seconds) => (None, Some(now.plus_seconds(seconds).to_utc())),
            Self::After(seconds) => (Some(now.plus_seconds(seconds).to_utc()), None),
            Self::Days(first, after) => (Some(start(first)), Some(start(after))),
        }
    }
}

// === private helpers ===

/// The first day of a day, a month or a year, and the day after its last.
fn days(text: &str) -> Option<(NaiveDate, NaiveDate)> {
    let parts: Vec<&str> = text.split('-').collect();
    let is_plain = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !parts.iter().all(is_plain) || parts[0].len() != 4 {
        return None;
    }
    let year = parts[0].parse().ok().filter(|year| YEARS.contains(year))?;
    let number = |at: usize| parts.get(at).filter(|part| part.len() == 2)?.parse::<u32>().ok();
    match parts.len() {
        1 => Some((NaiveDate::from_ymd_opt(year, 1, 1)?, NaiveDate::from_ymd_opt(year + 1, 1, 1)?)),
        2 => {
            let first = NaiveDate::from_ymd_opt(year, number(1)?, 1)?;
            Some((first, first.checked_add_months(Months::new(1))?))
        }
        3 => {
            let day = NaiveDate::from_ymd_opt(year, number(1)?, number(2)?)?;
            Some((day, day.checked_add_days(Days::new(1))?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_span_or_days() {
        let now = Timestamp::from_micros(1_795_000_000_000_000);
        let bounds = |text: &str| {
            EndPeriod::of(&SearchValue::Exact(text.to_owned())).map(|period| period.bounds(now))
        };
        let at = |text: &str| Some(text.parse::<DateTime<Utc>>().unwrap());
        let month = (at("2027-03-01T00:00:00Z"), at("2027-04-01T00:00:00Z"));
        assert_eq!(bounds("2027-03"), Some(month));
        assert_eq!(bounds("2027-03-01..2027-03-31"), Some(month));
        assert_eq!(bounds("2027-12-31").unwrap().1, at("2028-01-01T00:00:00Z"));
        assert_eq!(bounds("2027").unwrap().1, at("2028-01-01T00:00:00Z"));
        assert_eq!(bounds("<30d"), bounds("30d"));
        assert_eq!(bounds("past"), Some((None, Some(now.to_utc()))));
        assert_eq!(bounds(">1d"), Some((Some(now.plus_seconds(86_400).to_utc()), None)));
        for wrong in
            ["", "soon", "2027-13", "2027-3", "2027-02-30", "0001", "9999", "<", "2027-03..2027-02"]
        {
            assert_eq!(bounds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_wrong_end_is_an_error_that_says_what_is_right() {
        let search: CertificateSearch = "pump-* ends:<30d -status:REVOKED".parse().unwrap();
        assert_eq!(search.to_string(), "device:pump-* ends:<30d -status:REVOKED");
        let error = "ends:soon".parse::<CertificateSearch>().unwrap_err().to_string();
        assert!(error.contains("2027-03") && error.contains("soon"), "{error}");
        assert!("ends:2027*".parse::<CertificateSearch>().is_err());
        assert!("colour:red".parse::<CertificateSearch>().is_err());
    }
}
