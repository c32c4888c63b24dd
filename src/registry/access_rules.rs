//! The broker's access rules, written from the registry. It decides nothing about a device: the
//! registry holds its status.
//!
//! In reading order: [`writer`] keeps the file at `ACL_OUTPUT_PATH` up to date. [`template`] parses
//! the operator's lines, [`template_file`] reads them again when they change, [`form`] chooses
//! patterns or rows, [`content`] renders the lines, [`mod@file`] writes and checks the file.
//! [`file_identity`] detects changes without a read.

pub(crate) mod content;
pub(crate) mod file;
pub(crate) mod file_identity;
pub(crate) mod form;
pub(crate) mod template;
pub(crate) mod template_file;
pub(crate) mod writer;
