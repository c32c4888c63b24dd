//! Decisions about certificates, one per file.
//!
//! In reading order: [`issue`] signs and stores one. [`renew`] and [`rotate`] issue its successor.
//! [`import`] registers one that was signed elsewhere. [`revoke`] ends one early. [`upkeep`]
//! retires and expires them in time. [`find`] resolves their names.

pub(crate) mod find;
pub(crate) mod import;
pub(crate) mod issue;
pub(crate) mod renew;
pub(crate) mod revoke;
pub(crate) mod rotate;
pub(crate) mod upkeep;
