//! The search of the quarantine page as its links change it.
//!
//! "Not replayed" is the page's own default: it is not in the search box, and a link shows the others.

use crate::console::query::PageQuery;
use crate::domain::search::Search;
use crate::quarantine::search::QUARANTINE_KEYS;

/// The address of the page.
pub(crate) const PATH: &str = "/console/quarantine";

/// The search of a visit.
#[derive(Clone, Debug)]
pub(crate) struct QuarantineTerms {
    /// What the box shows.
    pub text: String,
    /// The same as terms; empty if it cannot be read.
    pub search: Search,
    /// Whether messages that were replayed are shown, too.
    pub shows_all: bool,
}

// === impl QuarantineTerms ===

impl QuarantineTerms {
    /// The search of an address.
    pub(crate) fn of(query: &PageQuery) -> Self {
        let text = query.get("search").unwrap_or_default().to_owned();
        let search = Search::read(&text, &QUARANTINE_KEYS).unwrap_or_default();
        Self { text, search, shows_all: query.get("shown") == Some("all") }
    }

    /// The search that the API gets.
    pub(crate) fn effective(&self) -> String {
        let has_own = self.shows_all || self.search.values("replayed").next().is_some();
        let default = if has_own || self.is_unreadable() { "" } else { " replayed:no" };
        format!("{}{default}", self.text).trim().to_owned()
    }

    fn is_unreadable(&self) -> bool {
        self.search.is_empty() && !self.text.trim().is_empty()
    }

    /// The address of the page with another search.
    pub(crate) fn href(&self, search: &Search) -> String {
        self.href_of(&search.to_string())
    }

    /// The address of the page with another search text.
    pub(crate) fn href_of(&self, search: &str) -> String {
        Self::query(search, self.shows_all).href(PATH)
    }

    /// The address with a value of a key, or without it if it is there already.
    pub(crate) fn toggle(&self, key: &'static str, value: &str) -> (String, bool) {
        let is_on = self.search.only(key).as_deref() == Some(quoted(value).as_str());
        let other = if is_on { self.search.without(key) } else { self.search.bound_to(key, value) };
        (self.href(&other), is_on)
    }

    /// The address with the messages of one device.
    pub(crate) fn only_of(&self, tenant: &str, device: &str) -> String {
        self.href(&self.search.bound_to("tenant", tenant).bound_to("device", device))
    }

    /// The address for another period: two times, or a span before now alone.
    pub(crate) fn over(&self, since: &str, until: Option<&str>) -> String {
        let rest = self.search.without("since").without("until").to_string();
        let until = until.map(|until| format!(" until:{until}")).unwrap_or_default();
        self.href_of(format!("{rest} since:{since}{until}").trim())
    }

    /// The state of this page in the address of another page, such as that of a message.
    pub(crate) fn query(search: &str, shows_all: bool) -> PageQuery {
        PageQuery::from([("search", search), ("shown", if shows_all { "all" } else { "" })])
    }

    /// The state of this page.
    pub(crate) fn own_query(&self) -> PageQuery {
        Self::query(&self.text, self.shows_all)
    }
}

/// A value as a search writes it.
fn quoted(value: &str) -> String {
    crate::domain::search::SearchValue::Exact(value.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(query: &str) -> QuarantineTerms {
        QuarantineTerms::of(&PageQuery::parse(query))
    }

    #[test]
    fn only_what_was_not_replayed_is_shown_unless_the_person_says_otherwise() {
        assert_eq!(terms("").effective(), "replayed:no");
        assert_eq!(terms("search=tenant:acme").effective(), "tenant:acme replayed:no");
        assert_eq!(terms("search=replayed:yes").effective(), "replayed:yes");
        assert_eq!(terms("shown=all").effective(), "");
        assert_eq!(terms("search=a:b").effective(), "a:b", "the error is about what was typed");
    }

    #[test]
    fn a_facet_is_set_and_taken_away() {
        let all = terms("shown=all&search=reason:BAD_PAYLOAD+tenant:acme");
        let (href, is_on) = all.toggle("tenant", "acme");
        assert!(is_on);
        assert_eq!(href, "/console/quarantine?search=reason%3ABAD_PAYLOAD&shown=all");
        let (href, is_on) = all.toggle("tenant", "a b");
        assert!(!is_on && href.contains("tenant%3A%22a+b%22"), "{href}");
        let over = terms("search=since:2h+pump-1").over("1h", None);
        assert_eq!(over, "/console/quarantine?search=device%3Apump-1+since%3A1h");
    }
}
