//! JSON Web Tokens: which subject a token names, proved by the signature of a trusted issuer.
//!
//! Read it in this order:
//!
//! 1. [`cache`] is the entry point and skips tokens verified a moment ago;
//! 2. [`verify`] checks a token against its issuer;
//! 3. [`compact`] decodes its parts, [`claims`] reads the subject, [`proof`] is the result,
//!    [`error`] the refusal;
//! 4. [`keys`] holds the public keys of one issuer;
//! 5. [`key_refresh`] keeps them current, [`fetch`] requests them.
//!
//! It does not decide what a subject may do: [`super::policy`] does.

pub(crate) mod cache;
pub(crate) mod claims;
pub(crate) mod compact;
pub mod error;
pub(crate) mod fetch;
pub mod key_refresh;
pub(crate) mod keys;
pub mod proof;
pub mod verify;
