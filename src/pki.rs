//! Keys, certificates and CRLs: create, sign, read back and verify.
//!
//! It reads and writes files of keys, certificates and CRLs. It knows no database, no HTTP and no
//! clock: the time, the serial number and the CRL's number are parameters, so that they can be
//! stored before anything is signed. It decides nothing about devices beyond the profile.
//!
//! Read it in the order of a certificate's life:
//! 1. [`authority`]: a CA certificate with its key; [`authority::create`] makes one,
//!    [`authority::end`] warns before its end.
//! 2. [`request`]: checks a CSR and its key; the profile and identity of a device;
//!    [`request::lint`] checks what was signed.
//! 3. [`authority::sign`] signs a device's certificate, [`authority::broker_certificate`] the
//!    broker's.
//! 4. [`certificate`] is a certificate that was read, [`serial`] its serial number and fingerprint,
//!    [`decoded`] its fields in words.
//! 5. [`crl`] signs and verifies the CRL; [`crl::file`] writes and inspects its file;
//!    [`crl::probe_pair`] makes probe certificates.
//!    [`pkcs7`] puts certificates into an envelope.
//! 6. [`key`] and [`files`]: private keys, and files that are created once or replaced as a whole.
//!
//! It uses two libraries on purpose: one writes, the other reads back.

pub mod authority;
pub mod certificate;
pub mod crl;
pub(crate) mod decoded;
pub mod files;
pub(crate) mod key;
pub(crate) mod pkcs7;
pub mod request;
pub mod serial;
#[cfg(test)]
mod test_samples;
mod x509_time;

/// Certificates and CRLs begin this many seconds in the past, so that a slow clock does not refuse
/// them.
pub const BACKDATING_SECONDS: i64 = 300;
