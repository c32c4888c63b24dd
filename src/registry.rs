//! Decides about certificates: joins the signing of [`crate::pki`] and the rows of [`crate::store`], one decision per file.
//!
//! Order of everything that signs: judge the request, plan, write the serial number down, sign, store the row. So a refusal
//! stores nothing, and a power cut leaves a record of every number that may be in the world. It prints nothing and answers
//! no request by itself: the command line and the API call it with the same words.
//!
//! The chain of a revocation: [`publish`] runs it; [`list`](mod@list) makes the CRL and looks after its file; [`enforce`]
//! brings the broker to act on it, told by [`reload`] and watched by [`prove`]; [`endings`] ends live sessions; [`progress`]
//! says how far it came. Beside it [`isolate`] proves that the broker lets a device publish to its own topics alone.
//!
//! In the same turns the broker's access rules are kept: [`acl_keeper`] decides when, [`acl_form`] in which form,
//! [`acl_template`] reads the operator's lines, [`acl_content`] joins them with the devices' and [`acl_file`] writes all of it.
//!
//! Beside certificates there is one thing more that is issued here: the short-lived credentials of [`guests`].

pub mod access_rules;
pub mod authority_watch;
pub mod certificates;
pub mod guests;
pub mod revocation;

use std::sync::Arc;

use crate::config::sections::certificates::CertificatesConfig;
use crate::domain::time::Timestamp;
use crate::pki::authority::{Authority, AuthorityCertificate, AuthorityError};
use crate::pki::request::profile::CertificateProfile;
use crate::store::connection::database::Database;
use crate::store::registry::audit::Actor;

/// Who decides, when, and where it is written down.
#[derive(Clone, Copy, Debug)]
pub struct ActionContext<'a> {
    /// Where.
    pub database: &'a Database,
    /// Who.
    pub actor: &'a Actor,
    /// When.
    pub now: Timestamp,
}

/// The authority at work: what it signs with, and what it signs.
#[derive(Debug)]
pub struct Signer {
    authority: Arc<Authority>,
    profile: CertificateProfile,
}

/// Why nothing can be signed or verified here.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The settings name no file.
    #[error("{0} is not set: name the authority's file, or make an authority with `sluice ca init`")]
    NotSet(&'static str),
    /// The files are no good.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// The authority's certificate, where only verifying is asked for.
pub fn open_authority(settings: &CertificatesConfig, now: Timestamp) -> Result<AuthorityCertificate, SignerError> {
    let certificate = settings.ca_cert_path.as_deref().ok_or(SignerError::NotSet("DEVICE_CA_CERT_PATH"))?;
    Ok(AuthorityCertificate::open(certificate, now)?)
}

// === impl Signer ===

impl Signer {
    /// Reads the authority's files and the profile from the settings.
    pub fn open(settings: &CertificatesConfig, now: Timestamp) -> Result<Self, SignerError> {
        let certificate = settings.ca_cert_path.as_deref().ok_or(SignerError::NotSet("DEVICE_CA_CERT_PATH"))?;
        let key = settings.ca_key_path.as_deref().ok_or(SignerError::NotSet("DEVICE_CA_KEY_PATH"))?;
        let profile = CertificateProfile { cn_format: settings.cn_format, validity_days: settings.validity_days };
        Ok(Self { authority: Arc::new(Authority::open(certificate, key, now)?), profile })
    }

    /// The authority that signs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}
