//! The CRL: signed, read back, and never used unverified.
//!
//! Version 2, with its number, the authority's key identifier and reason codes. Only verification
//! makes a [`Crl`], also of one signed here. The caller decides which certificates it lists.
//! [`mod@sign`] signs one, [`mod@file`] writes it for the broker, [`probe_pair`] makes certificates
//! that probe its effect.

pub mod file;
pub(crate) mod probe_pair;
pub mod sign;

use std::fmt;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Version};
use x509_parser::revocation_list::RevokedCertificate;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::authority::AuthorityCertificate;
use super::certificate::pem_text;
use super::serial::Serial;
use super::x509_time;
use crate::domain::time::Timestamp;

/// Maximum size of a CRL: a million entries, ten times what a broker loads in a second.
pub const MAX_CRL_BYTES: u64 = 64 * 1024 * 1024;

const PEM_TAG: &str = "X509 CRL";

/// The revocation reasons of RFC 5280 that apply to devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RevocationReason {
    /// No reason; the CRL omits the code.
    Unspecified,
    /// The private key is, or may be, known to others.
    KeyCompromise,
    /// The device changed its owner or its name.
    AffiliationChanged,
    /// Another certificate has replaced it.
    Superseded,
    /// The device is out of service.
    CessationOfOperation,
    /// Its privileges were withdrawn.
    PrivilegeWithdrawn,
}

/// One entry of a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlEntry {
    /// The certificate's serial number.
    pub serial: Serial,
    /// When it was revoked.
    pub revoked_at: Timestamp,
    /// The reason.
    pub reason: RevocationReason,
}

/// A CRL whose issuer, signature, number and order of dates are verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    number: u64,
    this_update: Timestamp,
    next_update: Timestamp,
    has_key_id: bool,
    /// By serial number.
    entries: Vec<CrlEntry>,
}

/// Why a CRL is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// The bytes are no CRL, or more than one.
    #[error("expected exactly one CRL in PEM or DER")]
    Garbled,
    /// Another authority issued it.
    #[error("another authority issued it: {0}")]
    WrongIssuer(String),
    /// It was altered, or signed with another key.
    #[error("its signature is not the authority's")]
    BadSignature,
    /// A field is missing or malformed.
    #[error("{0}")]
    Field(&'static str),
    /// The library could not sign.
    #[error("the CRL could not be signed: {0}")]
    Sign(rcgen::Error),
    /// The signed CRL differs from the input.
    #[error("what was signed is not what was meant, and was thrown away: {0}")]
    Lint(&'static str),
}

/// When a CRL in DER becomes valid and when it ends, unverified; `None` if it cannot be read.
pub fn times_of(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    let next = list.next_update().map(x509_time::from_x509)?;
    Some((x509_time::from_x509(list.last_update()), next))
}

// === impl RevocationReason ===

impl RevocationReason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// Its name in RFC 5280, and in tables and commands.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
        }
    }

    /// Parses the name, ignoring case.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.label().eq_ignore_ascii_case(label))
    }

    const fn code(self) -> rcgen::RevocationReason {
        match self {
            Self::Unspecified => rcgen::RevocationReason::Unspecified,
            Self::KeyCompromise => rcgen::RevocationReason::KeyCompromise,
            Self::AffiliationChanged => rcgen::RevocationReason::AffiliationChanged,
            Self::Superseded => rcgen::RevocationReason::Superseded,
            Self::CessationOfOperation => rcgen::RevocationReason::CessationOfOperation,
            Self::PrivilegeWithdrawn => rcgen::RevocationReason::PrivilegeWithdrawn,
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

// === impl Crl ===

impl Crl {
    /// Parses a CRL in PEM or DER and verifies that `authority` signed it. The caller checks its
    /// dates.
    pub fn read(bytes: &[u8], authority: &AuthorityCertificate) -> Result<Self, CrlError> {
        let der = if bytes.first() == Some(&0x30) { bytes.to_vec() } else { from_pem(bytes)? };
        let Ok(([], list)) = CertificateRevocationList::from_der(&der) else {
            return Err(CrlError::Garbled);
        };
        if list.issuer().as_raw() != authority.certificate().subject_name().der {
            return Err(CrlError::WrongIssuer(list.issuer().to_string()));
        }
        let key = SubjectPublicKeyInfo::from_der(authority.certificate().key());
        let is_signed =
            |(_, key): (_, SubjectPublicKeyInfo<'_>)| list.verify_signature(&key).is_ok();
        if list.signature_algorithm != list.tbs_cert_list.signature || !key.is_ok_and(is_signed) {
            return Err(CrlError::BadSignature);
        }
        if list.version() != Some(X509Version::V2) {
            return Err(CrlError::Field("it is not version 2"));
        }
        let this_update = x509_time::from_x509(list.last_update());
        let next_update =
            list.next_update().map(x509_time::from_x509).filter(|next| *next > this_update);
        let next_update = next_update
            .ok_or(CrlError::Field("its nextUpdate is missing or not after its thisUpdate"))?;
        let mut entries =
            list.iter_revoked_certificates().map(read_entry).collect::<Result<Vec<_>, _>>()?;
        entries.sort_by(|one, other| one.serial.cmp(&other.serial));
        let (number, has_key_id) = read_extensions(&list, authority)?;
        Ok(Self { der, number, this_update, next_update, has_key_id, entries })
    }

    /// The bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The same as PEM text.
    pub fn to_pem(&self) -> String {
        pem_text(PEM_TAG, &self.der)
    }

    /// Its number; each CRL has a higher one than the last.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// When it begins.
    pub const fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// When it ends; from then on the broker refuses every device.
    pub const fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// Its entries, sorted by serial number.
    pub fn entries(&self) -> &[CrlEntry] {
        &self.entries
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Crl(number {}, {} entries, until {})",
            self.number,
            self.entries.len(),
            self.next_update
        )
    }
}

// --- private helpers ---

fn from_pem(text: &[u8]) -> Result<Vec<u8>, CrlError> {
    let mut lists = CertificateRevocationListDer::pem_slice_iter(text);
    match (lists.next(), lists.next()) {
        (Some(Ok(list)), None) => Ok(list.to_vec()),
        _ => Err(CrlError::Garbled),
    }
}

fn read_entry(entry: &RevokedCertificate<'_>) -> Result<CrlEntry, CrlError> {
    let serial = Serial::from_der_integer(entry.raw_serial());
    let serial = serial.map_err(|_| CrlError::Field("an entry's serial number is invalid"))?;
    let code = entry.reason_code().map(|(_, code)| code.0);
    // A reason that Sluice never writes: the certificate is revoked nevertheless.
    let known = code.and_then(|code| {
        RevocationReason::ALL.into_iter().find(|reason| reason.code() as u8 == code)
    });
    let reason = known.unwrap_or(RevocationReason::Unspecified);
    Ok(CrlEntry { serial, revoked_at: x509_time::from_x509(entry.revocation_date), reason })
}

/// The number, and whether the authority's key identifier is there; a wrong one, or a critical
/// extension, is an error.
fn read_extensions(
    list: &CertificateRevocationList<'_>,
    authority: &AuthorityCertificate,
) -> Result<(u64, bool), CrlError> {
    let (mut number, mut has_key_id) = (None, false);
    for extension in list.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::CRLNumber(big) if number.is_none() => number = u64::try_from(big).ok(),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                if id.key_identifier.as_ref().is_some_and(|id| id.0 != authority.key_id()) {
                    return Err(CrlError::Field(
                        "its authority key identifier is of another \
                        authority",
                    ));
                }
                has_key_id = id.key_identifier.is_some();
            }
            // A delta CRL or a partitioned one does not list every revocation.
            _ if extension.critical => {
                return Err(CrlError::Field("it has a critical extension, and Sluice writes none"));
            }
            _ => {}
        }
    }
    number
        .map(|number| (number, has_key_id))
        .ok_or(CrlError::Field("its CRL number is missing or longer than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::sign::sign;
    use super::*;
    use crate::pki::test_samples::{authority, now};

    pub(super) fn entry(serial: &[u8], seconds_ago: i64, reason: RevocationReason) -> CrlEntry {
        CrlEntry {
            serial: Serial::from_magnitude(serial).unwrap(),
            revoked_at: now().plus_seconds(-seconds_ago),
            reason,
        }
    }

    #[test]
    fn a_list_reads_back_from_pem_and_der_as_it_was_signed() {
        let authority = authority();
        let mut all: Vec<CrlEntry> = RevocationReason::ALL
            .iter()
            .map(|reason| entry(&[0x80, *reason as u8], 60, *reason))
            .collect();
        all.reverse();
        let crl = sign(&authority, u64::MAX, &all, 168, now()).unwrap();
        for bytes in [crl.der(), crl.to_pem().as_bytes()] {
            assert_eq!(Crl::read(bytes, authority.certificate()).unwrap(), crl);
        }
        assert_eq!((crl.number(), crl.entries().len()), (u64::MAX, 6));
        assert_eq!(crl.this_update(), x509_time::whole_second(now()).plus_seconds(-300));
        assert_eq!(crl.next_update(), x509_time::whole_second(now()).plus_seconds(168 * 3600));
        assert!(crl.entries().iter().any(|entry| entry.serial == all[0].serial));
    }

    #[test]
    fn a_foreign_an_altered_and_a_garbled_crl_are_distinguished() {
        let (one, namesake) = (authority(), authority());
        let crl = sign(&one, 1, &[], 7, now()).unwrap();
        assert_eq!(
            Crl::read(crl.der(), namesake.certificate()).unwrap_err(),
            CrlError::BadSignature
        );
        let (other, _) =
            crate::pki::authority::create::found(&"Other CA".parse().unwrap(), 30, now()).unwrap();
        let refused = Crl::read(crl.der(), other.certificate()).unwrap_err();
        assert_eq!(refused, CrlError::WrongIssuer("CN=Sample CA".to_owned()));
        let mut flipped = crl.der().to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(Crl::read(&flipped, one.certificate()).unwrap_err(), CrlError::BadSignature);
        let pem = crl.to_pem();
        for wrong in ["", "x", &pem[..pem.len() / 2], &pem.repeat(2)] {
            assert_eq!(
                Crl::read(wrong.as_bytes(), one.certificate()).unwrap_err(),
                CrlError::Garbled
            );
        }
    }

    #[test]
    fn reasons_have_the_names_and_numbers_of_the_standard() {
        for reason in RevocationReason::ALL {
            assert_eq!(RevocationReason::from_label(&reason.label().to_uppercase()), Some(reason));
        }
        assert_eq!(RevocationReason::from_label("certificateHold"), None);
        let codes = RevocationReason::ALL.map(|reason| reason.code() as u8);
        assert_eq!(codes, [0, 1, 3, 4, 5, 9]);
    }
}
