//! What commands share: their context (settings, database, who runs them), tables and JSON, and text that is safe to print.

pub mod context;
pub mod failure;
pub mod registry_errors;
pub mod table;
pub mod text;
