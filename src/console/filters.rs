//! What templates do with values: times, numbers, icons. Each page's file imports it as `filters`,
//! where askama looks.
//!
//! It formats only.
#![expect(
    clippy::inline_always,
    clippy::unnecessary_wraps,
    clippy::unused_self,
    reason = "askama makes methods of filters, which return results"
)]

use std::borrow::Cow;
use std::fmt::Display;

use askama::Values;
use chrono::{DateTime, SecondsFormat, Utc};

use super::markup::Markup;
use crate::clock;

/// A time that may be absent.
pub(crate) trait MaybeTime {
    /// The time.
    fn time(&self) -> Option<DateTime<Utc>>;
}

/// A whole number that may be absent.
pub(crate) trait MaybeCount {
    /// The number.
    fn number(&self) -> Option<i128>;
}

/// A time as its distance from now, with the whole time in `title`; "never" without one.
#[askama::filter_fn]
pub(crate) fn ago(at: impl MaybeTime, _: &dyn Values) -> askama::Result<Markup> {
    Ok(time_markup(at.time(), "t", |at| relative(clock::now().to_utc(), at)))
}

/// A time to the second.
#[askama::filter_fn]
pub(crate) fn moment(at: impl MaybeTime, _: &dyn Values) -> askama::Result<Markup> {
    Ok(time_markup(at.time(), "t abs", |at| at.format("%Y-%m-%d %H:%M:%S").to_string()))
}

/// A number with a comma between thousands; a dash without one.
#[askama::filter_fn]
pub(crate) fn count(number: impl MaybeCount, _: &dyn Values) -> askama::Result<String> {
    Ok(number.number().map_or_else(|| "–".to_owned(), thousands))
}

/// An icon of `parts/icons.html`.
#[askama::filter_fn]
pub(crate) fn icon(name: impl Display, _: &dyn Values) -> askama::Result<Markup> {
    let mut html = Markup::default();
    html.raw("<svg class=\"i\" aria-hidden=\"true\"><use")
        .attribute("href", format_args!("#i-{name}"));
    html.raw("/></svg>");
    Ok(html)
}

/// Any text as a badge of this tone: `ok`, `warn`, `bad`, `info`, `off`.
#[askama::filter_fn]
pub(crate) fn toned(text: impl Display, _: &dyn Values, tone: &str) -> askama::Result<Markup> {
    Ok(badge_of(tone, &text.to_string()))
}

/// A text of a tone, with the shape that says the same.
pub(crate) fn badge_of(tone: &str, text: &str) -> Markup {
    let icon = match tone {
        "ok" => "check",
        "warn" => "warn",
        "bad" => "cross",
        "info" => "info",
        _ => "off",
    };
    let mut html = Markup::default();
    html.raw("<span").attribute("class", format_args!("badge {tone}"));
    html.raw("><svg class=\"i\" aria-hidden=\"true\"><use");
    html.attribute("href", format_args!("#i-{icon}")).raw("/></svg>").value(text).raw("</span>");
    html
}

/// `at` as seen from `now`: "4 s ago", "in 12 d".
pub(crate) fn relative(now: DateTime<Utc>, at: DateTime<Utc>) -> String {
    let seconds = (now - at).num_seconds();
    let far = seconds.unsigned_abs();
    if far == 0 {
        return "now".to_owned();
    }
    if seconds < 0 { format!("in {}", span(far)) } else { format!("{} ago", span(far)) }
}

/// A span of time in its two largest units at most, as short as a table needs.
pub(crate) fn span(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        DAY.. => format!("{} d", thousands(i128::from(seconds / DAY))),
    }
}

/// 12481 as "12,481".
pub(crate) fn thousands(number: i128) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if number < 0 {
        text.push('−');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

// === private helpers ===

fn time_markup(
    at: Option<DateTime<Utc>>,
    class: &'static str,
    text: impl FnOnce(DateTime<Utc>) -> String,
) -> Markup {
    let mut html = Markup::default();
    let Some(at) = at else {
        html.raw("<span class=\"never\">never</span>");
        return html;
    };
    html.raw("<time").attribute("class", class);
    html.attribute("datetime", at.to_rfc3339_opts(SecondsFormat::Millis, true));
    html.attribute("title", at.format("%Y-%m-%d %H:%M:%S UTC"));
    html.raw(">").value(text(at)).raw("</time>");
    html
}

// === impl MaybeTime ===

impl MaybeTime for DateTime<Utc> {
    fn time(&self) -> Option<DateTime<Utc>> {
        Some(*self)
    }
}

impl<T: MaybeTime> MaybeTime for Option<T> {
    fn time(&self) -> Option<DateTime<Utc>> {
        self.as_ref().and_then(T::time)
    }
}

impl<T: MaybeTime + ?Sized> MaybeTime for &T {
    fn time(&self) -> Option<DateTime<Utc>> {
        (**self).time()
    }
}

// === impl MaybeCount ===

macro_rules! counts {
    ($($number:ty),+) => {
        $(impl MaybeCount for $number {
            fn number(&self) -> Option<i128> {
                i128::try_from(*self).ok()
            }
        })+
    };
}

counts!(i32, i64, u16, u32, u64, usize);

impl<T: MaybeCount> MaybeCount for Option<T> {
    fn number(&self) -> Option<i128> {
        self.as_ref().and_then(T::number)
    }
}

impl<T: MaybeCount + ?Sized> MaybeCount for &T {
    fn number(&self) -> Option<i128> {
        (**self).number()
    }
}

/// A text shortened to `most` characters, with an ellipsis.
pub(crate) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_commas() {
        let numbers = [0, 999, 1_000, 12_481, 1_204_551, -2_014].map(thousands);
        assert_eq!(numbers, ["0", "999", "1,000", "12,481", "1,204,551", "−2,014"]);
    }

    #[test]
    fn a_time_is_shown_by_its_largest_unit() {
        let now = DateTime::from_timestamp(1_000_000_000, 0).unwrap();
        for (seconds, text) in [
            (0, "now"),
            (4, "4 s ago"),
            (119, "1 min ago"),
            (7_200, "2 h ago"),
            (-1_036_800, "in 12 d"),
        ] {
            assert_eq!(relative(now, now - chrono::TimeDelta::seconds(seconds)), text);
        }
    }
}
