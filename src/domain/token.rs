//! The secret tokens of devices and guests: generated, hashed, compared, and the hash in hex.
//!
//! It stores nothing and prints no secret. It is the only module of the wing that calls the system:
//! a new token needs random bytes.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::hex;

/// Random bytes of a new token: 256 bits cannot be guessed.
const TOKEN_BYTES: usize = 32;

/// Bytes of a SHA-256.
const HASH_BYTES: usize = 32;

/// Hex digits of a hash, the form in which the tables store it.
pub const HASH_DIGITS: usize = 2 * HASH_BYTES;

/// A new token: 64 hex digits. Its `Debug` output hides them.
pub struct SecretToken(String);

/// SHA-256 of a token; the token itself is never kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; HASH_BYTES]);

/// The system returned no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system returned no random bytes for a token: {0}; check that getrandom(2) works here")]
pub struct NoRandomBytes(getrandom::Error);

// === impl SecretToken ===

impl SecretToken {
    /// Generates a token.
    pub fn generate() -> Result<Self, NoRandomBytes> {
        let mut random = [0; TOKEN_BYTES];
        getrandom::fill(&mut random).map_err(NoRandomBytes)?;
        Ok(Self(hex::encode(&random)))
    }

    /// The hash to store.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// The token, for the one answer that shows it.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretToken(..)")
    }
}

// === impl TokenHash ===

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Whether `token` has this hash. The time this takes does not depend on the hash.
    pub fn matches(&self, token: impl AsRef<[u8]>) -> bool {
        self.equals(&Self::of(token))
    }

    /// Whether both are the hash of one token. The time this takes does not depend on the hashes.
    pub fn equals(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Parses 64 lower-case hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }

    /// The hash as ASCII hex digits, without an allocation.
    pub fn hex_digits(&self) -> [u8; HASH_DIGITS] {
        let mut all = [0; HASH_DIGITS];
        for (pair, byte) in all.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&hex::digits(byte));
        }
        all
    }

    /// The hash as text of hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(&self.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of "abc", from FIPS 180-2.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_hash_is_sha_256_and_reads_back_as_it_was_written() {
        let hash = TokenHash::of("abc");
        assert_eq!(hash.to_hex(), ABC);
        assert_eq!(hash.hex_digits().as_slice(), ABC.as_bytes());
        assert_eq!(TokenHash::from_hex(ABC), Some(hash));
        for wrong in
            ["", &ABC[1..], &ABC.to_uppercase(), &format!("{ABC}0"), &ABC.replace('b', "g")]
        {
            assert_eq!(TokenHash::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_hash_matches_its_token_only() {
        let hash = TokenHash::of("abc");
        assert!(hash.matches("abc"));
        for wrong in ["", "ab", "abcd", "ABC", ABC] {
            assert!(!hash.matches(wrong), "{wrong}");
        }
    }

    #[test]
    fn generated_tokens_are_64_hex_digits_and_differ() {
        let (one, other) = (SecretToken::generate().unwrap(), SecretToken::generate().unwrap());
        let hash = one.hash();
        let (one, other) = (one.into_text(), other.into_text());
        assert_ne!(one, other);
        assert!(hash.matches(&one) && !hash.matches(&other));
        assert!(hex::decode::<TOKEN_BYTES>(&one).is_some(), "{one}");
        let zeros = |token: &str| token.matches("00").count();
        assert!(zeros(&one) < 16, "{one}: the random bytes were not filled in");
    }

    #[test]
    fn debug_output_shows_neither_a_token_nor_its_hash() {
        let token = SecretToken::generate().unwrap();
        assert_eq!(format!("{token:?} {:?}", token.hash()), "SecretToken(..) TokenHash(..)");
    }
}
