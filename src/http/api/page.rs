//! Pages: a bounded number of rows, and the cursor to the next ones.
//!
//! A cursor names the last row of its page, so a client reads every row once, even if rows are
//! added meanwhile.

use schemars::JsonSchema;
use serde::Serialize;

/// One page.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub(crate) struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Send it as `cursor` to get the next page; null on the last page.
    pub next: Option<String>,
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
