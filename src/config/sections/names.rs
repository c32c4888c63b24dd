//! Parses a list of names separated by commas.

/// Returns the names in a list.
pub(super) fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Whether `text` is a list without empty names.
pub(super) fn is_list(text: &str) -> bool {
    text.split(',').all(|word| !word.trim().is_empty())
}
