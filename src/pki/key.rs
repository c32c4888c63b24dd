//! Private keys: the authority's, read from a file with mode 0600, and a device's, returned once.
//!
//! It never prints, logs or overwrites a key. RSA keys are read but not created: ring does not
//! create them.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize, Zeroizing};

use super::files;
use crate::disk;

/// Maximum size of a key file: RSA 4096 in PEM has 3.3 KiB.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// `rsaEncryption` with its parameters, as PKCS#8 names an algorithm.
const RSA: &[u8] = &[0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
/// `id-ecPublicKey` on P-256.
const P256: &[u8] = &[
    0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1,
    7,
];
/// `id-ecPublicKey` on P-384.
const P384: &[u8] =
    &[0x30, 0x10, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22];

/// The algorithms of an authority.
const ALGORITHMS: [&SignatureAlgorithm; 3] =
    [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256];

/// The key of an authority.
pub struct CaKey(KeyPair);

/// A private key in PEM (PKCS#8), to return to its owner.
pub struct PrivateKeyPem(Zeroizing<String>);

/// Why a private key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the key {path} cannot be read: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error(
        "the key {path} has mode {mode:04o}, so other users can use it: run `chmod 600 {path}`"
    )]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// No private key in PEM.
    #[error("no private key found: expected PEM with PKCS#8, SEC1 or PKCS#1")]
    Missing,
    /// The key is encrypted with a pass phrase.
    #[error(
        "the key is encrypted, and Sluice cannot ask for its pass phrase: store it as `openssl \
         pkey -in KEY` prints it"
    )]
    Encrypted,
    /// Its kind or size is not supported, or it is malformed.
    #[error("an authority cannot use this key: use ECDSA P-256 or P-384, or RSA 2048 to 4096")]
    Unusable,
    /// The random generator or the library failed.
    #[error("a key could not be generated: {0}")]
    Made(rcgen::Error),
}

// === impl CaKey ===

impl CaKey {
    /// Reads it from a file of mode 0600 or less.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&read_private(path)?)
    }

    /// Reads it from PEM: PKCS#8, SEC1 or PKCS#1.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        if is_encrypted(text) {
            return Err(KeyError::Encrypted);
        }
        let mut key = PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
            pem::Error::NoItemsFound => KeyError::Missing,
            _ => KeyError::Unusable,
        })?;
        let forms = in_pkcs8(&key);
        key.zeroize();
        let fits = |(der, algorithm): (&Zeroizing<Vec<u8>>, &'static SignatureAlgorithm)| {
            KeyPair::from_pkcs8_der_and_sign_algo(
                &PrivatePkcs8KeyDer::from(der.as_slice()),
                algorithm,
            )
            .ok()
        };
        let mut tries = forms.iter().flat_map(|der| ALGORITHMS.map(|algorithm| (der, algorithm)));
        tries.find_map(fits).map(Self).ok_or(KeyError::Unusable)
    }

    /// Creates an ECDSA P-256 key.
    pub fn generate() -> Result<Self, KeyError> {
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(Self).map_err(KeyError::Made)
    }

    /// The key as PEM, to write to its file once.
    pub fn to_pem(&self) -> PrivateKeyPem {
        PrivateKeyPem::of(&self.0)
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl fmt::Debug for CaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CaKey(***)")
    }
}

impl Drop for CaKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

// === impl PrivateKeyPem ===

impl PrivateKeyPem {
    pub(super) fn of(pair: &KeyPair) -> Self {
        Self(Zeroizing::new(pair.serialize_pem()))
    }

    /// A key as another part of this process wrote it.
    pub fn received(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The key itself. The caller sends it to its owner only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKeyPem(***)")
    }
}

/// Reads a key file of mode 0600 or less, whatever its content.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let file = disk::open(path).map_err(failed)?;
    // Checks the open file, not the path, which may name another file when it is read.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & !files::PRIVATE != 0 {
        return Err(KeyError::TooOpen { path: path.to_owned(), mode });
    }
    Ok(Zeroizing::new(files::read_open(&file, MAX_KEY_BYTES).map_err(failed)?))
}

// --- private helpers ---

fn is_encrypted(text: &[u8]) -> bool {
    let contains = |words: &[u8]| memchr::memmem::find(text, words).is_some();
    contains(b"BEGIN ENCRYPTED PRIVATE KEY") || contains(b"Proc-Type: 4,ENCRYPTED")
}

/// The key in PKCS#8, the one form ring reads; of SEC1, whose curve it need not name, one for each
/// curve.
fn in_pkcs8(key: &PrivateKeyDer<'_>) -> Vec<Zeroizing<Vec<u8>>> {
    match key {
        PrivateKeyDer::Pkcs8(key) => vec![Zeroizing::new(key.secret_pkcs8_der().to_vec())],
        PrivateKeyDer::Pkcs1(key) => vec![wrapped(RSA, key.secret_pkcs1_der())],
        PrivateKeyDer::Sec1(key) => {
            [P256, P384].map(|curve| wrapped(curve, key.secret_sec1_der())).into()
        }
        _ => Vec::new(),
    }
}

/// `PrivateKeyInfo` of RFC 5208: version 0, the algorithm, the key as an octet string.
fn wrapped(algorithm: &[u8], key: &[u8]) -> Zeroizing<Vec<u8>> {
    let key = tagged(4, &[key]);
    tagged(0x30, &[&[2, 1, 0], algorithm, &key])
}

/// A DER value; a key's file is bounded, so two bytes hold every length.
fn tagged(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let [.., high, low] = length.to_be_bytes();
    let mut value = Zeroizing::new(Vec::with_capacity(length + 4));
    match length {
        0..=0x7f => value.extend([tag, low]),
        0x80..=0xff => value.extend([tag, 0x81, low]),
        _ => value.extend([tag, 0x82, high, low]),
    }
    for part in parts {
        value.extend_from_slice(part);
    }
    value
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::pki::test_samples::{content, pair, parts};

    /// PEM of the key in the older form: the octet string within PKCS#8.
    fn sec1(pkcs8: &[u8]) -> String {
        super::super::certificate::pem_text("EC PRIVATE KEY", content(&parts(content(pkcs8))[2]))
    }

    #[test]
    fn a_key_is_read_in_the_newer_and_the_older_form() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
            let pair = pair(algorithm);
            for text in [pair.serialize_pem(), sec1(pair.serialized_der())] {
                let key = CaKey::from_pem(text.as_bytes()).unwrap();
                assert_eq!(key.subject_public_key_info(), pair.subject_public_key_info());
            }
        }
    }

    #[test]
    fn what_is_no_key_for_an_authority_is_refused_by_name() {
        let refused = |text: &str| CaKey::from_pem(text.as_bytes()).unwrap_err();
        assert!(matches!(refused(""), KeyError::Missing));
        assert!(matches!(refused(&pair(&rcgen::PKCS_ED25519).serialize_pem()), KeyError::Unusable));
        let locked =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(matches!(refused(locked), KeyError::Encrypted));
        assert!(matches!(refused(&locked.replace("ENCRYPTED ", "")), KeyError::Unusable));
    }

    #[test]
    fn a_key_others_can_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.key");
        files::create(
            &path,
            CaKey::generate().unwrap().to_pem().expose().as_bytes(),
            files::PRIVATE,
        )
        .unwrap();
        for (mode, is_good) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o610, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let opened = CaKey::open(&path);
            assert_eq!(opened.is_ok(), is_good, "{mode:o}");
            if let Err(error) = opened {
                assert!(
                    error.to_string().contains(&format!("chmod 600 {}", path.display())),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = CaKey::generate().unwrap();
        assert_eq!(format!("{key:?} {:?}", key.to_pem()), "CaKey(***) PrivateKeyPem(***)");
    }
}
