//! Opens the authority that signs: that of the settings, or one of the cells' authorities.
//!
//! The files are read for each order, so that a replaced authority signs at once. Nothing is kept:
//! a private key is in memory as long as its order runs.

use std::path::Path;
use std::sync::Arc;

use crate::config::sections::certificates::CertificatesConfig;
use crate::disk::{self, Unreachable};
use crate::domain::time::Timestamp;
use crate::pki::authority::directory::{self, AuthorityPair, DirectoryError, PairName};
use crate::pki::authority::end::AuthorityEnd;
use crate::pki::authority::error::AuthorityError;
use crate::pki::authority::{Authority, AuthorityCertificate, MAX_CHAIN_BYTES};
use crate::pki::certificate::Certificate;
use crate::pki::files;
use crate::pki::request::profile::CertificateProfile;

/// The authority that signs, with the profile of the certificates it signs.
#[derive(Debug)]
pub struct Signer {
    authority: Arc<Authority>,
    profile: CertificateProfile,
}

/// Which authority signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignerChoice {
    /// That of `DEVICE_CA_CERT_PATH`.
    Own,
    /// The one of this name in `CELL_AUTHORITIES_DIR`.
    Named(PairName),
    /// The one with this subject, which issued the certificate that a device renews. With
    /// `CELL_AUTHORITIES_DIR`, an unknown issuer is refused: the own authority's certificate would be
    /// worth nothing at the broker of another cell.
    Issuer(String),
    /// The same, for an operator: the own authority signs in place of an unknown one.
    IssuerOrOwn(String),
}

/// Why nothing can be signed or verified.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// A setting that names a file is unset.
    #[error(
        "{0} is not set: name the authority's file, or make an authority with `sluice ca init`"
    )]
    NotSet(&'static str),
    /// There is no authority of this name.
    #[error(
        "there is no authority {0}: its files {0}.crt and {0}.key belong into the directory of \
         CELL_AUTHORITIES_DIR"
    )]
    NoSuchName(PairName),
    /// The authority that issued the certificate is not here.
    #[error(
        "the authority {0} is not here, so its certificate is not renewed: an operator puts its files into the \
         directory of CELL_AUTHORITIES_DIR, or issues a certificate of another authority"
    )]
    UnknownIssuer(String),
    /// The files of the authority are unusable.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The authorities of the cells are unusable.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The file system did not answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// Opens the own authority's certificate alone, to verify and not to sign.
fn open_authority(
    settings: &CertificatesConfig,
    now: Timestamp,
) -> Result<AuthorityCertificate, SignerError> {
    let certificate =
        settings.ca_cert_path.as_deref().ok_or(SignerError::NotSet("DEVICE_CA_CERT_PATH"))?;
    Ok(AuthorityCertificate::open(certificate, now)?)
}

/// Opens the certificate of the authority with the subject `issuer`, to verify: one of a cell, or
/// else the own one.
pub fn open_issuer(
    settings: &CertificatesConfig,
    issuer: &str,
    now: Timestamp,
) -> Result<AuthorityCertificate, SignerError> {
    match find_pair(settings, issuer)? {
        Some(pair) => Ok(pair.open_certificate(now)?),
        None => open_authority(settings, now),
    }
}

/// The certificates that lead from any device to a root, each once: the own chain, and those of the
/// cells' authorities that are valid now.
pub fn chains(
    settings: &CertificatesConfig,
    now: Timestamp,
) -> Result<Vec<Certificate>, SignerError> {
    let mut all = open_authority(settings, now)?.chain().to_vec();
    let Some(directory) = &settings.cell_authorities_dir else { return Ok(all) };
    for pair in directory::pairs(directory)? {
        // What ended leads nowhere, and others report what cannot be used.
        let Ok(authority) = pair.open_certificate(now) else { continue };
        for certificate in authority.chain() {
            if !all.iter().any(|one| one.fingerprint() == certificate.fingerprint()) {
                all.push(certificate.clone());
            }
        }
    }
    Ok(all)
}

/// Opens the files of the authority that signs, on a blocking thread.
pub async fn open_signer(
    settings: &CertificatesConfig,
    choice: SignerChoice,
    now: Timestamp,
) -> Result<Signer, SignerError> {
    let place = place_of(settings).to_owned();
    let settings = settings.clone();
    disk::run(&place, move || Signer::open_as(&settings, &choice, now)).await?
}

/// The file or the directory that is waited for.
pub fn place_of(settings: &CertificatesConfig) -> &Path {
    let first = settings.cell_authorities_dir.as_deref().or(settings.ca_cert_path.as_deref());
    first.unwrap_or(Path::new(""))
}

/// Refuses authorities of cells that can never sign. Blocks.
pub fn check_cell_authorities(
    settings: &CertificatesConfig,
    now: Timestamp,
) -> Result<(), DirectoryError> {
    let Some(place) = &settings.cell_authorities_dir else { return Ok(()) };
    directory::check(place, own_subject(settings).as_deref(), now)
}

/// The end of each cell's authority, by name. Blocks.
pub fn cell_authority_ends(
    settings: &CertificatesConfig,
    now: Timestamp,
) -> Result<Vec<(PairName, AuthorityEnd)>, DirectoryError> {
    let Some(place) = &settings.cell_authorities_dir else { return Ok(Vec::new()) };
    directory::ends(place, own_subject(settings).as_deref(), now)
}

// === impl SignerChoice ===

impl SignerChoice {
    /// For a first certificate.
    pub fn first(name: Option<PairName>) -> Self {
        name.map_or(Self::Own, Self::Named)
    }

    /// For the successor of a certificate of `issuer` that an operator wants; a name leads to another
    /// authority.
    pub fn successor(name: Option<PairName>, issuer: &str) -> Self {
        name.map_or_else(|| Self::IssuerOrOwn(issuer.to_owned()), Self::Named)
    }
}

// === impl Signer ===

impl Signer {
    /// Opens the own authority's files and takes the profile from the settings. Blocks.
    pub fn open(settings: &CertificatesConfig, now: Timestamp) -> Result<Self, SignerError> {
        let certificate =
            settings.ca_cert_path.as_deref().ok_or(SignerError::NotSet("DEVICE_CA_CERT_PATH"))?;
        let key =
            settings.ca_key_path.as_deref().ok_or(SignerError::NotSet("DEVICE_CA_KEY_PATH"))?;
        Ok(Self::new(Authority::open(certificate, key, now)?, settings))
    }

    /// The same, for a choice.
    pub fn open_as(
        settings: &CertificatesConfig,
        choice: &SignerChoice,
        now: Timestamp,
    ) -> Result<Self, SignerError> {
        let pair = match choice {
            SignerChoice::Own => None,
            SignerChoice::Issuer(issuer) | SignerChoice::IssuerOrOwn(issuer) => {
                find_pair(settings, issuer)?
            }
            SignerChoice::Named(name) => {
                let place = settings.cell_authorities_dir.as_deref();
                let pair = place.map_or(Ok(None), |place| directory::named(place, name))?;
                Some(pair.ok_or_else(|| SignerError::NoSuchName(name.clone()))?)
            }
        };
        if let Some(pair) = pair {
            return Ok(Self::new(pair.open(now)?, settings));
        }
        let own = Self::open(settings, now)?;
        match choice {
            SignerChoice::Issuer(issuer)
                if settings.cell_authorities_dir.is_some()
                    && own.authority.certificate().name() != issuer =>
            {
                Err(SignerError::UnknownIssuer(issuer.clone()))
            }
            _ => Ok(own),
        }
    }

    /// Returns the authority that signs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The same, shared.
    pub(super) fn shared(&self) -> Arc<Authority> {
        Arc::clone(&self.authority)
    }

    pub(super) const fn profile(&self) -> &CertificateProfile {
        &self.profile
    }

    fn new(authority: Authority, settings: &CertificatesConfig) -> Self {
        let profile = CertificateProfile {
            cn_format: settings.cn_format,
            validity_days: settings.validity_days,
        };
        Self { authority: Arc::new(authority), profile }
    }
}

// --- private helpers ---

/// The files of the cell's authority with the subject `issuer`, unless that is the own one's.
fn find_pair(
    settings: &CertificatesConfig,
    issuer: &str,
) -> Result<Option<AuthorityPair>, DirectoryError> {
    let Some(place) = &settings.cell_authorities_dir else { return Ok(None) };
    if own_subject(settings).is_some_and(|own| own == issuer) {
        return Ok(None);
    }
    directory::find(place, issuer)
}

/// The subject of the own authority, if its file can be read: others report why it cannot.
fn own_subject(settings: &CertificatesConfig) -> Option<String> {
    let text = files::read(settings.ca_cert_path.as_deref()?, MAX_CHAIN_BYTES).ok()?;
    Some(Certificate::from_pem(&text).ok()?.subject().to_owned())
}
