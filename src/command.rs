//! What commands share. In reading order: [`context`] is who runs a command and its database,
//! [`failure`] its exit code, [`registry_errors`] maps registry errors to failures, [`table`]
//! prints, [`text`] escapes. It knows no command.

pub mod context;
pub mod failure;
pub mod registry_errors;
pub mod table;
pub mod text;
