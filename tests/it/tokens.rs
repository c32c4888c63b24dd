//! Tokens that `PyJWT` made, in the eyes of Sluice; and the keepers of keys, with issuers that
//! rotate, fail and misbehave.

pub mod accepted;
pub mod issuer;
pub mod kept;
pub mod pyjwt;
pub mod secured;
pub mod verifier;
