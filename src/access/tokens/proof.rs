//! The result of verifying a token: its subject, the key that signed it, and the generation of the
//! issuer's keys.
//!
//! It contains no part of the token.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::access::hooks::subject::Subject;

/// Bytes of each of the two hashes.
const HALF: usize = 16;

/// A verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The subject of the token.
    pub subject: Arc<Subject>,
    /// The key that signed it.
    pub signer: TokenSigner,
    /// The position of the issuer in the list, and the generation of its keys.
    pub(super) as_of: (usize, u64),
}

/// A key of an issuer, as two hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenSigner {
    pub(crate) issuer: [u8; HALF],
    pub(super) key: [u8; HALF],
}

/// Reads the stored form; any bytes of this length are valid.
impl From<[u8; 2 * HALF]> for TokenSigner {
    fn from(bytes: [u8; 2 * HALF]) -> Self {
        let (mut issuer, mut key) = ([0; HALF], [0; HALF]);
        issuer.copy_from_slice(&bytes[..HALF]);
        key.copy_from_slice(&bytes[HALF..]);
        Self { issuer, key }
    }
}

/// The stored form.
impl From<TokenSigner> for [u8; 2 * HALF] {
    fn from(signer: TokenSigner) -> Self {
        let mut bytes = [0; 2 * HALF];
        bytes[..HALF].copy_from_slice(&signer.issuer);
        bytes[HALF..].copy_from_slice(&signer.key);
        bytes
    }
}

/// The hash that identifies an issuer or a key.
pub(super) fn half_hash(parts: &[&[u8]]) -> [u8; HALF] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let mut half = [0; HALF];
    half.copy_from_slice(&hash.finalize()[..HALF]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_is_kept_as_32_bytes_and_read_back() {
        let signer = TokenSigner {
            issuer: half_hash(&[b"https://id.example.org"]),
            key: half_hash(&[b"RS256", b"n", b"e"]),
        };
        let bytes: [u8; 32] = signer.into();
        assert_eq!(TokenSigner::from(bytes), signer);
        assert_ne!(half_hash(&[b"ab", b"c"]), half_hash(&[b"a", b"bc"]));
    }
}
