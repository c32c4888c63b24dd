//! What a verified token proved: whom it speaks of, which key of which issuer signed it, and as of which reading of the keys.
//!
//! It holds no part of the token.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::access::hooks::subject::Subject;

/// Bytes of each of the two hashes.
const HALF: usize = 16;

/// A verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whom it speaks of.
    pub subject: Arc<Subject>,
    /// What signed it.
    pub signer: TokenSigner,
    /// The issuer's place in the list, and which of its key sets was in force.
    pub(super) as_of: (usize, u64),
}

/// Which key of which issuer, as two hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenSigner {
    pub(crate) issuer: [u8; HALF],
    pub(super) key: [u8; HALF],
}

/// What kept bytes name; any bytes of that length are fine.
impl From<[u8; 2 * HALF]> for TokenSigner {
    fn from(bytes: [u8; 2 * HALF]) -> Self {
        let (mut issuer, mut key) = ([0; HALF], [0; HALF]);
        issuer.copy_from_slice(&bytes[..HALF]);
        key.copy_from_slice(&bytes[HALF..]);
        Self { issuer, key }
    }
}

/// As it is kept.
impl From<TokenSigner> for [u8; 2 * HALF] {
    fn from(signer: TokenSigner) -> Self {
        let mut bytes = [0; 2 * HALF];
        bytes[..HALF].copy_from_slice(&signer.issuer);
        bytes[HALF..].copy_from_slice(&signer.key);
        bytes
    }
}

/// The hash by which an issuer or a key is known.
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
        let signer =
            TokenSigner { issuer: half_hash(&[b"https://id.example.org"]), key: half_hash(&[b"RS256", b"n", b"e"]) };
        let bytes: [u8; 32] = signer.into();
        assert_eq!(TokenSigner::from(bytes), signer);
        assert_ne!(half_hash(&[b"ab", b"c"]), half_hash(&[b"a", b"bc"]));
    }
}
