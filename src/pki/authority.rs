//! The authority that signs: its certificate, and its key, checked against each other once.
//!
//! Whoever holds an [`AuthorityCertificate`] can verify, whoever holds an [`Authority`] can sign; neither can be wrong.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{Issuer, KeyIdMethod, PublicKeyData};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Name};

use super::certificate::{Certificate, CertificateError};
use super::files;
use super::key::{CaKey, KeyError};
use super::public_key::{KeyKind, KeyRefused};
use crate::domain::time::Timestamp;

/// The longest file a chain of certificates is looked for in.
const MAX_CHAIN_BYTES: u64 = 64 * 1024;
/// The bytes of a key identifier that is made here: those of SHA-1, which RFC 5280 had in mind.
const KEY_ID_BYTES: usize = 20;

/// The certificate of an authority that can sign certificates and CRLs, and those above it up to a root, if given.
#[derive(Clone, Debug)]
pub struct AuthorityCertificate {
    /// At least one; each is signed by the next.
    chain: Vec<Certificate>,
}

/// An authority: a certificate and the key that belongs to it.
pub struct Authority {
    certificate: AuthorityCertificate,
    issuer: Issuer<'static, CaKey>,
}

/// Why there is no authority.
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
    /// The certificate makes no sense.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key makes no sense.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Not an authority's.
    #[error("{subject} cannot be used as an authority: {why}; `sluice ca init` makes one that can")]
    NotAuthority {
        /// Whose certificate.
        subject: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Its dates.
    #[error("the certificate of {subject} is good from {from} to {until}, and it is {now}: {advice}")]
    NotNow {
        /// Whose certificate.
        subject: String,
        /// When it begins.
        from: Timestamp,
        /// When it ends.
        until: Timestamp,
        /// When it was looked at.
        now: Timestamp,
        /// What to do.
        advice: &'static str,
    },
    /// A weak key, or one of another kind.
    #[error("the authority's key is not accepted: {0}")]
    Weak(#[from] KeyRefused),
    /// The signatures of the file do not form a chain.
    #[error(
        "the certificate of {0} is not signed by the one behind it: put the chain in order, the authority's own first"
    )]
    Broken(String),
    /// The key belongs to another certificate.
    #[error("the key does not belong to the certificate of {0}: name the two files that were made together")]
    Mismatch(String),
    /// A name we cannot write as it stands, so that what we sign would name another issuer.
    #[error(
        "the authority's name, {0}, repeats an attribute or joins two in one part, and cannot be written into what \
         it signs: use an authority with a simpler name"
    )]
    Name(String),
}

// === impl AuthorityCertificate ===

impl AuthorityCertificate {
    /// Reads it from a file in PEM.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        let text = files::read(path, MAX_CHAIN_BYTES)
            .map_err(|source| AuthorityError::Read { path: path.to_owned(), source })?;
        Self::from_pem(&text, now)
    }

    /// Reads it from PEM text: its own certificate first, then those above it.
    pub fn from_pem(text: &[u8], now: Timestamp) -> Result<Self, AuthorityError> {
        let chain = Certificate::chain_from_pem(text)?;
        check_powers(&chain[0])?;
        for certificate in &chain {
            check_place(certificate, now)?;
        }
        for pair in chain.windows(2) {
            if !pair[0].is_signed_by(&pair[1]) {
                return Err(AuthorityError::Broken(pair[0].subject().to_owned()));
            }
        }
        // A root signs itself; one that only says so was altered.
        let last = chain.last().filter(|last| last.subject() == last.issuer());
        match last.filter(|root| !root.is_signed_by(root)) {
            Some(root) => Err(AuthorityError::Broken(root.subject().to_owned())),
            None => Ok(Self { chain }),
        }
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.chain[0]
    }

    /// What `issuer` says in all it signs.
    pub fn name(&self) -> &str {
        self.certificate().subject()
    }

    /// All certificates of the chain in PEM, its own first: what the broker trusts devices by.
    pub fn bundle_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }

    /// By which what it signs names its key.
    pub(super) fn key_id(&self) -> Vec<u8> {
        let derived = || Sha256::digest(self.certificate().key())[..KEY_ID_BYTES].to_vec();
        self.certificate().uses().key_id.clone().unwrap_or_else(derived)
    }
}

// === impl Authority ===

impl Authority {
    /// Reads certificate and key from their files.
    pub fn open(certificate: &Path, key: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        Self::new(AuthorityCertificate::open(certificate, now)?, CaKey::open(key)?)
    }

    /// Joins a certificate and its key.
    pub fn new(certificate: AuthorityCertificate, key: CaKey) -> Result<Self, AuthorityError> {
        let own = certificate.certificate();
        if own.key() != key.subject_public_key_info() {
            return Err(AuthorityError::Mismatch(own.subject().to_owned()));
        }
        let unwritable = || AuthorityError::Name(own.subject().to_owned());
        if !is_plain(&own.subject_name().der) {
            return Err(unwritable());
        }
        let der = CertificateDer::from(own.der());
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|_| unwritable())?;
        Ok(Self { certificate, issuer })
    }

    /// Its certificate.
    pub const fn certificate(&self) -> &AuthorityCertificate {
        &self.certificate
    }

    pub(super) const fn issuer(&self) -> &Issuer<'static, CaKey> {
        &self.issuer
    }

    pub(super) fn key_id_method(&self) -> KeyIdMethod {
        KeyIdMethod::PreSpecified(self.certificate.key_id())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({:?}, key ***)", self.certificate.name())
    }
}

// --- private helpers ---

/// What only the one that signs needs.
fn check_powers(own: &Certificate) -> Result<(), AuthorityError> {
    let uses = own.uses();
    let needs = [
        (uses.signs_certificates, "its key usage lacks keyCertSign"),
        (uses.signs_crls, "its key usage lacks cRLSign"),
        (!own.subject().is_empty(), "it has no name"),
    ];
    refuse_first(own, &needs)?;
    own.key_kind().clone().map_err(AuthorityError::Weak).and_then(signs)
}

/// What every certificate of the chain needs.
fn check_place(certificate: &Certificate, now: Timestamp) -> Result<(), AuthorityError> {
    let uses = certificate.uses();
    let needs = [
        (uses.is_ca, "its basic constraints lack CA:true"),
        (uses.unknown_critical.is_none(), "it has a critical extension that is not understood here"),
    ];
    refuse_first(certificate, &needs)?;
    let (from, until) = (certificate.not_before(), certificate.not_after());
    let advice = match () {
        () if now < from => "set the clock of this machine, or wait",
        () if now >= until => "make a new authority with `sluice ca init`, and new certificates",
        () => return Ok(()),
    };
    Err(AuthorityError::NotNow { subject: certificate.subject().to_owned(), from, until, now, advice })
}

fn refuse_first(certificate: &Certificate, needs: &[(bool, &'static str)]) -> Result<(), AuthorityError> {
    match needs.iter().find(|(holds, _)| !holds) {
        Some((_, why)) => Err(AuthorityError::NotAuthority { subject: certificate.subject().to_owned(), why }),
        None => Ok(()),
    }
}

fn signs(kind: KeyKind) -> Result<(), AuthorityError> {
    match kind {
        // Brokers and devices in the field verify it in no certificate.
        KeyKind::Ed25519 => Err(KeyRefused::Kind("Ed25519, which many devices cannot verify".to_owned()).into()),
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::Rsa { .. } => Ok(()),
    }
}

/// Whether each part of the name has one attribute, and each attribute stands once: what the writer can write.
fn is_plain(name: &[u8]) -> bool {
    let Ok((_, name)) = X509Name::from_der(name) else { return false };
    let kinds: Vec<_> = name.iter_attributes().map(AttributeTypeAndValue::attr_type).collect();
    let is_single = name.iter_rdn().all(|part| part.iter().count() == 1);
    is_single && kinds.iter().enumerate().all(|(at, kind)| !kinds[..at].contains(kind))
}
