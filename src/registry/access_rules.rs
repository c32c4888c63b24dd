//! The broker's access rules, written from the registry. It decides nothing about a device: the
//! registry holds its status.
//!
//! In reading order: [`writer`] keeps the file at `ACL_OUTPUT_PATH` up to date. [`template`] parses
//! the operator's lines, [`template_file`] reads them again when they change, [`form`] chooses
//! patterns or rows, [`content`] renders the lines, [`mod@file`] writes and checks the file.
//! [`file_identity`] detects changes without a read.

pub mod content;
pub mod file;
pub mod file_identity;
pub mod form;
pub mod template;
pub mod template_file;
pub mod writer;
