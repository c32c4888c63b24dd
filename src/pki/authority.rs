//! A certificate authority: its certificate and its key, checked against each other when read.
//!
//! An [`AuthorityCertificate`] verifies, an [`Authority`] signs; neither exists unchecked.
//!
//! [`create`] makes a new authority, [`intermediate`] one below it, [`sign`] signs for devices, [`broker_certificate`] for the
//! broker, [`directory`] finds one of several, [`end`] warns before the end, [`error`] says why one cannot be used. It stores
//! nothing in the registry.

pub mod broker_certificate;
pub mod create;
pub(crate) mod directory;
pub(crate) mod end;
pub(crate) mod error;
pub mod intermediate;
pub mod sign;

use std::fmt;
use std::path::Path;

use rcgen::{Issuer, KeyIdMethod, PublicKeyData};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Name};

use self::error::AuthorityError;
use super::certificate::Certificate;
use super::files;
use super::key::CaKey;
use super::request::public_key::{KeyKind, KeyRefused};
use crate::domain::time::Timestamp;

/// Maximum size of a file with a chain of certificates.
pub(crate) const MAX_CHAIN_BYTES: u64 = 64 * 1024;
/// Length of a generated key identifier: that of SHA-1, as in RFC 5280.
const KEY_ID_BYTES: usize = 20;

/// The certificate of an authority that can sign certificates and CRLs, and its chain up to a root,
/// if given.
#[derive(Clone, Debug)]
pub struct AuthorityCertificate {
    /// At least one; each is signed by the next.
    chain: Vec<Certificate>,
}

/// An authority: a certificate and its private key.
pub struct Authority {
    certificate: AuthorityCertificate,
    issuer: Issuer<'static, CaKey>,
}

// === impl AuthorityCertificate ===

impl AuthorityCertificate {
    /// Reads a PEM file.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        let text = files::read(path, MAX_CHAIN_BYTES)
            .map_err(|source| AuthorityError::Read { path: path.to_owned(), source })?;
        Self::from_pem(&text, now)
    }

    /// Parses PEM: the authority's certificate first, then its chain.
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
        // A self-issued certificate that does not verify with its own key was altered.
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

    /// Its own certificate, and those above it.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Its subject: the issuer of all it signs.
    pub fn name(&self) -> &str {
        self.certificate().subject()
    }

    /// When it ends: the earliest end in its chain.
    pub fn ends(&self) -> Timestamp {
        self.chain
            .iter()
            .map(Certificate::not_after)
            .fold(self.certificate().not_after(), Timestamp::min)
    }

    /// The chain in PEM, its own certificate first: the broker's trust store for devices.
    pub fn bundle_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }

    /// The key identifier in all it signs.
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

/// Checks the powers of the signing certificate.
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

/// Checks what every certificate of the chain needs, whatever its dates.
fn check_kind(certificate: &Certificate) -> Result<(), AuthorityError> {
    let uses = certificate.uses();
    let needs = [
        (uses.is_ca, "its basic constraints lack CA:true"),
        (uses.unknown_critical.is_none(), "it has a critical extension that Sluice does not know"),
    ];
    refuse_first(certificate, &needs)
}

/// Checks that, and the dates.
fn check_place(certificate: &Certificate, now: Timestamp) -> Result<(), AuthorityError> {
    check_kind(certificate)?;
    let (from, until) = (certificate.not_before(), certificate.not_after());
    let advice = match () {
        () if now < from => "set the clock of this machine, or wait",
        () if now >= until => {
            "make a new authority in new files (`sluice ca init`), then \
            issue new certificates"
        }
        () => return Ok(()),
    };
    Err(AuthorityError::NotNow {
        subject: certificate.subject().to_owned(),
        from,
        until,
        now,
        advice,
    })
}

fn refuse_first(
    certificate: &Certificate,
    needs: &[(bool, &'static str)],
) -> Result<(), AuthorityError> {
    match needs.iter().find(|(holds, _)| !holds) {
        Some((_, why)) => {
            Err(AuthorityError::NotAuthority { subject: certificate.subject().to_owned(), why })
        }
        None => Ok(()),
    }
}

fn signs(kind: KeyKind) -> Result<(), AuthorityError> {
    match kind {
        // Deployed brokers and devices do not verify it.
        KeyKind::Ed25519 => {
            Err(KeyRefused::Kind("Ed25519, which many devices cannot verify".to_owned()).into())
        }
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::Rsa { .. } => Ok(()),
    }
}

/// Whether each part of the name has one attribute, and each attribute occurs once, as the writing
/// library requires.
fn is_plain(name: &[u8]) -> bool {
    let Ok((_, name)) = X509Name::from_der(name) else { return false };
    let kinds: Vec<_> = name.iter_attributes().map(AttributeTypeAndValue::attr_type).collect();
    let is_single = name.iter_rdn().all(|part| part.iter().count() == 1);
    is_single && kinds.iter().enumerate().all(|(at, kind)| !kinds[..at].contains(kind))
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose,
        SignatureAlgorithm,
    };

    use super::*;
    use crate::pki::test_samples::{DAY, authority, now, pair};

    /// A self-signed certificate, valid long before and after the sample moment, and its key.
    fn own(
        algorithm: &'static SignatureAlgorithm,
        change: impl Fn(&mut CertificateParams),
    ) -> (String, KeyPair) {
        let key = pair(algorithm);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        (params.self_signed(&key).unwrap().pem(), key)
    }

    fn refused(
        algorithm: &'static SignatureAlgorithm,
        change: impl Fn(&mut CertificateParams),
    ) -> String {
        AuthorityCertificate::from_pem(own(algorithm, change).0.as_bytes(), now())
            .unwrap_err()
            .to_string()
    }

    const P256: &SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;

    #[test]
    fn only_what_can_sign_certificates_and_lists_is_an_authority() {
        for algorithm in [P256, &rcgen::PKCS_ECDSA_P384_SHA384] {
            let (pem, key) = own(algorithm, |_| ());
            let certificate = AuthorityCertificate::from_pem(pem.as_bytes(), now()).unwrap();
            let key = CaKey::from_pem(key.serialize_pem().as_bytes()).unwrap();
            assert!(Authority::new(certificate, key).is_ok());
        }
        assert!(refused(P256, |params| params.is_ca = IsCa::ExplicitNoCa).contains("CA:true"));
        assert!(
            refused(P256, |params| params.key_usages = vec![KeyUsagePurpose::CrlSign])
                .contains("keyCertSign")
        );
        assert!(
            refused(P256, |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign])
                .contains("cRLSign")
        );
        assert!(refused(&rcgen::PKCS_ED25519, |_| ()).contains("Ed25519"));
    }

    #[test]
    fn an_authority_can_be_shared_by_all_tasks_and_never_shows_its_key() {
        fn shared<T: Send + Sync>(value: &T) -> &T {
            value
        }
        assert_eq!(format!("{:?}", shared(&authority())), "Authority(\"CN=Sample CA\", key ***)");
    }

    #[test]
    fn an_authority_is_good_between_its_dates() {
        let authority = authority();
        let pem = authority.certificate().bundle_pem();
        let at = |time| AuthorityCertificate::from_pem(pem.as_bytes(), time);
        assert!(at(now().plus_seconds(3649 * DAY)).is_ok());
        assert!(
            at(now().plus_seconds(3650 * DAY)).unwrap_err().to_string().contains("sluice ca init")
        );
        assert!(at(now().plus_seconds(-400)).unwrap_err().to_string().contains("clock"));
    }

    #[test]
    fn a_key_of_another_authority_does_not_fit() {
        let key = CaKey::generate().unwrap();
        let refused =
            Authority::new(authority().certificate().clone(), key).unwrap_err().to_string();
        assert!(refused.contains("CN=Sample CA") && refused.contains("made together"), "{refused}");
    }

    #[test]
    fn a_chain_is_read_in_order_only() {
        let (root_pem, root_key) =
            own(P256, |params| params.distinguished_name.push(DnType::CommonName, "Root"));
        let root = Issuer::from_ca_cert_pem(&root_pem, &root_key).unwrap();
        let key = pair(P256);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Middle");
        let middle = params.signed_by(&key, &root).unwrap().pem();
        let read =
            |parts: [&str; 2]| AuthorityCertificate::from_pem(parts.concat().as_bytes(), now());
        let chain = read([&middle, &root_pem]).unwrap();
        assert_eq!(
            (chain.name(), chain.bundle_pem()),
            ("CN=Middle", [middle.as_str(), &root_pem].concat())
        );
        assert!(matches!(read([&root_pem, &middle]), Err(AuthorityError::Broken(_))));
        assert!(
            AuthorityCertificate::from_pem(middle.as_bytes(), now()).is_ok(),
            "the root may be elsewhere"
        );
    }

    #[test]
    fn a_name_that_cannot_be_written_is_refused_and_several_parts_are_fine() {
        let two = |params: &mut CertificateParams| {
            params.distinguished_name.push(DnType::CountryName, "SE");
        };
        let (pem, key) = own(P256, two);
        let certificate = AuthorityCertificate::from_pem(pem.as_bytes(), now()).unwrap();
        assert!(
            Authority::new(certificate, CaKey::from_pem(key.serialize_pem().as_bytes()).unwrap())
                .is_ok()
        );
        let part = [0x31, 12, 0x30, 10, 6, 3, 0x55, 4, 11, 0x0c, 3, b'a', b'b', b'c'];
        assert!(is_plain(&crate::pki::test_samples::tagged(0x30, &part)));
        assert!(!is_plain(&crate::pki::test_samples::tagged(0x30, &part.repeat(2))));
    }
}
