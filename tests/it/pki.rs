//! What Sluice signs, as OpenSSL and pkilint see it; and what OpenSSL makes, as Sluice sees it.

mod lint;
pub mod openssl;
mod proofs;
mod requests;
mod verified;
