//! Decisions about tenants, devices and certificates: joins the signing of [`crate::pki`] with the
//! rows of [`crate::store`].
//!
//! In reading order: [`tenants`] and [`devices`] add, change and remove. [`certificates`] issues,
//! renews, rotates, imports and revokes, one decision per file. [`revocation`] carries a revoked row
//! to its proof at the broker. [`access_rules`] keeps the broker's access rules equal to the
//! registry. [`authority_watch`] reports the end of the authority. [`guests`] issues short-lived
//! public credentials. [`cells`] joins and leaves the registry of cells, and watches the copy.
//! [`enrolment`] makes the codes of first certificates and redeems them. [`operators`] makes the
//! tokens of people. [`replicas`] says which replicas may drain, and which sessions are orphaned.
//! [`health`] is how its tasks report faults.
//!
//! Everything that signs follows one order: judge the request, plan, reserve the serial number,
//! sign, store the row. A refusal stores nothing, and a power cut leaves a record of every number
//! that may be in use. It prints nothing and answers no request: the command line and the API call
//! the same functions.

pub(crate) mod access_rules;
pub(crate) mod authority_watch;
pub(crate) mod cells;
pub(crate) mod certificates;
pub(crate) mod devices;
pub(crate) mod enrolment;
pub mod guests;
mod health;
pub(crate) mod operators;
pub(crate) mod replicas;
pub(crate) mod revocation;
pub(crate) mod tenants;

use std::sync::Arc;

use crate::config::sections::certificates::CertificatesConfig;
use crate::disk::{self, Unreachable};
use crate::domain::time::Timestamp;
use crate::pki::authority::error::AuthorityError;
use crate::pki::authority::{Authority, AuthorityCertificate};
use crate::pki::request::profile::CertificateProfile;
use crate::store::connection::database::Database;
use crate::store::registry::audit::Actor;

/// What every change needs: the database, the actor for the audit log, and the time.
#[derive(Clone, Copy, Debug)]
pub struct ActionContext<'a> {
    /// The database the change is written to.
    pub database: &'a Database,
    /// The actor recorded in the audit log.
    pub actor: &'a Actor,
    /// The time at which the decision is made.
    pub now: Timestamp,
}

/// The authority that signs, with the profile of the certificates it signs.
#[derive(Debug)]
pub struct Signer {
    authority: Arc<Authority>,
    profile: CertificateProfile,
}

/// Why nothing can be signed or verified.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// A setting that names a file is unset.
    #[error(
        "{0} is not set: name the authority's file, or make an authority with `sluice ca init`"
    )]
    NotSet(&'static str),
    /// The files of the authority are unusable.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The file system did not answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// Opens the authority's certificate alone, to verify and not to sign.
pub fn open_authority(
    settings: &CertificatesConfig,
    now: Timestamp,
) -> Result<AuthorityCertificate, SignerError> {
    let certificate =
        settings.ca_cert_path.as_deref().ok_or(SignerError::NotSet("DEVICE_CA_CERT_PATH"))?;
    Ok(AuthorityCertificate::open(certificate, now)?)
}

/// Opens the files of the authority that signs, on a blocking thread: for each order, so that a
/// replaced authority signs at once.
pub async fn open_signer(
    settings: &CertificatesConfig,
    now: Timestamp,
) -> Result<Signer, SignerError> {
    let path = settings.ca_cert_path.clone().unwrap_or_default();
    let settings = settings.clone();
    disk::run(&path, move || Signer::open(&settings, now)).await?
}

// === impl Signer ===

impl Signer {
    /// Opens the authority's files and takes the profile from the settings.
    pub fn open(settings: &CertificatesConfig, now: Timestamp) -> Result<Self, SignerError> {
        let certificate =
            settings.ca_cert_path.as_deref().ok_or(SignerError::NotSet("DEVICE_CA_CERT_PATH"))?;
        let key =
            settings.ca_key_path.as_deref().ok_or(SignerError::NotSet("DEVICE_CA_KEY_PATH"))?;
        let profile = CertificateProfile {
            cn_format: settings.cn_format,
            validity_days: settings.validity_days,
        };
        Ok(Self { authority: Arc::new(Authority::open(certificate, key, now)?), profile })
    }

    /// Returns the authority that signs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}
