//! The registry in Postgres: tenants and devices, the look-ups of the authorization, the feed of their changes, the audit log.
//!
//! It stores decisions and makes none: those are in the wing `registry`.

pub mod audit;
pub mod broker_acl;
pub mod bulk_enroll;
pub mod change_feed;
pub mod devices;
pub mod directory;
pub mod tenants;
pub mod token_hex;
