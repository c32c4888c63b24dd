//! Verifies the proof of a message's publisher, which the broker's plugin adds.
//!
//! [`properties`] finds it in the packet, [`keys`] has the keys. It does not decide what a publisher may
//! publish: [`super::authorize::judge`] does. With `PUBLISHER_PROOF=off` it reads nothing.

mod keys;
mod properties;

use bytes::Bytes;
use sluice_shared::proof::{ProvenMessage, SignedProof};

use crate::config::sections::plugin::{ProofSettings, PublisherProof};
use crate::domain::message::Delivery;
use crate::domain::publisher::{ProofFault, ProvenPublisher, Publisher};
use crate::telemetry::ingest::ProofMetrics;
use keys::ProofKeys;
use properties::ReservedProperties;

/// Verifies proofs. It remembers the keys of the boots whose proofs were valid.
#[derive(Debug)]
pub struct ProofVerifier {
    /// `None`: proofs are not read.
    keys: Option<ProofKeys>,
    metrics: ProofMetrics,
}

// === impl ProofVerifier ===

impl ProofVerifier {
    /// A verifier with these secrets.
    pub fn new(settings: &ProofSettings, metrics: ProofMetrics) -> Self {
        let is_on = settings.mode != PublisherProof::Off;
        Self { keys: is_on.then(|| ProofKeys::new(settings)), metrics }
    }

    /// Finds out who published a message of the local broker.
    pub fn examine(&mut self, delivery: &mut Delivery) {
        if self.keys.is_none() || delivery.arrival.is_some() {
            return;
        }
        let Publisher::Unread(list) = &mut delivery.publisher else { return };
        let list = std::mem::take(list);
        delivery.publisher = self.publisher(&list, &delivery.topic, &delivery.payload);
    }

    /// Who published the message with this property list, topic and payload.
    pub fn publisher(&mut self, list: &Bytes, topic: &[u8], payload: &[u8]) -> Publisher {
        let Some(keys) = &mut self.keys else { return Publisher::Missing };
        match verify(keys, list, topic, payload) {
            Ok(Some(proven)) => {
                self.metrics.valid.inc();
                Publisher::Proven(proven)
            }
            Ok(None) => {
                self.metrics.missing.inc();
                Publisher::Missing
            }
            Err(fault) => {
                self.metrics.invalid.inc();
                Publisher::Invalid(fault)
            }
        }
    }
}

fn verify(
    keys: &mut ProofKeys,
    list: &Bytes,
    topic: &[u8],
    payload: &[u8],
) -> Result<Option<ProvenPublisher>, ProofFault> {
    let found = ReservedProperties::read(list);
    if found.is_ambiguous {
        return Err(ProofFault::Ambiguous);
    }
    let Some(value) = found.publisher else { return Ok(None) };
    let (identity, signed) = SignedProof::parse(value)?;
    std::str::from_utf8(identity).map_err(|_| ProofFault::Identity)?;
    let proof = keys.verify(&signed, &ProvenMessage { identity, topic, payload })?;
    let identity = list.slice_ref(identity);
    Ok(Some(ProvenPublisher { identity, fingerprint: proof.fingerprint, at: proof.at }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_shared::proof::{Boot, Proof, ProofError, ProofKey};

    use super::*;
    use crate::config::secret::Secret;
    use crate::domain::time::Timestamp;
    use crate::telemetry::metrics::Metrics;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const BEFORE: &str = "fedcba9876543210fedcba9876543210";
    const TOPIC: &[u8] = b"tenant/a/device/b/telemetry";
    const IDENTITY: &str = "a/device/b";

    fn verifier(mode: PublisherProof) -> ProofVerifier {
        let secret = |text: &str| Some(Secret::new(text.to_owned()));
        let settings = ProofSettings {
            mode,
            secret: secret(SECRET),
            previous: secret(BEFORE),
            gateways: [].into(),
        };
        ProofVerifier::new(&settings, Metrics::new().unwrap().ingest.proofs)
    }

    fn property(name: &str, value: &[u8]) -> Vec<u8> {
        let mut list = vec![0x26];
        for text in [name.as_bytes(), value] {
            list.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            list.extend(text);
        }
        list
    }

    fn signed(secret: &str, boot: u64) -> Vec<u8> {
        let proof = Proof {
            boot: Boot(boot),
            sequence: 1,
            at: Timestamp::from_micros(7),
            fingerprint: None,
            is_will: false,
        };
        let message = ProvenMessage { identity: IDENTITY.as_bytes(), topic: TOPIC, payload: b"{}" };
        let key = ProofKey::derive(secret.as_bytes(), Boot(boot)).unwrap();
        key.sign(&proof, &message).unwrap().as_bytes().to_vec()
    }

    fn stamp(secret: &str, boot: u64) -> Vec<u8> {
        property("sluice-publisher", &signed(secret, boot))
    }

    fn outcome(verifier: &mut ProofVerifier, list: Vec<u8>) -> Publisher {
        verifier.publisher(&list.into(), TOPIC, b"{}")
    }

    #[test]
    fn exactly_one_proof_with_a_known_secret_is_valid() {
        let mut verifier = verifier(PublisherProof::Prefer);
        for (secret, boot) in [(SECRET, 1), (BEFORE, 2), (SECRET, 3), (SECRET, 1)] {
            let found = outcome(&mut verifier, stamp(secret, boot));
            let proven = found.proven().expect("valid");
            assert_eq!((proven.identity(), proven.at), (IDENTITY, Timestamp::from_micros(7)));
        }
        let others = [property("own", b"x"), stamp(SECRET, 1), property("z", b"")].concat();
        assert!(outcome(&mut verifier, others).proven().is_some());
        assert_eq!(outcome(&mut verifier, property("own", b"x")), Publisher::Missing);
        let forged = stamp("another secret of thirty-two bytes", 1);
        let mac = Publisher::Invalid(ProofFault::Proof(ProofError::Mac));
        assert_eq!(outcome(&mut verifier, forged), mac);
        let invalid = |list: Vec<Vec<u8>>, fault| (list.concat(), Publisher::Invalid(fault));
        for (list, expected) in [
            invalid(vec![stamp(SECRET, 1), stamp(SECRET, 1)], ProofFault::Ambiguous),
            invalid(
                vec![stamp(SECRET, 1), property("Sluice-Publisher", b"x")],
                ProofFault::Ambiguous,
            ),
            invalid(vec![stamp(SECRET, 1), property("sluice-other", b"x")], ProofFault::Ambiguous),
            invalid(
                vec![property("sluice-publisher", b"x")],
                ProofFault::Proof(ProofError::Malformed),
            ),
            invalid(
                vec![property("sluice-publisher", b"x EA")],
                ProofFault::Proof(ProofError::Malformed),
            ),
        ] {
            assert_eq!(outcome(&mut verifier, list), expected);
        }
        let metrics = &verifier.metrics;
        assert_eq!((metrics.valid.get(), metrics.missing.get(), metrics.invalid.get()), (5, 1, 6));
    }

    #[test]
    fn a_proof_of_another_message_is_invalid() {
        let mut verifier = verifier(PublisherProof::Require);
        let list: Bytes = stamp(SECRET, 1).into();
        for (topic, payload) in [(TOPIC, &b"{ }"[..]), (b"tenant/a/device/c/telemetry", b"{}")] {
            let found = verifier.publisher(&list, topic, payload);
            assert_eq!(found, Publisher::Invalid(ProofFault::Proof(ProofError::Mac)));
        }
    }

    proptest! {
        #[test]
        fn no_property_list_makes_it_panic_or_is_valid(
            list in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..80,
        ) {
            let mut verifier = verifier(PublisherProof::Require);
            prop_assert!(outcome(&mut verifier, list.clone()).proven().is_none());
            let mut mixed = stamp(SECRET, 1);
            let at = at.min(mixed.len());
            mixed.splice(at..at, list.iter().copied());
            if let Some(proven) = outcome(&mut verifier, mixed).proven() {
                prop_assert_eq!(proven.identity(), IDENTITY);
            }
        }
    }
}
