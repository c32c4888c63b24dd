//! What every page works with.
//!
//! It holds no data of a person.

use super::overview_cache::RenderedParts;
use crate::http::PageApi;

/// The state of the console. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct ConsoleState {
    /// The API.
    pub api: PageApi,
    /// The overview of this second.
    pub parts: RenderedParts,
}

// === impl ConsoleState ===

impl ConsoleState {
    pub(super) fn new(api: &PageApi) -> Self {
        Self { api: api.clone(), parts: RenderedParts::default() }
    }
}
