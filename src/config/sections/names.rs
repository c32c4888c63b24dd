//! Lists of names in one text, separated by commas.

/// The names of a list.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Whether a text is a list of names.
pub(super) fn is_list(text: &str) -> bool {
    text.split(',').all(|word| !word.trim().is_empty())
}
