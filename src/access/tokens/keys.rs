//! An issuer's public keys, from a JSON Web Key Set or from PEM, and the check of a signature with
//! one of them.
//!
//! A key verifies by the algorithm of its own type, whatever the token claims. Secret keys (`oct`)
//! are never accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use serde_json::Value;
use tokio_rustls::rustls::server::ParsedCertificate;

use super::proof::half_hash;

/// The most keys of an issuer: a token without `kid` is checked against each.
const MAX_KEYS: usize = 32;

/// The shortest accepted RSA modulus: 2048 bits.
const RSA_BYTES_MIN: usize = 256;

/// `rsaEncryption`, as a public key names its algorithm.
const RSA: &[u8] = &[0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
/// `id-ecPublicKey` on P-256.
const P256: &[u8] = &[
    0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1,
    7,
];
/// `id-Ed25519`.
const EDWARDS: &[u8] = &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70];

/// The accepted signature algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS#1 v1.5, SHA-256.
    Rs256,
    /// ECDSA on P-256, SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// The keys of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet(Vec<VerifyingKey>);

/// One public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    id: Option<Box<str>>,
    public: PublicKey,
    /// Identifies the key after its set is replaced.
    hash: [u8; 16],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PublicKey {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Why a text yields no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The text is not a key set.
    #[error("the content is not a JSON Web Key Set ({0})")]
    NotASet(String),
    /// The text is not PEM.
    #[error("the content is not PEM with public keys or certificates ({0})")]
    NotPem(String),
    /// The text contains no usable key.
    #[error("it contains no key for RS256 (2048 bits or more), ES256 or EdDSA (Ed25519)")]
    Useless,
    /// The text contains too many keys.
    #[error("it contains more than {MAX_KEYS} keys")]
    TooMany,
}

/// The keys that can have made a signature.
pub enum Choice<'a> {
    /// One of these.
    Of(Vec<&'a VerifyingKey>),
    /// No key has that id.
    Unknown,
    /// The key of that id is for another algorithm.
    Misfit,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

// === impl Algorithm ===

impl Algorithm {
    /// The algorithm with this name in a header.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Rs256, Self::Es256, Self::EdDsa]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// The name in a header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

// === impl KeySet ===

impl KeySet {
    /// Reads a JSON Web Key Set; it skips keys that are not for checking signatures.
    pub fn from_jwks(text: &[u8]) -> Result<Self, KeysError> {
        let set: Jwks = serde_json::from_slice(text).map_err(|error| {
            KeysError::NotASet(format!("line {}, column {}", error.line(), error.column()))
        })?;
        let keys = set.keys.into_iter().filter_map(|key| Jwk::deserialize(key).ok()?.into_key());
        Self::of(keys.collect())
    }

    /// Reads public keys and certificates. Only the key of a certificate is used: the operator
    /// trusts it by configuring it.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeysError> {
        let not_pem = |error: rustls_pki_types::pem::Error| KeysError::NotPem(error.to_string());
        let mut keys = Vec::new();
        for info in SubjectPublicKeyInfoDer::pem_slice_iter(text) {
            keys.extend(PublicKey::of_info(info.map_err(not_pem)?.as_ref()));
        }
        for certificate in CertificateDer::pem_slice_iter(text) {
            let certificate = certificate.map_err(not_pem)?;
            let parsed = ParsedCertificate::try_from(&certificate)
                .map_err(|error| KeysError::NotPem(error.to_string()))?;
            keys.extend(PublicKey::of_info(parsed.subject_public_key_info().as_ref()));
        }
        Self::of(keys.into_iter().map(|public| VerifyingKey::new(None, public)).collect())
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set contains the key with this hash.
    pub(super) fn holds(&self, hash: &[u8; 16]) -> bool {
        self.0.iter().any(|key| key.hash == *hash)
    }

    /// The keys that can have signed a token with this header. Without an `id`, every key of the
    /// algorithm can.
    pub fn choose(&self, id: Option<&str>, algorithm: Algorithm) -> Choice<'_> {
        let named: Vec<&VerifyingKey> =
            self.0.iter().filter(|key| id.is_none() || key.id.as_deref() == id).collect();
        let candidates = if named.is_empty() {
            self.0.iter().filter(|key| key.id.is_none()).collect()
        } else {
            named
        };
        if candidates.is_empty() {
            return Choice::Unknown;
        }
        let fitting: Vec<_> =
            candidates.into_iter().filter(|key| key.public.algorithm() == algorithm).collect();
        if fitting.is_empty() { Choice::Misfit } else { Choice::Of(fitting) }
    }

    fn of(keys: Vec<VerifyingKey>) -> Result<Self, KeysError> {
        match keys.len() {
            0 => Err(KeysError::Useless),
            1..=MAX_KEYS => Ok(Self(keys)),
            _ => Err(KeysError::TooMany),
        }
    }
}

// === impl VerifyingKey ===

impl VerifyingKey {
    fn new(id: Option<Box<str>>, public: PublicKey) -> Self {
        let algorithm = public.algorithm().name().as_bytes();
        let hash = match &public {
            PublicKey::Rsa { n, e } => half_hash(&[algorithm, n, e]),
            PublicKey::P256(point) | PublicKey::Ed25519(point) => half_hash(&[algorithm, point]),
        };
        Self { id, public, hash }
    }

    /// The hash of the key; it depends on the key's bytes, not on its id.
    pub(super) const fn hash(&self) -> [u8; 16] {
        self.hash
    }

    /// Whether this key made the signature.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.public {
            PublicKey::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            PublicKey::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            PublicKey::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
        };
        verified.is_ok()
    }
}

// === impl PublicKey ===

impl PublicKey {
    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let whole = |number: &[u8]| {
            number.iter().position(|&byte| byte != 0).map(|start| number[start..].to_vec())
        };
        let (n, e) = (whole(n)?, whole(e)?);
        (n.len() >= RSA_BYTES_MIN).then_some(Self::Rsa { n, e })
    }

    /// Reads a `SubjectPublicKeyInfo`.
    fn of_info(der: &[u8]) -> Option<Self> {
        let (info, _) = value(der, 0x30)?;
        let bits = |algorithm| value(info.strip_prefix(algorithm)?, 3)?.0.strip_prefix(&[0]);
        if let Some(key) = bits(RSA) {
            let (numbers, _) = value(key, 0x30)?;
            let (n, rest) = value(numbers, 2)?;
            return Self::rsa(n, value(rest, 2)?.0);
        }
        let p256 =
            bits(P256).filter(|point| is_point(point)).map(|point| Self::P256(point.to_vec()));
        p256.or_else(|| {
            bits(EDWARDS).filter(|key| key.len() == 32).map(|key| Self::Ed25519(key.to_vec()))
        })
    }
}

// === impl Jwk ===

impl Jwk {
    /// The key, if it is for checking signatures by a supported algorithm.
    fn into_key(self) -> Option<VerifyingKey> {
        let public = self.public()?;
        let for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.is_none_or(|ops| ops.iter().any(|op| op == "verify"))
            && self.alg.is_none_or(|alg| alg == public.algorithm().name());
        for_signatures.then(|| VerifyingKey::new(self.kid.map(Into::into), public))
    }

    fn public(&self) -> Option<PublicKey> {
        let number = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => PublicKey::rsa(&number(&self.n)?, &number(&self.e)?),
            ("EC", Some("P-256")) => {
                let point = [&[4], &*number(&self.x)?, &*number(&self.y)?].concat();
                is_point(&point).then_some(PublicKey::P256(point))
            }
            ("OKP", Some("Ed25519")) => {
                number(&self.x).filter(|key| key.len() == 32).map(PublicKey::Ed25519)
            }
            _ => None,
        }
    }
}

// --- private helpers ---

/// An uncompressed point of P-256, by its form.
fn is_point(bytes: &[u8]) -> bool {
    bytes.len() == 65 && bytes[0] == 4
}

/// The content of a DER value with this tag, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *der.strip_prefix(&[tag])? {
        [length @ 0..=0x7f, ref rest @ ..] | [0x81, length, ref rest @ ..] => {
            (usize::from(length), rest)
        }
        [0x82, high, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwks(keys: &str) -> Result<KeySet, KeysError> {
        KeySet::from_jwks(format!(r#"{{"keys": [{keys}]}}"#).as_bytes())
    }

    fn ed(more: &str) -> String {
        format!(
            r#"{{"kty": "OKP", "crv": "Ed25519", "x": "{}"{more}}}"#,
            URL_SAFE_NO_PAD.encode([7; 32])
        )
    }

    #[test]
    fn keys_for_other_ends_are_passed_over() {
        let good = ed(r#", "kid": "a", "use": "sig", "alg": "EdDSA", "key_ops": ["verify"]"#);
        let secret = r#"{"kty": "oct", "k": "AAAA", "kid": "a", "alg": "HS256"}"#;
        let short = format!(
            r#"{{"kty": "RSA", "n": "{}", "e": "AQAB"}}"#,
            URL_SAFE_NO_PAD.encode([0xff; 128])
        );
        let others = [
            r#", "use": "enc""#,
            r#", "key_ops": ["sign"]"#,
            r#", "alg": "RS256""#,
            r#", "alg": "ES256""#,
        ]
        .map(ed);
        let all = format!("{good}, {secret}, {short}, 7, {{}}, {}", others.join(", "));
        assert_eq!(jwks(&all).unwrap().len(), 1);
        for useless in [secret, &short, &others[0], ""] {
            assert!(matches!(jwks(useless), Err(KeysError::Useless)), "{useless}");
        }
        assert!(matches!(jwks(&vec![good; 33].join(",")), Err(KeysError::TooMany)));
        assert!(matches!(KeySet::from_jwks(b"<html>"), Err(KeysError::NotASet(_))));
    }

    #[test]
    fn a_key_is_chosen_by_name_and_must_fit_the_algorithm() {
        let named = jwks(&ed(r#", "kid": "a""#)).unwrap();
        assert!(
            matches!(named.choose(Some("a"), Algorithm::EdDsa), Choice::Of(keys) if keys.len() == 1)
        );
        assert!(matches!(named.choose(None, Algorithm::EdDsa), Choice::Of(_)));
        assert!(matches!(named.choose(Some("a"), Algorithm::Rs256), Choice::Misfit));
        assert!(matches!(named.choose(Some("b"), Algorithm::EdDsa), Choice::Unknown));
        let nameless = jwks(&ed("")).unwrap();
        assert!(matches!(nameless.choose(Some("b"), Algorithm::EdDsa), Choice::Of(_)));
    }

    #[test]
    fn a_pem_without_a_public_key_is_refused() {
        assert!(matches!(KeySet::from_pem(b"nothing"), Err(KeysError::Useless)));
        let garbled = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        assert!(matches!(KeySet::from_pem(garbled), Err(KeysError::Useless)));
    }
}
