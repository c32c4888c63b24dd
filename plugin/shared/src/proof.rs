//! The proof of a message's publisher: what the plugin adds to a message, and how the daemon verifies it.
//!
//! The plugin adds two user properties: [`IDENTITY_PROPERTY`] with the identity of the publisher, and
//! [`PROOF_PROPERTY`] with a binary record in base64url:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | flags: 1 = the publisher has a certificate, 2 = the message is a will |
//! | 8 | boot: the random number of this start of the plugin |
//! | 8 | sequence of the message within the boot |
//! | 8 | time at the broker, microseconds since the epoch |
//! | 16 | first half of the SHA-256 fingerprint of the certificate; only with flag 1 |
//! | 16 | the tag of ChaCha20-Poly1305 over all fields, the identity, the topic and the payload |
//!
//! Nothing is encrypted: the tag of an empty text with additional data is a MAC. Its nonce is the sequence,
//! which occurs once for each key. HMAC-SHA256 would take four times as many instructions.
//!
//! The key of a boot is derived from the daemon's secret and the boot, so a replica that has the secret
//! verifies messages of every boot, also those that were queued while it was not running. A client
//! cannot make a proof: it has no key, and the MAC covers the topic and the payload.
//!
//! It keeps no state. Whether a proof is required, and what its identity may publish, callers decide.

use std::cell::RefCell;
use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use zeroize::Zeroizing;

use crate::time::Timestamp;

/// The prefix of the user properties that only the plugin may add, in lower case.
pub const RESERVED_PREFIX: &str = "sluice-";

/// The user property with the identity of the publisher.
pub const IDENTITY_PROPERTY: &str = "sluice-identity";

/// The user property with the proof.
pub const PROOF_PROPERTY: &str = "sluice-proof";

/// The least length of the daemon's secret, in bytes.
pub const SECRET_MIN_BYTES: usize = 32;

const VERSION: u8 = 1;
const FLAG_CERTIFICATE: u8 = 1;
const FLAG_WILL: u8 = 2;

const FIXED_BYTES: usize = 2 + 8 + 8 + 8;
const FINGERPRINT_BYTES: usize = 16;
const MAC_BYTES: usize = 16;
const RECORD_MAX_BYTES: usize = FIXED_BYTES + FINGERPRINT_BYTES + MAC_BYTES;
const TEXT_MAX_BYTES: usize = RECORD_MAX_BYTES.div_ceil(3) * 4;

/// How much of the buffer for signing a thread keeps.
const DATA_KEPT_BYTES: usize = 64 * 1024;

/// Separates this use of the secret from all others.
const KEY_LABEL: &[u8] = b"sluice publisher proof 1";

/// The random number of one start of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Boot(pub u64);

/// The first half of a certificate's SHA-256 fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShortFingerprint(pub [u8; FINGERPRINT_BYTES]);

/// What a proof says beside the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The start of the plugin that made it.
    pub boot: Boot,
    /// The number of the message within the boot.
    pub sequence: u64,
    /// The time at the broker.
    pub at: Timestamp,
    /// The certificate of the publisher, if it has one.
    pub fingerprint: Option<ShortFingerprint>,
    /// Whether the broker published the message as the will of the publisher.
    pub is_will: bool,
}

/// The message that a proof is about.
#[derive(Clone, Copy, Debug)]
pub struct ProvenMessage<'a> {
    /// The identity of the publisher.
    pub identity: &'a str,
    /// The topic.
    pub topic: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

/// A proof with its MAC, parsed and not yet verified.
#[derive(Clone, Copy, Debug)]
pub struct SignedProof {
    proof: Proof,
    record: [u8; RECORD_MAX_BYTES],
    /// The length of the record without the MAC.
    signed_len: usize,
}

/// The text of the property [`PROOF_PROPERTY`], without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct ProofText {
    /// The text and a NUL, which the broker wants.
    bytes: [u8; TEXT_MAX_BYTES + 1],
    len: usize,
}

/// The key of one boot. Clones share it.
#[derive(Clone)]
pub struct ProofKey(Arc<LessSafeKey>);

/// Why a text is not a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not base64url, or not of the length that its flags announce.
    #[error("the property sluice-proof is malformed")]
    Malformed,
    /// A version that this release does not know.
    #[error("the property sluice-proof has version {0}, which this release does not know")]
    Version(u8),
    /// The MAC does not fit the message.
    #[error("the property sluice-proof does not belong to this message")]
    Mac,
}

// === impl ProofKey ===

impl ProofKey {
    /// The key of `boot`, derived from the daemon's secret.
    pub fn derive(secret: &[u8], boot: Boot) -> Result<Self, ProofError> {
        Self::new(derived(secret, boot).as_ref())
    }

    /// The key with these 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self, ProofError> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| ProofError::Malformed)?;
        Ok(Self(Arc::new(LessSafeKey::new(key))))
    }

    /// The key of `boot` as text, to send it to the plugin.
    pub fn derive_text(secret: &[u8], boot: Boot) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(derived(secret, boot)))
    }

    /// The key of a text from [`Self::derive_text`].
    pub fn from_text(text: &str) -> Result<Self, ProofError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new);
        Self::new(&bytes.map_err(|_| ProofError::Malformed)?)
    }

    /// Signs a proof of `message`. The sequence must not have been used with this key before.
    pub fn sign(
        &self,
        proof: &Proof,
        message: &ProvenMessage<'_>,
    ) -> Result<ProofText, ProofError> {
        let (mut record, signed_len) = proof.record();
        let signed = with_data(&record[..signed_len], message, |data| {
            let nonce = nonce_of(proof.sequence);
            self.0.seal_in_place_separate_tag(nonce, Aad::from(data), &mut [])
        });
        let tag = signed.map_err(|_| ProofError::Mac)?;
        record[signed_len..signed_len + MAC_BYTES].copy_from_slice(tag.as_ref());
        Ok(ProofText::encode(&record[..signed_len + MAC_BYTES]))
    }

    /// Verifies that `signed` is a proof of `message` made with this key.
    pub fn verify(
        &self,
        signed: &SignedProof,
        message: &ProvenMessage<'_>,
    ) -> Result<Proof, ProofError> {
        let mut tag = [0; MAC_BYTES];
        tag.copy_from_slice(&signed.record[signed.signed_len..signed.signed_len + MAC_BYTES]);
        let verified = with_data(&signed.record[..signed.signed_len], message, |data| {
            let nonce = nonce_of(signed.proof.sequence);
            self.0.open_in_place(nonce, Aad::from(data), &mut tag).map(|_| ())
        });
        verified.map(|()| signed.proof).map_err(|_| ProofError::Mac)
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofKey(..)")
    }
}

// === impl Proof ===

impl Proof {
    /// The record without the MAC, and its length.
    fn record(&self) -> ([u8; RECORD_MAX_BYTES], usize) {
        let mut record = [0; RECORD_MAX_BYTES];
        record[0] = VERSION;
        record[1] = (u8::from(self.fingerprint.is_some()) * FLAG_CERTIFICATE)
            | (u8::from(self.is_will) * FLAG_WILL);
        record[2..10].copy_from_slice(&self.boot.0.to_be_bytes());
        record[10..18].copy_from_slice(&self.sequence.to_be_bytes());
        record[18..26].copy_from_slice(&self.at.micros().to_be_bytes());
        let Some(fingerprint) = self.fingerprint else { return (record, FIXED_BYTES) };
        record[FIXED_BYTES..FIXED_BYTES + FINGERPRINT_BYTES].copy_from_slice(&fingerprint.0);
        (record, FIXED_BYTES + FINGERPRINT_BYTES)
    }
}

// === impl SignedProof ===

impl SignedProof {
    /// Parses the text of the property [`PROOF_PROPERTY`]. It allocates nothing.
    pub fn parse(text: &[u8]) -> Result<Self, ProofError> {
        if text.len() > TEXT_MAX_BYTES {
            return Err(ProofError::Malformed);
        }
        // The decoder wants room for whole groups of three.
        let mut decoded = [0; TEXT_MAX_BYTES];
        let len =
            URL_SAFE_NO_PAD.decode_slice(text, &mut decoded).map_err(|_| ProofError::Malformed)?;
        let (&[version, flags], _) =
            decoded[..len].split_first_chunk().ok_or(ProofError::Malformed)?;
        if version != VERSION {
            return Err(ProofError::Version(version));
        }
        let has_fingerprint = flags & FLAG_CERTIFICATE != 0;
        let signed_len = FIXED_BYTES + if has_fingerprint { FINGERPRINT_BYTES } else { 0 };
        if flags & !(FLAG_CERTIFICATE | FLAG_WILL) != 0 || len != signed_len + MAC_BYTES {
            return Err(ProofError::Malformed);
        }
        let mut record = [0; RECORD_MAX_BYTES];
        record[..len].copy_from_slice(&decoded[..len]);
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&record[at..at + 8]);
            u64::from_be_bytes(bytes)
        };
        let fingerprint = has_fingerprint.then(|| {
            let mut bytes = [0; FINGERPRINT_BYTES];
            bytes.copy_from_slice(&record[FIXED_BYTES..FIXED_BYTES + FINGERPRINT_BYTES]);
            ShortFingerprint(bytes)
        });
        let proof = Proof {
            boot: Boot(number(2)),
            sequence: number(10),
            at: Timestamp::from_micros(number(18).cast_signed()),
            fingerprint,
            is_will: flags & FLAG_WILL != 0,
        };
        Ok(Self { proof, record, signed_len })
    }

    /// The boot it names, to find the key. Nothing of an unverified proof is true yet.
    pub const fn boot(&self) -> Boot {
        self.proof.boot
    }
}

// === impl ProofText ===

impl ProofText {
    fn encode(record: &[u8]) -> Self {
        let mut bytes = [0; TEXT_MAX_BYTES + 1];
        // The buffer has room for the longest record; a shorter text would not verify.
        let text = &mut bytes[..TEXT_MAX_BYTES];
        let len = URL_SAFE_NO_PAD.encode_slice(record, text).unwrap_or_default();
        Self { bytes, len }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The text with its NUL.
    pub fn as_c_str(&self) -> &CStr {
        // Base64 contains no NUL, and the last byte is one.
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

// === impl ShortFingerprint ===

impl ShortFingerprint {
    /// The first half of a whole fingerprint.
    pub fn of(fingerprint: &[u8; 32]) -> Self {
        let mut half = [0; FINGERPRINT_BYTES];
        half.copy_from_slice(&fingerprint[..FINGERPRINT_BYTES]);
        Self(half)
    }
}

/// Whether a user property of this name is one that only the plugin may add, in any spelling.
pub fn is_reserved(name: &[u8]) -> bool {
    name.get(..RESERVED_PREFIX.len())
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case(RESERVED_PREFIX.as_bytes()))
}

// === private helpers ===

/// Runs `body` with all that the tag covers, in a buffer that the thread keeps.
fn with_data<T>(record: &[u8], message: &ProvenMessage<'_>, body: impl FnOnce(&[u8]) -> T) -> T {
    thread_local! {
        static DATA: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    DATA.with_borrow_mut(|data| {
        data.clear();
        data.shrink_to(DATA_KEPT_BYTES);
        data.extend_from_slice(record);
        // The lengths keep the parts apart: no byte can move from one part to the next.
        data.extend_from_slice(&(message.identity.len() as u64).to_be_bytes());
        data.extend_from_slice(message.identity.as_bytes());
        data.extend_from_slice(&(message.topic.len() as u64).to_be_bytes());
        data.extend_from_slice(message.topic);
        data.extend_from_slice(message.payload);
        body(data)
    })
}

fn nonce_of(sequence: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&sequence.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn derived(secret: &[u8], boot: Boot) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(KEY_LABEL);
    context.update(&boot.0.to_be_bytes());
    context.sign()
}
