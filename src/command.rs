//! What commands share. In reading order: [`context`] is who runs a command and its database,
//! [`list_args`] holds the arguments of all lists, [`failure`] is the exit code, [`registry_errors`]
//! maps registry errors to failures, [`table`] prints, [`text`] escapes. It knows no command.

pub(crate) mod context;
pub mod failure;
pub(crate) mod list_args;
pub(crate) mod registry_errors;
pub(crate) mod table;
pub(crate) mod text;
