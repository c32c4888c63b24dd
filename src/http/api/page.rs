//! Pages: a bounded number of rows, and the cursor to the next ones.
//!
//! A cursor names the last row of its page, so a client reads every row once, even if rows are
//! added meanwhile.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One page.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub(crate) struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Send it as `cursor` to get the next page; null on the last page.
    pub next: Option<String>,
}

/// One page, and how many rows the search finds.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CountedPageOf{T}")]
pub(crate) struct CountedPage<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Send it as `cursor` to get the next page; null on the last page.
    pub next: Option<String>,
    /// The number of rows on all pages; null without `count=true`.
    pub found: Option<FoundRows>,
}

/// How many rows a search finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FoundRows {
    /// The number of rows, at most the bound of the count.
    pub rows: u32,
    /// Whether there are more rows than that.
    pub more: bool,
}

// === impl Page ===

impl<T> Page<T> {
    /// A page of up to [`Self::fetch`] rows, each shown as a `T`.
    pub(crate) fn new<R>(mut rows: Vec<R>, limit: u32, cursor: impl FnOnce(&R) -> String) -> Self
    where
        T: From<R>,
    {
        let limit = limit as usize;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(cursor);
        Self { items: rows.into_iter().map(T::from).collect(), next }
    }

    /// The number of rows to query: one more than the page shows, which tells whether more rows
    /// exist.
    pub(crate) const fn fetch(limit: u32) -> u32 {
        limit + 1
    }
}

// === impl CountedPage ===

impl<T> CountedPage<T> {
    /// This page, with the number of rows that its list has.
    pub(crate) fn new(page: Page<T>, found: Option<FoundRows>) -> Self {
        Self { items: page.items, next: page.next, found }
    }
}

// === impl FoundRows ===

impl FoundRows {
    /// From a count that stops at one more than `bound`.
    pub(crate) fn of(counted: u32, bound: u32) -> Self {
        Self { rows: counted.min(bound), more: counted > bound }
    }
}
