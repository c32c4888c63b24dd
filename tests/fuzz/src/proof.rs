//! Any bytes as a proof and its message: no panic, a proof that was made verifies, and none verifies for
//! another message.

use sluice_shared::proof::{Boot, Proof, ProofKey, ProvenMessage, SignedProof};
use sluice_shared::time::Timestamp;

/// Panics if a property does not hold for these bytes, read as a topic and a payload around a NUL.
pub fn check(bytes: &[u8]) {
    let key = ProofKey::derive(b"a secret of more than thirty bytes", Boot(1)).unwrap();
    let (topic, payload) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, bytes),
    };
    let message = ProvenMessage { identity: b"acme/device/pump-1", topic, payload };
    if let Ok((identity, signed)) = SignedProof::parse(bytes) {
        assert!(
            key.verify(&signed, &ProvenMessage { identity, ..message }).is_err(),
            "a proof was guessed"
        );
    }
    let proof = Proof {
        boot: Boot(1),
        sequence: bytes.len() as u64,
        at: Timestamp::from_micros(1),
        fingerprint: None,
        is_will: false,
    };
    let text = key.sign(&proof, &message).unwrap();
    let (identity, signed) = SignedProof::parse(text.as_bytes()).unwrap();
    assert_eq!(identity, message.identity);
    assert_eq!(key.verify(&signed, &message), Ok(proof));
    let other = ProvenMessage { identity: b"acme/device/pump-2", ..message };
    assert!(key.verify(&signed, &other).is_err());
    let moved = [topic, payload].concat();
    let moved = ProvenMessage { topic: &moved, payload: b"", ..message };
    assert!(payload.is_empty() || key.verify(&signed, &moved).is_err());
}
