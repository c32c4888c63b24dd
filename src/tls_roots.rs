//! Root certificates that Sluice trusts as a TLS client: those of a file, or the system's.
//!
//! It reads files and opens no connection. Nothing here disables verification.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::rustls::RootCertStore;

use crate::disk;

/// The system's root certificates, as error texts name them.
pub const SYSTEM: &str = "/etc/ssl/certs";

/// Longest certificate file: the roots of a whole system are a quarter of it.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The authorities in this file, or the system's. The error is the cause. Blocks.
pub fn read(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = file {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err("the system has no root certificates".to_owned());
    }
    Ok(roots)
}

/// The certificates in this file, at least one. The error is the cause. Blocks.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = disk::read(path, MAX_FILE_BYTES).map_err(|error| error.to_string())?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| error.to_string())?;
    if chain.is_empty() { Err("it contains no certificate".to_owned()) } else { Ok(chain) }
}
