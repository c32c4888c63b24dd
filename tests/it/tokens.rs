//! Tokens that `PyJWT` made, in the eyes of Sluice; and the keepers of keys, with issuers that
//! rotate, fail and misbehave.

pub mod believed;
pub mod issuer;
pub mod kept;
pub mod pyjwt;
pub mod scene;
pub mod secured;
