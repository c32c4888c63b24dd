//! The broker's access rules, written from the registry: [`writer`] keeps the file at `ACL_OUTPUT_PATH` up to date, [`template`]
//! reads the operator's own lines, [`form`] chooses patterns or rows, [`content`] makes the lines, [`file`] writes them.
//!
//! It decides nothing about a device: its status is the registry's.

pub mod bounded_disk;
pub mod content;
pub mod file;
pub mod file_identity;
pub mod form;
pub mod template;
pub mod writer;
