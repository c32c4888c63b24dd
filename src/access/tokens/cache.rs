//! Tokens that were verified a moment ago, by their hash, so that a question for each message costs no signature.
//!
//! It keeps no token and no refusal; an entry is used for a short while only, and not after the issuer's keys have changed.

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::compact::MAX_TOKEN_BYTES;
use super::error::TokenError;
use super::proof::{Proof, TokenSigner};
use super::verify::Verifier;
use crate::access::hooks::two_generation_map::TwoGenerationMap;
use crate::domain::time::{Clock, Timestamp};

/// Tokens remembered, at most some KiB each.
const REMEMBERED: usize = 10_000;

/// How long a verified token is not verified again.
const TRUSTED_SECONDS: f64 = 60.0;

/// Verifies tokens, and remembers which ones were good.
#[derive(Debug)]
pub struct Tokens {
    verifier: Verifier,
    remembered: Mutex<TwoGenerationMap<[u8; 32], Verified>>,
}

#[derive(Clone, Debug)]
struct Verified {
    proof: Arc<Proof>,
    at: Timestamp,
}

// === impl Tokens ===

impl Tokens {
    /// On this verifier; nothing is remembered yet.
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier, remembered: Mutex::new(TwoGenerationMap::new(REMEMBERED)) }
    }

    /// Whether a text is meant as a token: a JSON object in base64url, and three parts. No device is called so.
    pub fn is_token(text: &str) -> bool {
        text.starts_with("ey") && text.bytes().filter(|&byte| byte == b'.').count() == 2
    }

    /// Whom it speaks of, without waiting. The subject's end is in the future.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Proof>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong { bytes: token.len(), max: MAX_TOKEN_BYTES });
        }
        let key = Sha256::digest(token).into();
        let known = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&key);
        if let Some(proof) = known.and_then(|known| known.still(&self.verifier, now)) {
            return Ok(proof);
        }
        let proof = Arc::new(self.verifier.verify(token, now)?);
        let verified = Verified { proof: proof.clone(), at: now };
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).insert(key, verified);
        Ok(proof)
    }

    /// The same for a login, which may wait a moment for a new key of the issuer.
    pub async fn login(&self, token: &str, clock: Clock) -> Result<Arc<Proof>, TokenError> {
        match self.verify(token, clock()) {
            Err(refused) if refused.may_pass_with_new_keys() => {
                self.verifier.verify_at_login(token, clock).await.map(Arc::new)
            }
            decided => decided,
        }
    }

    /// Whether what signed the token of an earlier login is still an issuer's key.
    pub fn trusts(&self, signer: &TokenSigner) -> bool {
        self.verifier.trusts(signer)
    }
}

// === impl Verified ===

impl Verified {
    fn still(self, verifier: &Verifier, now: Timestamp) -> Option<Arc<Proof>> {
        let is_fresh = (0.0..TRUSTED_SECONDS).contains(&now.seconds_since(self.at));
        let is_good = is_fresh && !self.proof.subject.has_ended(now) && verifier.is_current(&self.proof, now);
        is_good.then_some(self.proof)
    }
}
