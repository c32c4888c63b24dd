//! Maps errors of the certificate registry to problems: the kind, the field, and the advice.
//!
//! It decides nothing; the registry writes the sentence of an error.

use super::problem::{Problem, ProblemKind};
use crate::pki::request::csr::RequestError;
use crate::pki::request::profile::ProfileError;
use crate::registry::SignerError;
use crate::registry::certificates::import::ImportError;
use crate::registry::certificates::issue::IssueError;
use crate::registry::certificates::renew::RenewError;
use crate::registry::certificates::renew_by_device::DeviceRenewalError;
use crate::store::certificates::CertificateError;

/// The field with a certificate request.
pub(crate) const CSR: &str = "csr";
/// The field with the name of an authority.
const AUTHORITY: &str = "authority";
/// The field with a certificate.
pub(super) const CERT_PEM: &str = "cert_pem";

impl From<SignerError> for Problem {
    fn from(error: SignerError) -> Self {
        let what = error.to_string();
        match error {
            SignerError::NoSuchName(_) => Self::refused(AUTHORITY, what),
            SignerError::UnknownIssuer(_) => Self::new(ProblemKind::Conflict, what),
            _ => Self::new(ProblemKind::NotSetUp, what),
        }
    }
}

impl From<IssueError> for Problem {
    fn from(error: IssueError) -> Self {
        let what = format!("issuing the certificate failed: {error}");
        match error {
            IssueError::Store(error) => error.into(),
            IssueError::Request(RequestError::Garbled | RequestError::TooLong) => {
                Self::field(CSR, what)
            }
            IssueError::Request(_) => Self::refused(CSR, what),
            IssueError::Profile(ProfileError::Days(_) | ProfileError::OutlivesAuthority { .. }) => {
                Self::refused("days", what)
            }
            IssueError::Profile(ProfileError::Name(_)) => Self::new(ProblemKind::Refused, what),
            IssueError::Profile(ProfileError::AuthorityEnded { .. }) => {
                Self::new(ProblemKind::NotSetUp, what)
            }
            IssueError::Serial(_) | IssueError::Signing(_) | IssueError::Broken(_) => {
                Self::new(ProblemKind::Internal, what)
            }
        }
    }
}

impl From<RenewError> for Problem {
    fn from(error: RenewError) -> Self {
        match error {
            RenewError::Issue(error) => error.into(),
            RenewError::Store(error) => error.into(),
            RenewError::Revoked(_)
            | RenewError::TooLate { .. }
            | RenewError::Ended(_)
            | RenewError::Name { .. } => Self::new(ProblemKind::Conflict, error.to_string()),
        }
    }
}

impl From<DeviceRenewalError> for Problem {
    fn from(error: DeviceRenewalError) -> Self {
        use DeviceRenewalError as Refused;
        let what = error.to_string();
        match error {
            Refused::Issue(error) => error.into(),
            Refused::Signer(error) => error.into(),
            Refused::Store(CertificateError::Outage(outage)) => outage.into(),
            // The device cannot use the advice to an operator.
            Refused::Store(_)
            | Refused::NoCertificate(_)
            | Refused::Unverifiable(_)
            | Refused::TooManyActive { .. } => Self::new(ProblemKind::Conflict, what),
            Refused::TooOften { .. } => Self::new(ProblemKind::TooManyRequests, what),
            Refused::Device(_) => Self::new(ProblemKind::DeviceRefused, what),
            Refused::NotYours(..)
            | Refused::Proof(_)
            | Refused::Revoked(_)
            | Refused::TooLate { .. }
            | Refused::Replaced(_)
            | Refused::RevokedKey(_) => Self::new(ProblemKind::ProofWrong, what),
        }
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        let what = format!("importing the certificate failed: {error}");
        match error {
            ImportError::Unreadable(_) => Self::field(CERT_PEM, what),
            // The certificate names the missing device, not the path.
            ImportError::Store(CertificateError::NoDevice(_))
            | ImportError::Refused(_)
            | ImportError::OtherDevice { .. } => Self::refused(CERT_PEM, what),
            ImportError::Store(error) => error.into(),
        }
    }
}

impl From<CertificateError> for Problem {
    fn from(error: CertificateError) -> Self {
        let what = error.to_string();
        let advice = match error {
            CertificateError::Outage(outage) => return outage.into(),
            CertificateError::Unknown(_) => {
                return Self::not_found(format!(
                    "{what}; GET /api/v1/certificates lists the certificates"
                ));
            }
            CertificateError::NoDevice(key) => {
                return Self::not_found(format!(
                    "{what}: add it with POST /api/v1/tenants/{}/devices",
                    key.tenant()
                ));
            }
            CertificateError::DeviceRevoked(key) => {
                format!(
                    "PATCH /api/v1/tenants/{}/devices/{} with status ACTIVE activates it again",
                    key.tenant(),
                    key.device()
                )
            }
            CertificateError::FingerprintTaken { id, .. }
            | CertificateError::NotActive { id, .. } => {
                format!("GET /api/v1/certificates/{id} shows it")
            }
            CertificateError::SerialTaken { .. } => {
                "a CRL cannot distinguish two certificates with one serial number; issue a new one"
                    .to_owned()
            }
            CertificateError::ReplacesNone(_) => {
                "send the new certificate of a rotation or a renewal".to_owned()
            }
            CertificateError::Replaced { by, .. } => {
                format!(
                    "renew or rotate that one; if its key was lost, POST /api/v1/certificates/{by}/revoke first"
                )
            }
        };
        Self::new(ProblemKind::Conflict, format!("{what}: {advice}"))
    }
}
