//! `sluice cert`, as a person types it, with OpenSSL as the judge; and the daemon that looks after
//! what it stored.

mod believed;
mod issuing;
mod keeping;
mod lifecycle;
pub mod office;
mod refusals;
