//! One visit of a page: who, with which preferences, at which address. Every handler takes it as its
//! first argument; without a session the browser goes to the login page and comes back.
//!
//! It authenticates no one: the middleware of sessions does.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};

use super::frame::{Frame, NavPage};
use super::notice::{Notice, Redirected};
use super::preferences::Preferences;
use super::query::PageQuery;
use crate::http::SignedIn;

/// The page where a person signs in.
pub(crate) const LOGIN: &str = "/console/login";

/// The longest address that the login page returns to.
const MAX_NEXT: usize = 2 * 1024;

/// htmx sends it with each of its requests.
const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");

/// What a proxy says about the scheme; it only shows in commands to copy.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A visit of a person who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub person: SignedIn,
    pub surroundings: Surroundings,
}

/// What is known of every request, signed in or not.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub preferences: Preferences,
    pub query: PageQuery,
    /// Path and query of the address that the browser shows.
    pub here: String,
    /// Scheme and host, as the browser sent them.
    pub origin: String,
    pub notice: Option<Notice>,
    /// Whether htmx wants a part of the page.
    pub is_partial: bool,
}

// === impl Visit ===

impl Visit {
    /// The frame of the page of this visit.
    pub(crate) fn frame(&self, title: impl Into<String>, active: NavPage) -> Frame {
        self.surroundings.frame(title, active, Some(self.person.clone()))
    }

    /// The names and values of the address.
    pub(crate) fn query(&self) -> &PageQuery {
        &self.surroundings.query
    }

    /// Whether htmx wants only the part that changes.
    pub(crate) fn is_partial(&self) -> bool {
        self.surroundings.is_partial
    }
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Redirected;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let surroundings = Surroundings::of(&parts.method, &parts.uri, &parts.headers);
        match parts.extensions.get::<SignedIn>() {
            Some(person) => Ok(Self { person: person.clone(), surroundings }),
            None => Err(surroundings.to_login()),
        }
    }
}

// === impl Surroundings ===

impl Surroundings {
    pub(crate) fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or("localhost");
        let scheme = text(FORWARDED_PROTO).filter(|scheme| *scheme == "https").unwrap_or("http");
        let path = uri.path_and_query().map_or("/console", |path| path.as_str());
        // An action has no page of its own.
        let here = if method.is_safe() { path } else { "/console" };
        Self {
            preferences: Preferences::of(headers),
            query: PageQuery::parse(uri.query().unwrap_or_default()),
            here: here.to_owned(),
            origin: format!("{scheme}://{host}"),
            notice: Notice::of(headers),
            is_partial: headers.contains_key(HX_REQUEST),
        }
    }

    pub(crate) fn frame(
        &self,
        title: impl Into<String>,
        active: NavPage,
        person: Option<SignedIn>,
    ) -> Frame {
        Frame {
            title: title.into(),
            active,
            person,
            preferences: self.preferences,
            notice: self.notice.clone(),
            same_by: Vec::new(),
            here: self.here.clone(),
            origin: self.origin.clone(),
            search: String::new(),
            search_action: "/console/go".to_owned(),
            has_plots: false,
            has_stream: false,
        }
    }

    /// The login page, which leads back here.
    pub(crate) fn to_login(&self) -> Redirected {
        let next = if self.here.len() <= MAX_NEXT { self.here.as_str() } else { "/console" };
        Redirected::to(PageQuery::from([("next", next)]).href(LOGIN))
    }
}

impl<S: Sync> FromRequestParts<S> for Surroundings {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.method, &parts.uri, &parts.headers))
    }
}
