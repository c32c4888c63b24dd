//! Who may use the console: [`operators`], [`sessions`], and the codes of one-time links
//! ([`login_codes`]).
//!
//! It sees no token, no cookie and no code, only their SHA-256.

pub(crate) mod login_codes;
pub(crate) mod operators;
pub(crate) mod sessions;
