//! What a page says once at its head: what an action has done, or why it has not.
//!
//! An action answers with a redirect and its notice in a cookie of one minute; the next page shows
//! it and removes it. No address can put a text on a page.

use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::preferences::cookie;

/// The cookie of a notice.
pub(crate) const COOKIE_NAME: &str = "sluice_notice";

/// Removes the notice.
pub(crate) const CLEARING: &str =
    "sluice_notice=; Path=/console; Max-Age=0; HttpOnly; SameSite=Lax";

/// The longest text of a notice, in bytes: a cookie has room for 4 KB, encoded.
const MAX_TEXT: usize = 900;

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoticeTone {
    Done,
    Warning,
    Failed,
}

/// A notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub tone: NoticeTone,
    pub text: String,
}

/// The answer to an action: the next page, and the notice that it shows.
#[derive(Clone, Debug)]
pub(crate) struct Redirected {
    to: String,
    notice: Option<Notice>,
}

// === impl Notice ===

impl Notice {
    /// It was done.
    pub(crate) fn done(text: impl Into<String>) -> Self {
        Self { tone: NoticeTone::Done, text: text.into() }
    }

    /// It was done, and something is left to do.
    pub(crate) fn warning(text: impl Into<String>) -> Self {
        Self { tone: NoticeTone::Warning, text: text.into() }
    }

    /// It was not done.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self { tone: NoticeTone::Failed, text: text.into() }
    }

    /// The class of its box.
    pub(crate) const fn class(&self) -> &'static str {
        match self.tone {
            NoticeTone::Done => "ok",
            NoticeTone::Warning => "warn",
            NoticeTone::Failed => "bad",
        }
    }

    /// Its icon.
    pub(crate) const fn icon(&self) -> &'static str {
        match self.tone {
            NoticeTone::Done => "check",
            NoticeTone::Warning => "warn",
            NoticeTone::Failed => "cross",
        }
    }

    /// The notice of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = cookie(headers, COOKIE_NAME)?;
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(value).ok()?;
        let (tone, text) = pairs.into_iter().next()?;
        let tone = match tone.as_str() {
            "ok" => NoticeTone::Done,
            "warn" => NoticeTone::Warning,
            _ => NoticeTone::Failed,
        };
        (!text.is_empty()).then_some(Self { tone, text })
    }

    fn set_cookie(&self) -> String {
        let mut end = self.text.len().min(MAX_TEXT);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let pair = [(self.class(), &self.text[..end])];
        let value = serde_urlencoded::to_string(pair).unwrap_or_default();
        format!("{COOKIE_NAME}={value}; Path=/console; Max-Age=60; HttpOnly; SameSite=Lax")
    }
}

// === impl Redirected ===

impl Redirected {
    /// To a page of the console.
    pub(crate) fn to(path: impl Into<String>) -> Self {
        Self { to: path.into(), notice: None }
    }

    /// The page.
    pub(crate) fn into_target(self) -> String {
        self.to
    }

    /// With a notice.
    #[must_use]
    pub(crate) fn with(self, notice: Notice) -> Self {
        Self { notice: Some(notice), ..self }
    }
}

impl IntoResponse for Redirected {
    fn into_response(self) -> Response {
        let mut response = (StatusCode::SEE_OTHER, [(LOCATION, self.to)]).into_response();
        if let Some(cookie) = self.notice.and_then(|notice| notice.set_cookie().parse().ok()) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::COOKIE;

    use super::*;

    #[test]
    fn a_notice_survives_the_redirect_whatever_its_text() {
        for text in ["pump-7 is INACTIVE", "a=b; c, \"é\" <i> & 100 %\r\nX: y"] {
            let sent = Notice::warning(text);
            let response = Redirected::to("/console").with(sent.clone()).into_response();
            assert_eq!(response.status(), StatusCode::SEE_OTHER);
            let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, cookie.split(';').next().unwrap().parse().unwrap());
            assert_eq!(Notice::of(&headers), Some(sent));
        }
        let long = Notice::failed("é".repeat(MAX_TEXT));
        assert!(long.set_cookie().len() < 4_000, "a browser takes it");
    }
}
