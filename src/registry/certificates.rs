//! Decisions about certificates, one per file.
//!
//! In reading order: [`issue`] signs and stores one. [`renew`] and [`rotate`] issue its successor.
//! [`import`] registers one that was signed elsewhere. [`revoke`] ends one early. [`upkeep`]
//! retires and expires them in time. [`find`] resolves their names.

pub mod find;
pub mod import;
pub mod issue;
pub mod renew;
pub mod revoke;
pub mod rotate;
pub mod upkeep;
