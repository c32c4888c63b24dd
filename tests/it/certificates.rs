//! `sluice cert`, as a person types it, with OpenSSL as the judge; and the daemon that looks after
//! what it stored.

mod accepted;
pub mod ca_fixture;
mod issuing;
mod keeping;
mod lifecycle;
mod notices;
mod refusals;
mod renewal;
mod renewal_rig;
