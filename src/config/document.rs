//! Files that settings name and that have an own grammar: the access policy and the links file. Both
//! are JSON or TOML, and both report all their faults at once, each with its place.
//!
//! In reading order: [`tree`] parses a file to values, [`reader`] checks the types of the values. It
//! knows no key of either file.

pub(crate) mod reader;
pub(crate) mod tree;
