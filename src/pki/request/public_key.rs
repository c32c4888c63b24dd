//! Decides which public keys are strong enough.
//!
//! It checks only the key: not its holder, and not its use.

use std::fmt;

use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519,
};
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

/// Minimum length of an RSA key; shorter ones can be broken.
const MIN_RSA_BITS: usize = 2048;
/// Maximum length of an RSA key; longer ones make each handshake too expensive for the broker.
const MAX_RSA_BITS: usize = 4096;
/// Minimum RSA exponent; smaller ones have known attacks.
const MIN_RSA_EXPONENT: u64 = 65537;
/// First byte of an uncompressed point; the libraries parse no other form.
const UNCOMPRESSED: u8 = 4;

/// An accepted kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
    /// RSA, with its length.
    Rsa {
        /// The length of the modulus.
        bits: usize,
    },
}

/// Why a key is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// The algorithm or the curve is not supported.
    #[error(
        "the kind of the key is not accepted ({0}): use ECDSA P-256 or P-384, Ed25519, or RSA \
         2048 to 4096"
    )]
    Kind(String),
    /// The RSA key is too short or too long.
    #[error(
        "the RSA key has {0} bits, but {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted: make \
         another key, preferably ECDSA P-256"
    )]
    RsaBits(usize),
    /// The RSA exponent is not supported.
    #[error(
        "the RSA key's public exponent is not an odd number of at least {MIN_RSA_EXPONENT}: make \
         another key"
    )]
    RsaExponent,
    /// The EC point is compressed or malformed.
    #[error("the key's point is compressed: make the key without point compression")]
    Point,
    /// The bytes are no key.
    #[error("the public key cannot be read")]
    Garbled,
}

// === impl KeyKind ===

impl KeyKind {
    /// Returns the kind of an accepted key.
    pub(crate) fn of(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, KeyRefused> {
        let algorithm = &key.algorithm.algorithm;
        if *algorithm == OID_SIG_ED25519 {
            return Ok(Self::Ed25519);
        }
        if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            return of_curve(key);
        }
        if *algorithm != OID_PKCS1_RSAENCRYPTION {
            return Err(KeyRefused::Kind(format!("algorithm {algorithm}")));
        }
        match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => of_rsa(&rsa),
            _ => Err(KeyRefused::Garbled),
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
        }
    }
}

// --- private helpers ---

fn of_curve(key: &SubjectPublicKeyInfo<'_>) -> Result<KeyKind, KeyRefused> {
    let parameters = key.algorithm.parameters.as_ref().ok_or(KeyRefused::Garbled)?;
    let curve = parameters.as_oid().map_err(|_| KeyRefused::Kind("a custom curve".to_owned()))?;
    let (kind, point_bytes) = if curve == OID_EC_P256 {
        (KeyKind::EcdsaP256, 65)
    } else if curve == OID_NIST_EC_P384 {
        (KeyKind::EcdsaP384, 97)
    } else {
        return Err(KeyRefused::Kind(format!("curve {curve}")));
    };
    let point = &key.subject_public_key.data;
    let full = point.first() == Some(&UNCOMPRESSED) && point.len() == point_bytes;
    if full { Ok(kind) } else { Err(KeyRefused::Point) }
}

fn of_rsa(key: &RSAPublicKey<'_>) -> Result<KeyKind, KeyRefused> {
    let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = &key.modulus[zeros..];
    let first = modulus.first().ok_or(KeyRefused::Garbled)?;
    let bits = modulus.len() * 8 - first.leading_zeros() as usize;
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(KeyRefused::RsaBits(bits));
    }
    let exponent = key.try_exponent().map_err(|_| KeyRefused::RsaExponent)?;
    if exponent < MIN_RSA_EXPONENT || exponent % 2 == 0 {
        return Err(KeyRefused::RsaExponent);
    }
    Ok(KeyKind::Rsa { bits })
}
