//! Creates an authority: a key and a self-signed certificate.
//!
//! It writes no file. The authority signs devices or the broker's certificate, and no further
//! authority, unless it is made a root of intermediate authorities.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose, SerialNumber};

use super::error::AuthorityError;
use super::{Authority, AuthorityCertificate};
use crate::domain::ids::MAX_COMMON_NAME_LEN;
use crate::domain::time::Timestamp;
use crate::pki::BACKDATING_SECONDS;
use crate::pki::key::{CaKey, KeyError, PrivateKeyPem};
use crate::pki::request::profile::named;
use crate::pki::serial::{Serial, SerialError};
use crate::pki::x509_time;

const SECONDS_PER_DAY: i64 = 86_400;

/// An authority's name: the common name of its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityName(String);

/// Why no authority was created.
#[derive(Debug, thiserror::Error)]
pub enum CreateAuthorityError {
    /// Its lifetime is zero or not representable.
    #[error(
        "an authority cannot be valid for {0} days: choose at least one day and an end before the \
         year 10000"
    )]
    Days(u32),
    /// The random generator failed.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// The authority above may sign no authority.
    #[error(
        "{0} may sign no other authority (its path length is 0): make a root for intermediate \
         authorities with `sluice ca init --intermediates`"
    )]
    PathLength(String),
    /// The authority above has the same name.
    #[error("the authority above is called {0}, too: choose another --name")]
    SameName(String),
    /// The key could not be created.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The library could not sign.
    #[error("the authority's certificate could not be signed: {0}")]
    Sign(#[from] rcgen::Error),
    /// The result is not an authority.
    #[error("the new authority failed its check and was discarded: {0}")]
    Unusable(#[from] AuthorityError),
}

/// Creates an authority with an ECDSA P-256 key; returns the key once, for its file.
pub fn found(
    name: &AuthorityName,
    validity_days: u32,
    now: Timestamp,
) -> Result<(Authority, PrivateKeyPem), CreateAuthorityError> {
    self_signed(name, 0, validity_days, now)
}

/// The same, for an authority that signs one level of intermediate authorities, too.
pub fn found_root(
    name: &AuthorityName,
    validity_days: u32,
    now: Timestamp,
) -> Result<(Authority, PrivateKeyPem), CreateAuthorityError> {
    self_signed(name, 1, validity_days, now)
}

/// What every authority's certificate has, valid for this time and no longer than until `limit`.
pub(super) fn params_of(
    name: &AuthorityName,
    path_length: u8,
    validity_days: u32,
    limit: Option<Timestamp>,
    now: Timestamp,
) -> Result<CertificateParams, CreateAuthorityError> {
    let now_second = x509_time::whole_second(now);
    let ends = now_second.plus_seconds(i64::from(validity_days) * SECONDS_PER_DAY);
    let ends = limit.map_or(ends, |limit| ends.min(limit));
    let dates = (
        x509_time::to_x509(now_second.plus_seconds(-BACKDATING_SECONDS)),
        x509_time::to_x509(ends),
    );
    let (Some(from), Some(until), 1..) = (dates.0, dates.1, validity_days) else {
        return Err(CreateAuthorityError::Days(validity_days));
    };
    let mut params = CertificateParams::default();
    params.not_before = from.to_datetime();
    params.not_after = until.to_datetime();
    params.serial_number = Some(SerialNumber::from_slice(Serial::random()?.magnitude()));
    params.distinguished_name = named(&name.0);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn self_signed(
    name: &AuthorityName,
    path_length: u8,
    validity_days: u32,
    now: Timestamp,
) -> Result<(Authority, PrivateKeyPem), CreateAuthorityError> {
    let params = params_of(name, path_length, validity_days, None, now)?;
    let key = CaKey::generate()?;
    let pem = params.self_signed(&key)?.pem();
    let secret = key.to_pem();
    let certificate = AuthorityCertificate::from_pem(pem.as_bytes(), now)?;
    Ok((Authority::new(certificate, key)?, secret))
}

// === impl AuthorityName ===

impl std::str::FromStr for AuthorityName {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let fits = (1..=MAX_COMMON_NAME_LEN).contains(&name.chars().count());
        if name.trim() != name || name.chars().any(char::is_control) || !fits {
            return Err(
                "an authority's name has 1 to 64 characters, no control character, and no space \
                 at either end",
            );
        }
        Ok(Self(name.to_owned()))
    }
}

impl std::fmt::Display for AuthorityName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
