//! What is asked to be certified: a CSR, a public key, a certificate to import, and the profile and identity it must have.
//!
//! It reads and checks; it signs nothing.

pub mod csr;
pub mod identity;
pub mod import;
pub mod lint;
#[cfg(test)]
mod lint_tests;
pub mod profile;
pub mod public_key;
