//! Maps registry errors of `sluice cert` to failures: what happened, what to do, and the exit code.
//!
//! It decides nothing; the registry words the errors.

use super::context::outage;
use crate::command::failure::{Exit, Failure};
use crate::pki::request::profile::ProfileError;
use crate::registry::SignerError;
use crate::registry::certificates::import::ImportError;
use crate::registry::certificates::issue::IssueError;
use crate::registry::certificates::renew::RenewError;
use crate::store::certificates::CertificateError;

/// The authority's files cannot be used.
pub fn not_ready(error: &SignerError) -> Failure {
    let exit = match error {
        SignerError::NoSuchName(_) => Exit::Usage,
        _ => Exit::Config,
    };
    Failure::new(exit, error.to_string())
}

/// No certificate was issued.
pub fn not_issued(error: IssueError) -> Failure {
    let exit = match error {
        IssueError::Store(error) => return not_stored(error),
        IssueError::Serial(_) | IssueError::Signing(_) | IssueError::Broken(_) => Exit::Internal,
        IssueError::Profile(ProfileError::AuthorityEnded { .. }) => Exit::Config,
        IssueError::Request(_) | IssueError::Profile(_) => Exit::Usage,
    };
    Failure::new(exit, format!("no certificate was issued: {error}"))
}

/// No certificate was issued as a replacement.
pub fn not_renewed(error: RenewError) -> Failure {
    match error {
        RenewError::Issue(error) => not_issued(error),
        RenewError::Store(error) => not_stored(error),
        RenewError::Revoked(_)
        | RenewError::TooLate { .. }
        | RenewError::Ended(_)
        | RenewError::Name { .. } => Failure::usage(error.to_string()),
    }
}

/// A certificate was not imported.
pub fn not_imported(error: ImportError) -> Failure {
    match error {
        ImportError::Store(error) => not_stored(error),
        ImportError::Unreadable(_) | ImportError::Refused(_) | ImportError::OtherDevice { .. } => {
            Failure::usage(format!("nothing was imported: {error}"))
        }
    }
}

/// The registry has no such certificate, or refuses the change.
pub fn not_stored(error: CertificateError) -> Failure {
    let what = error.to_string();
    let advice = match error {
        CertificateError::Outage(trouble) => return outage(&trouble),
        CertificateError::Unknown(_) => "`sluice cert list` lists all certificates".to_owned(),
        CertificateError::NoDevice(key) => {
            format!("register it with `sluice device add {} {}`", key.tenant(), key.device())
        }
        CertificateError::DeviceRevoked(key) => {
            format!(
                "`sluice device set-status {} {} ACTIVE` activates it again",
                key.tenant(),
                key.device()
            )
        }
        CertificateError::FingerprintTaken { id, .. } => {
            format!("`sluice cert show {id}` shows it")
        }
        CertificateError::SerialTaken { .. } => {
            "a CRL cannot distinguish two certificates with one serial number: have a new one issued"
                .to_owned()
        }
        CertificateError::NotActive { id, .. } => {
            format!("`sluice cert show {id}` shows its state")
        }
        CertificateError::ReplacesNone(_) => {
            "name the new certificate of a rotation or a renewal".to_owned()
        }
        CertificateError::Replaced { by, .. } => {
            format!(
                "renew or rotate {by}; if it was lost, revoke it first with `sluice cert revoke {by}`"
            )
        }
    };
    Failure::usage(format!("{what}: {advice}"))
}
