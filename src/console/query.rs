//! The state of a page, which is all in its address: names and values of the query, and addresses
//! with one of them changed.
//!
//! It knows no page.

use std::fmt::Write as _;

/// Most bytes of a query that are read.
const MAX_QUERY: usize = 8 * 1024;

/// The names and values of an address, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageQuery(Vec<(String, String)>);

// === impl PageQuery ===

impl PageQuery {
    /// Reads what follows `?`. What cannot be read, or is too long, is empty.
    pub(crate) fn parse(text: &str) -> Self {
        if text.len() > MAX_QUERY {
            return Self::default();
        }
        Self(serde_urlencoded::from_str(text).unwrap_or_default())
    }

    /// The first value of a name that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The first value of a name, also an empty one.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a name that are not empty.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.0.iter().filter(move |(key, value)| key == name && !value.is_empty());
        pairs.map(|(_, value)| value.as_str())
    }

    /// Whether a name has this value.
    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.all(name).any(|other| other == value)
    }

    /// The same with the only value `value` for `name`, or without the name if it is empty.
    /// The position in a list (`cursor`) does not survive a change of anything else.
    #[must_use]
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut other = self.without(name);
        if !value.is_empty() {
            other.0.push((name.to_owned(), value.to_owned()));
        }
        other
    }

    /// The same without a name, and without the position in a list.
    #[must_use]
    pub(crate) fn without(&self, name: &str) -> Self {
        let kept = self.0.iter().filter(|(key, _)| key != name && key != "cursor");
        Self(kept.cloned().collect())
    }

    /// Only the names in `names`, for a call of the API.
    #[must_use]
    pub(crate) fn only(&self, names: &[&str]) -> Self {
        let kept =
            self.0.iter().filter(|(key, value)| names.contains(&key.as_str()) && !value.is_empty());
        Self(kept.cloned().collect())
    }

    /// The names and values that are not empty.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter().filter(|(_, value)| !value.is_empty());
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// An address with this query.
    pub(crate) fn href(&self, path: &str) -> String {
        match self.encoded() {
            query if query.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }

    /// The text of the query.
    pub(crate) fn encoded(&self) -> String {
        serde_urlencoded::to_string(self.pairs().collect::<Vec<_>>()).unwrap_or_default()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for PageQuery {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
    }
}

/// One segment of a path, percent-encoded.
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_filter_returns_to_the_first_rows() {
        let query = PageQuery::parse("search=site%3Anorth+a&cursor=x&status=&status=ACTIVE");
        assert_eq!(query.get("search"), Some("site:north a"));
        assert_eq!(query.get("status"), Some("ACTIVE"));
        assert_eq!(
            query.with("sort", "name").href("/d"),
            "/d?search=site%3Anorth+a&status=ACTIVE&sort=name"
        );
        assert_eq!(query.with("cursor", "y").get("cursor"), Some("y"));
        assert_eq!(query.without("search").without("status").href("/d"), "/d");
        assert_eq!(query.only(&["cursor"]).encoded(), "cursor=x");
    }

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(segment("a/b?c#é\"%"), "a%2Fb%3Fc%23%C3%A9%22%25");
    }
}
