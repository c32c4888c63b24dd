//! Keys and X.509 bytes: what we sign, for whom, and proof that it came out as meant.
//!
//! It reads and writes files of keys, certificates and CRLs. It knows no database, no HTTP and no clock: the time, the
//! serial number and the CRL's number are handed in, so that they can be stored before anything is signed. It decides
//! nothing about devices beyond the profile. Each power has its file, in the order of a certificate's life:
//!
//! 1. [`authority`] signs: a certificate and its key that were checked against each other; [`founding`] makes a new one.
//! 2. [`csr`] judges a request, [`public_key`] the key in it; nothing else in the request is believed.
//! 3. [`profile`] says what a device's certificate holds; [`identity`] how a device is written into it.
//! 4. [`issuer`] signs it, and [`lint`] reads every field of the result back before it leaves.
//! 5. [`crl`] lists what is revoked; [`crl_file`] puts the list where the broker reads it, and looks after it there.
//!    [`canary`] makes the certificates that prove what the broker does with the list.
//! 6. [`import`] judges a certificate that was not issued here.
//!
//! Two libraries on purpose: one writes, the other reads back.

pub mod authority;
pub mod certificate;
pub mod crl;
pub mod files;
pub mod key;
pub mod request;
pub mod serial;
#[cfg(test)]
mod test_samples;
mod x509_time;

/// Everything signed here begins this many seconds in the past: a clock that lags behind refuses nothing.
pub const BACKDATING_SECONDS: i64 = 300;
