//! Tokens that `PyJWT` made, as Sluice sees them; and the refresh of keys, with issuers that
//! rotate, fail and misbehave.

pub mod accepted;
pub mod issuer;
pub mod kept;
pub mod pyjwt;
pub mod secured;
pub mod verifier;
