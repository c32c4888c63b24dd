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
    ProvenMessage { identity: identity.as_bytes(), topic, payload }
}

#[test]
fn what_is_signed_verifies_and_says_the_same() {
    for fingerprint in [None, Some(ShortFingerprint([9; 16]))] {
        let key = ProofKey::derive(SECRET, Boot(0x0102_0304_0506_0708)).unwrap();
        let message = message("a/device/b", b"tenant/a/device/b/telemetry", b"{}");
        let text = key.sign(&proof(fingerprint), &message).unwrap();
        let (identity, parsed) = SignedProof::parse(text.as_bytes()).unwrap();
        assert_eq!(identity, b"a/device/b");
        assert_eq!(key.verify(&parsed, &message), Ok(proof(fingerprint)));
        let same = ProofKey::from_text(&ProofKey::derive_text(SECRET, parsed.boot())).unwrap();
        assert_eq!(same.verify(&parsed, &message), Ok(proof(fingerprint)));
    }
}

#[test]
fn no_byte_can_move_between_the_parts() {
    let key = ProofKey::derive(SECRET, Boot(1)).unwrap();
    let text = key.sign(&proof(None), &message("ab", b"cd", b"ef")).unwrap();
    let (_, parsed) = SignedProof::parse(text.as_bytes()).unwrap();
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
            let accepted = SignedProof::parse(&changed).is_ok_and(|(identity, it)| {
                key.verify(&it, &ProvenMessage { identity, ..message }).is_ok()
            });
            assert!(!accepted, "byte {at} as {}", char::from(replaced));
        }
    }
}

#[test]
fn an_identity_may_contain_spaces_and_no_nul() {
    let key = ProofKey::derive(SECRET, Boot(1)).unwrap();
    let spaced = message("two words ", b"t", b"p");
    let text = key.sign(&proof(None), &spaced).unwrap();
    let (identity, parsed) = SignedProof::parse(text.as_bytes()).unwrap();
    assert_eq!(identity, b"two words ");
    assert!(key.verify(&parsed, &spaced).is_ok());
    assert_eq!(key.sign(&proof(None), &message("a\0b", b"t", b"p")), Err(ProofError::Malformed));
}

/// The second example of RFC 4493.
#[test]
fn the_mac_is_that_of_the_standard() {
    use cmac::{Cmac, Mac as _};
    let hex = |text: &str| -> Vec<u8> {
        let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    };
    let key = hex("2b7e151628aed2a6abf7158809cf4f3c");
    let mut mac = Cmac::<aes::Aes128Enc>::new_from_slice(&key).unwrap();
    mac.update(&hex("6bc1bee22e409f96e93d7e117393172a"));
    assert_eq!(mac.finalize().into_bytes()[..], hex("070a16b46b4d4144f79bdd9dd04a287c"));
}

#[test]
fn every_spelling_of_a_reserved_name_is_found() {
    for name in ["sluice-publisher", "Sluice-Publisher", "SLUICE-x", "sluice-"] {
        assert!(is_reserved(name.as_bytes()), "{name}");
    }
    for name in ["sluice", "xsluice-publisher", "", " sluice-publisher"] {
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
        let text = [b"a ", text.as_slice()].concat();
        if let Ok((_, parsed)) = SignedProof::parse(&text) {
            let key = ProofKey::derive(SECRET, parsed.boot()).unwrap();
            let verified = key.verify(&parsed, &message("a", b"b", b"c"));
            prop_assert_eq!(verified, Err(ProofError::Mac));
        }
    }
}
