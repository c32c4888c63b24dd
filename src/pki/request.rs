//! Requests for certificates, and the checks of their results. It signs nothing and stores nothing.
//!
//! 1. [`csr`] checks a certificate request, [`public_key`] its key.
//! 2. [`profile`] plans a device's certificate, [`identity`] writes the device into it.
//! 3. [`lint`] compares a signed certificate with its plan.
//! 4. [`proof`] checks that the holder of a certificate requests its successor.
//! 5. [`import`] checks a certificate that was issued elsewhere.
//! 6. [`renewal_request`] is what a simulated device sends to renew its own.

pub mod csr;
pub mod identity;
pub mod import;
pub(crate) mod lint;
#[cfg(test)]
mod lint_tests;
pub mod profile;
pub mod proof;
pub mod public_key;
pub(crate) mod renewal_request;
