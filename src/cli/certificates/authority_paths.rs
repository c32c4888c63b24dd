//! The authority's files as `sluice ca` names them: from options or settings, and the state of the
//! CRL file.
//!
//! It creates and changes no file.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::command::failure::{Exit, Failure};
use crate::command::text::moment;
use crate::config::sections::certificates::CertificatesConfig;
use crate::domain::time::Timestamp;
use crate::pki::authority::AuthorityCertificate;
use crate::pki::crl::file::{self, CrlState};

/// Where the authority's files are; the settings name the others.
#[derive(Clone, Debug, Args)]
pub struct AuthorityPaths {
    /// The authority's certificate, instead of `DEVICE_CA_CERT_PATH`
    #[arg(long, value_name = "FILE")]
    pub(super) cert: Option<PathBuf>,
    /// The authority's key, instead of `DEVICE_CA_KEY_PATH`
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// The authority's CRL, instead of `CRL_OUTPUT_PATH`
    #[arg(long, value_name = "FILE")]
    pub(super) crl: Option<PathBuf>,
}

// === impl AuthorityPaths ===

impl AuthorityPaths {
    pub(super) fn or(&self, settings: &CertificatesConfig) -> Self {
        Self {
            cert: self.cert.clone().or_else(|| settings.ca_cert_path.clone()),
            key: self.key.clone().or_else(|| settings.ca_key_path.clone()),
            crl: self.crl.clone().or_else(|| settings.crl_output_path.clone()),
        }
    }

    pub(super) fn cert(&self) -> Result<&Path, Failure> {
        named(
            self.cert.as_deref(),
            "the authority's certificate",
            "--cert FILE or DEVICE_CA_CERT_PATH",
        )
    }

    pub(super) fn key(&self) -> Result<&Path, Failure> {
        named(self.key.as_deref(), "the authority's key", "--key FILE or DEVICE_CA_KEY_PATH")
    }
}

/// The failure of a file that cannot be used.
pub(super) fn unusable(path: &Path, error: &impl ToString) -> Failure {
    Failure::new(Exit::Config, format!("{}: {}", path.display(), error.to_string()))
}

/// The state of the CRL in `path`; `Err` is why it cannot be used.
pub(super) fn crl_state(
    path: &Path,
    authority: &AuthorityCertificate,
    now: Timestamp,
) -> Result<String, String> {
    match file::inspect(path, authority, now, None) {
        CrlState::Bad(fault) => Err(fault.to_string()),
        CrlState::Good(crl) => {
            let ends = moment(crl.next_update().to_utc());
            Ok(format!(
                "good: number {}, {} revoked, until {ends}",
                crl.number(),
                crl.entries().len()
            ))
        }
    }
}

// === private helpers ===

fn named<'a>(path: Option<&'a Path>, what: &str, how: &str) -> Result<&'a Path, Failure> {
    path.ok_or_else(|| Failure::usage(format!("no file is named for {what}: set {how}")))
}
