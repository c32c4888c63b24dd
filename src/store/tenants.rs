//! Replaced by the registry's side of the store.
