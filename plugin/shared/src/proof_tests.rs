//! What is signed verifies, and nothing else does.

use proptest::prelude::*;

use crate::proof::*;
use crate::time::Timestamp;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn proof(fingerprint: Option<ShortFingerprint>) -> Proof {
    Proof {
        boot: Boot(0x0102_0304_0506_0708),
        sequence: 7,
        at: Timestamp::from_micros(1_790_000_000_000_000),
        fingerprint,
        is_will: false,
    }
}

fn message<'a>(identity: &'a str, topic: &'a [u8], payload: &'a [u8]) -> ProvenMessage<'a> {
    ProvenMessage { identity, topic, payload }
}

#[test]
fn what_is_signed_verifies_and_says_the_same() {
    for fingerprint in [None, Some(ShortFingerprint([9; 16]))] {
        let key = ProofKey::derive(SECRET, Boot(0x0102_0304_0506_0708)).unwrap();
        let message = message("a/device/b", b"tenant/a/device/b/telemetry", b"{}");
        let text = key.sign(&proof(fingerprint), &message).unwrap();
        let parsed = SignedProof::parse(text.as_bytes()).unwrap();
        assert_eq!(key.verify(&parsed, &message), Ok(proof(fingerprint)));
        let same = ProofKey::from_text(&ProofKey::derive_text(SECRET, parsed.boot())).unwrap();
        assert_eq!(same.verify(&parsed, &message), Ok(proof(fingerprint)));
    }
}

#[test]
fn no_byte_can_move_between_the_parts() {
    let key = ProofKey::derive(SECRET, Boot(1)).unwrap();
    let text = key.sign(&proof(None), &message("ab", b"cd", b"ef")).unwrap();
    let parsed = SignedProof::parse(text.as_bytes()).unwrap();
    for other in [
        message("a", b"bcd", b"ef"),
        message("abc", b"d", b"ef"),
        message("ab", b"c", b"def"),
        message("ab", b"cde", b"f"),
        message("ab", b"cd", b"eg"),
    ] {
        assert_eq!(key.verify(&parsed, &other), Err(ProofError::Mac), "{other:?}");
    }
    let other_boot = ProofKey::derive(SECRET, Boot(2)).unwrap();
    assert_eq!(other_boot.verify(&parsed, &message("ab", b"cd", b"ef")), Err(ProofError::Mac));
}

#[test]
fn a_changed_text_never_verifies() {
    let key = ProofKey::derive(SECRET, Boot(1)).unwrap();
    let message = message("a", b"b", b"c");
    let text = key.sign(&proof(Some(ShortFingerprint([3; 16]))), &message).unwrap();
    for at in 0..text.as_bytes().len() {
        for replaced in *b"AQgw_-9" {
            let mut changed = text.as_bytes().to_vec();
            if changed[at] == replaced {
                continue;
            }
            changed[at] = replaced;
            let accepted =
                SignedProof::parse(&changed).is_ok_and(|it| key.verify(&it, &message).is_ok());
            assert!(!accepted, "byte {at} as {}", char::from(replaced));
        }
    }
}

#[test]
fn every_spelling_of_a_reserved_name_is_found() {
    for name in ["sluice-identity", "Sluice-Proof", "SLUICE-x", "sluice-"] {
        assert!(is_reserved(name.as_bytes()), "{name}");
    }
    for name in ["sluice", "xsluice-identity", "", " sluice-identity"] {
        assert!(!is_reserved(name.as_bytes()), "{name}");
    }
}

#[test]
fn a_key_is_not_printed() {
    assert_eq!(format!("{:?}", ProofKey::derive(SECRET, Boot(1)).unwrap()), "ProofKey(..)");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in prop::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(parsed) = SignedProof::parse(&text) {
            let key = ProofKey::derive(SECRET, parsed.boot()).unwrap();
            let verified = key.verify(&parsed, &message("a", b"b", b"c"));
            prop_assert_eq!(verified, Err(ProofError::Mac));
        }
    }
}
