//! From text to values: the layers (defaults, file, environment, flags), the reader that parses one setting, and the checks
//! of files and of settings against each other.
//!
//! All mistakes are collected and reported at once. Nothing here knows what a setting is for.

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
