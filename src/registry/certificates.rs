//! Decisions about certificates, one per file.
//!
//! In reading order: [`issue`] signs and stores one. [`renew`] and [`rotate`] issue its successor,
//! [`renew_by_device`] does at the request of the device itself. [`import`] registers one that was signed elsewhere. [`revoke`] ends one early. [`upkeep`]
//! retires and expires them in time, and writes the notices of their end; [`public_keys`] fills in
//! hashes. [`find`] resolves their names.

pub(crate) mod find;
pub(crate) mod import;
pub(crate) mod issue;
mod public_keys;
pub(crate) mod renew;
pub(crate) mod renew_by_device;
pub(crate) mod revoke;
pub(crate) mod rotate;
pub(crate) mod upkeep;
