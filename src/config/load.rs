//! From sources to checked values.
//!
//! In reading order: [`layers`] reads the sources, with [`mod@file`] for the settings file and
//! files of secrets. `merged` holds the merged texts, with the [`origin`] of each. [`reader`]
//! parses one setting per call. [`cross_checks`] and [`file_checks`] check settings against each
//! other and against the file system. [`error`] defines what can be wrong.
//!
//! All errors are collected and reported at once. Only [`cross_checks`] knows what a setting is
//! for.

pub mod cross_checks;
pub mod error;
pub mod file;
pub mod file_checks;
pub mod layers;
pub(crate) mod merged;
pub mod origin;
pub mod reader;
#[cfg(test)]
mod tests;
mod texts;
