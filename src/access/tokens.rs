//! JSON Web Tokens: the compact form, the claims, the issuers' keys, and the verification of a signature.
//!
//! It says who a token names. What that subject may do is for `policy`.

pub mod cache;
pub mod claims;
pub mod compact;
pub mod error;
pub mod fetch;
pub mod key_refresh;
pub mod keys;
pub mod proof;
pub mod verify;
