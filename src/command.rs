//! What commands share. In reading order: [`context`] is who runs a command and its database,
//! [`list_args`] holds the arguments of all lists, [`failure`] is the exit code, [`registry_errors`]
//! maps registry errors to failures, [`table`] prints, [`text`] escapes. It knows no command.

pub mod context;
pub mod failure;
pub mod list_args;
pub mod registry_errors;
pub mod table;
pub mod text;
