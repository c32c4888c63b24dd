//! Tokens that `PyJWT` made, in the eyes of Sluice; and the keepers of keys, with issuers that rotate, fail and misbehave.

mod believed;
mod issuer;
mod kept;
pub mod pyjwt;
mod scene;
mod secured;
