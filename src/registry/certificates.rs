//! Decisions about certificates: issue, renew, rotate, import, revoke, and the upkeep that ends them in time.

pub mod find;
pub mod import;
pub mod issue;
pub mod renew;
pub mod revoke;
pub mod rotate;
pub mod upkeep;
