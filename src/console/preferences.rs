//! What a browser prefers: dark or light, UTC or local times, single keys on or off. Three cookies
//! that only the server writes, so that a page comes as it will stay.
//!
//! They hold nothing about the person.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

/// The longest header with cookies that is read.
const MAX_COOKIES: usize = 8 * 1024;

/// How long a browser keeps a preference, in seconds: 400 days, the most that browsers allow.
const KEPT_SECONDS: u32 = 400 * 24 * 60 * 60;

/// The colours of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the system has it.
    #[default]
    System,
    Light,
    Dark,
}

/// Everything a browser prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preferences {
    pub theme: Theme,
    /// Whether times are shown in the zone of the browser.
    pub is_local_time: bool,
    /// Whether keys without Ctrl do nothing.
    pub is_keys_off: bool,
}

/// The cookie of a preference.
const THEME: &str = "sluice_theme";
const ZONE: &str = "sluice_zone";
const KEYS: &str = "sluice_keys";

// === impl Theme ===

impl Theme {
    /// Its name in the cookie, the form and the attribute of the page.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    fn from_label(label: &str) -> Self {
        match label {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::System,
        }
    }

    /// The theme that the switch chooses next.
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::System => Self::Dark,
            Self::Dark => Self::Light,
            Self::Light => Self::System,
        }
    }
}

// === impl Preferences ===

impl Preferences {
    /// Reads the cookies of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self {
            theme: cookie(headers, THEME).map(Theme::from_label).unwrap_or_default(),
            is_local_time: cookie(headers, ZONE) == Some("local"),
            is_keys_off: cookie(headers, KEYS) == Some("off"),
        }
    }

    /// The cookie that sets a preference by the field of a form; `None` if there is no such
    /// preference or value.
    pub(crate) fn set_cookie(name: &str, value: &str) -> Option<String> {
        let cookie = match (name, value) {
            ("theme", "system" | "light" | "dark") => THEME,
            ("zone", "utc" | "local") => ZONE,
            ("keys", "on" | "off") => KEYS,
            _ => return None,
        };
        Some(format!(
            "{cookie}={value}; Path=/console; Max-Age={KEPT_SECONDS}; HttpOnly; SameSite=Lax"
        ))
    }
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
    let texts = texts.filter(|text| text.len() <= MAX_COOKIES);
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_read_as_it_is_set() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("theme", "dark"), ("zone", "local"), ("keys", "off")] {
            let cookie = Preferences::set_cookie(name, value).unwrap();
            headers.append(COOKIE, cookie.split(';').next().unwrap().parse().unwrap());
        }
        let expected = Preferences { theme: Theme::Dark, is_local_time: true, is_keys_off: true };
        assert_eq!(Preferences::of(&headers), expected);
        assert_eq!(Preferences::of(&HeaderMap::new()), Preferences::default());
        assert_eq!(Preferences::set_cookie("theme", "pink; Path=/"), None);
    }
}
