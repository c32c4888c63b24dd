//! What lists share: the pager below the rows, and the filters above them as links and fields.
//!
//! The state of a list is in its address, so Back and Reload show the same rows.

use super::query::PageQuery;

/// Rows of a page of a list.
pub(crate) const ROWS: u32 = 50;

/// The links below the rows of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pager {
    /// The rows of this page.
    pub shown: usize,
    /// How many rows there are in all: "212 found", "more than 10,000".
    pub found: String,
    /// The address of the first rows, if these are others.
    pub first: Option<String>,
    /// The address of the following rows, if there are any.
    pub next: Option<String>,
    /// The label of the link to the following rows.
    pub next_label: &'static str,
}

/// One value of a filter: a link that sets it, or takes it away.
#[derive(Clone, Debug)]
pub(crate) struct FilterLink {
    pub label: String,
    pub href: String,
    pub is_on: bool,
    pub count: Option<u64>,
}

/// A `<select>` or a box of a form that filters by GET.
#[derive(Clone, Debug)]
pub(crate) struct FilterField {
    pub name: &'static str,
    pub label: &'static str,
    pub value: String,
    /// Value and label of each choice; empty: free text.
    pub choices: Vec<(String, String)>,
    pub placeholder: &'static str,
}

// === impl Pager ===

impl Pager {
    /// For a list at `path` whose next page has this cursor.
    pub(crate) fn new(path: &str, query: &PageQuery, shown: usize, next: Option<&str>) -> Self {
        let first = query.get("cursor").map(|_| query.without("cursor").href(path));
        let next = next.map(|cursor| query.with("cursor", cursor).href(path));
        Self { shown, found: String::new(), first, next, next_label: "Older" }
    }

    /// With another label of the link to the following rows.
    #[must_use]
    pub(crate) fn labelled(self, next_label: &'static str) -> Self {
        Self { next_label, ..self }
    }
}

// === impl FilterLink ===

impl FilterLink {
    /// A link that sets `name` to `value` in the address, or removes it if it is so already.
    pub(crate) fn toggle(
        path: &str,
        query: &PageQuery,
        name: &str,
        value: &str,
        label: impl Into<String>,
    ) -> Self {
        let is_on = query.has(name, value);
        let other = if is_on { query.without(name) } else { query.with(name, value) };
        Self { label: label.into(), href: other.href(path), is_on, count: None }
    }

    /// With the number of rows that it leaves.
    #[must_use]
    pub(crate) fn counting(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }
}

// === impl FilterField ===

impl FilterField {
    /// A choice among values, the first of which is "all".
    pub(crate) fn choice(
        query: &PageQuery,
        name: &'static str,
        label: &'static str,
        choices: &[(&str, &str)],
    ) -> Self {
        let choices = choices.iter().map(|(value, label)| ((*value).into(), (*label).into()));
        let value = query.get(name).unwrap_or_default().to_owned();
        Self { name, label, value, choices: choices.collect(), placeholder: "" }
    }

    /// A box for a text.
    pub(crate) fn text(
        query: &PageQuery,
        name: &'static str,
        label: &'static str,
        placeholder: &'static str,
    ) -> Self {
        let value = query.get(name).unwrap_or_default().to_owned();
        Self { name, label, value, choices: Vec::new(), placeholder }
    }

    pub(crate) fn is_chosen(&self, choice: &str) -> bool {
        self.value == choice
    }
}
