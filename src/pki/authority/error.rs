//! Why an authority cannot be used: its files, its certificate, its key or its dates.
//!
//! It checks nothing.

use std::io;
use std::path::PathBuf;

use crate::domain::time::Timestamp;
use crate::pki::certificate::CertificateFieldError;
use crate::pki::key::KeyError;
use crate::pki::request::public_key::KeyRefused;

/// Why an authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The file cannot be read.
    #[error("the certificate {path} cannot be read: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificate cannot be parsed.
    #[error(transparent)]
    Certificate(#[from] CertificateFieldError),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate is not an authority's.
    #[error("{subject} cannot be used as an authority: {why}; `sluice ca init` makes one that can")]
    NotAuthority {
        /// Its subject.
        subject: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is not valid now.
    #[error(
        "the certificate of {subject} is valid from {from} to {until}, and the time is {now}: \
         {advice}"
    )]
    NotNow {
        /// Its subject.
        subject: String,
        /// When it begins.
        from: Timestamp,
        /// When it ends.
        until: Timestamp,
        /// The time of the check.
        now: Timestamp,
        /// What to do.
        advice: &'static str,
    },
    /// Its key is weak or of an unsupported kind.
    #[error("the authority's key is not accepted: {0}")]
    Weak(#[from] KeyRefused),
    /// The signatures of the file do not form a chain.
    #[error(
        "the certificate of {0} is not signed by the certificate that follows it: put the chain \
         in order, the authority's own certificate first"
    )]
    Broken(String),
    /// The key belongs to another certificate.
    #[error(
        "the key does not belong to the certificate of {0}: name the two files that were made \
         together"
    )]
    Mismatch(String),
    /// The writing library cannot reproduce its name: certificates would name another issuer.
    #[error(
        "the authority's name {0} repeats an attribute or has two attributes in one part, so \
         Sluice cannot write it into certificates: use an authority with a simpler name"
    )]
    Name(String),
}

// === impl AuthorityError ===

impl AuthorityError {
    /// The error without the current time, for callers that log a repeated error once.
    pub fn timeless(&self) -> String {
        match self {
            Self::NotNow { subject, until, now, advice, .. } if now >= until => {
                format!("the certificate of {subject} expired at {until}: {advice}")
            }
            Self::NotNow { subject, from, advice, .. } => {
                format!("the certificate of {subject} is not valid before {from}: {advice}")
            }
            other => other.to_string(),
        }
    }
}
