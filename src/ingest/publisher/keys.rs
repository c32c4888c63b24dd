//! The keys of the plugin's boots, derived from the secret and the one before it.
//!
//! Only a boot with a valid proof gets a place: forged boots fill nothing, and each costs the derivation
//! of one key for each secret.

use sluice_shared::proof::{Boot, Proof, ProofError, ProofKey, ProvenMessage, SignedProof};

use crate::config::secret::Secret;
use crate::config::sections::plugin::ProofSettings;

/// Most boots that are remembered: those of the latest starts of all brokers.
const BOOTS_MAX: usize = 32;

/// The keys of the boots with valid proofs; the latest used is the first.
#[derive(Debug)]
pub(super) struct ProofKeys {
    secrets: Vec<Secret>,
    known: Vec<(Boot, ProofKey)>,
}

// === impl ProofKeys ===

impl ProofKeys {
    pub fn new(settings: &ProofSettings) -> Self {
        let secrets = [&settings.secret, &settings.previous].into_iter().flatten();
        Self { secrets: secrets.cloned().collect(), known: Vec::new() }
    }

    /// Verifies that `signed` is a proof of `message` with one of the secrets.
    pub fn verify(
        &mut self,
        signed: &SignedProof,
        message: &ProvenMessage<'_>,
    ) -> Result<Proof, ProofError> {
        let boot = signed.boot();
        if let Some(place) = self.known.iter().position(|(known, _)| *known == boot) {
            let verified = self.known[place].1.verify(signed, message)?;
            self.known[..=place].rotate_right(1);
            return Ok(verified);
        }
        for secret in &self.secrets {
            let key = ProofKey::derive(secret.expose().as_bytes(), boot)?;
            if let Ok(verified) = key.verify(signed, message) {
                self.known.truncate(BOOTS_MAX - 1);
                self.known.insert(0, (boot, key));
                return Ok(verified);
            }
        }
        Err(ProofError::Mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sections::plugin::PublisherProof;
    use crate::domain::time::Timestamp;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn signed(secret: &str, boot: u64) -> SignedProof {
        let (boot, at) = (Boot(boot), Timestamp::default());
        let proof = Proof { boot, sequence: 1, at, fingerprint: None, is_will: false };
        let text =
            ProofKey::derive(secret.as_bytes(), boot).unwrap().sign(&proof, &MESSAGE).unwrap();
        SignedProof::parse(text.as_bytes()).unwrap().1
    }

    const MESSAGE: ProvenMessage<'static> =
        ProvenMessage { identity: b"i", topic: b"t", payload: b"p" };

    #[test]
    fn forged_boots_take_no_place_and_real_ones_replace_the_oldest() {
        let settings = ProofSettings {
            mode: PublisherProof::Require,
            secret: Some(Secret::new(SECRET.to_owned())),
            previous: None,
            gateways: [].into(),
        };
        let mut keys = ProofKeys::new(&settings);
        for boot in 0..1_000 {
            let forged = signed("not the secret of this daemon...", boot);
            assert_eq!(keys.verify(&forged, &MESSAGE), Err(ProofError::Mac));
        }
        assert!(keys.known.is_empty());
        for boot in 0..100 {
            assert!(keys.verify(&signed(SECRET, boot), &MESSAGE).is_ok());
            assert!(keys.verify(&signed(SECRET, 0), &MESSAGE).is_ok());
        }
        assert_eq!(keys.known.len(), BOOTS_MAX);
        assert!(keys.known.iter().any(|(boot, _)| *boot == Boot(0)), "it is used all the time");
    }
}
