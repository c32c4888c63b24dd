//! Caches verified tokens by hash, so that the request for each message costs no signature check.
//!
//! It stores no token and no refusal. An entry is valid briefly, and never after the issuer's keys
//! have changed.

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::compact::MAX_TOKEN_BYTES;
use super::error::TokenError;
use super::proof::{Proof, TokenSigner};
use super::verify::Verifier;
use crate::access::hooks::two_generation_map::TwoGenerationMap;
use crate::domain::time::{Clock, Timestamp};

/// Cached tokens, at most some KiB each.
const TOKENS_MAX: usize = 10_000;

/// How long a cached result is used.
const TRUSTED_SECONDS: f64 = 60.0;

/// Verifies tokens, and caches the accepted ones.
#[derive(Debug)]
pub struct TokenCache {
    verifier: Verifier,
    accepted: Mutex<TwoGenerationMap<[u8; 32], Verified>>,
}

#[derive(Clone, Debug)]
struct Verified {
    proof: Arc<Proof>,
    at: Timestamp,
}

// === impl TokenCache ===

impl TokenCache {
    /// An empty cache in front of `verifier`.
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier, accepted: Mutex::new(TwoGenerationMap::new(TOKENS_MAX)) }
    }

    /// Whether `text` has the form of a token: a JSON object in base64url, and three parts. No
    /// device name has it.
    pub fn is_token(text: &str) -> bool {
        text.starts_with("ey") && text.bytes().filter(|&byte| byte == b'.').count() == 2
    }

    /// Verifies a token without waiting. The subject's `expires_at` is in the future.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Proof>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong { bytes: token.len(), max: MAX_TOKEN_BYTES });
        }
        let key = Sha256::digest(token).into();
        let cached = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).get(&key);
        if let Some(proof) = cached.and_then(|cached| cached.if_valid(&self.verifier, now)) {
            return Ok(proof);
        }
        let proof = Arc::new(self.verifier.verify(token, now)?);
        let verified = Verified { proof: proof.clone(), at: now };
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).insert(key, verified);
        Ok(proof)
    }

    /// Verifies a token at a login, which may wait briefly for a new key of the issuer.
    pub async fn login(&self, token: &str, clock: Clock) -> Result<Arc<Proof>, TokenError> {
        match self.verify(token, clock()) {
            Err(refused) if refused.may_pass_with_new_keys() => {
                self.verifier.verify_at_login(token, clock).await.map(Arc::new)
            }
            decided => decided,
        }
    }

    /// Whether the key that signed the token of an earlier login is still an issuer's key.
    pub fn trusts(&self, signer: &TokenSigner) -> bool {
        self.verifier.trusts(signer)
    }
}

// === impl Verified ===

impl Verified {
    fn if_valid(self, verifier: &Verifier, now: Timestamp) -> Option<Arc<Proof>> {
        let is_fresh = (0.0..TRUSTED_SECONDS).contains(&now.seconds_since(self.at));
        let is_good =
            is_fresh && !self.proof.subject.has_ended(now) && verifier.is_current(&self.proof, now);
        is_good.then_some(self.proof)
    }
}
