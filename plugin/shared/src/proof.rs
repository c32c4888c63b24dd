//! The proof of a message's publisher: what the plugin adds to a message, and how the daemon verifies it.
//!
//! The plugin adds one user property, [`PUBLISHER_PROPERTY`]: the identity of the publisher, a space, and a
//! binary record in base64url:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | upper half: version, 1; lower half: flags, 1 = the publisher has a certificate, 2 = a will |
//! | 8 | boot: the random number of this start of the plugin |
//! | 8 | sequence of the message within the boot |
//! | 8 | time at the broker, microseconds since the epoch |
//! | 16 | first half of the SHA-256 fingerprint of the certificate; only with flag 1 |
//! | 16 | the CMAC with AES-128 over all fields, the identity, the topic and the payload |
//!
//! For a message of 100 bytes the CMAC takes about 1,100 instructions, the tag of ChaCha20-Poly1305 1,600,
//! HMAC-SHA256 9,700 (callgrind).
//!
//! The key of a boot is derived from the daemon's secret and the boot, so a replica that has the secret
//! verifies messages of every boot, also those that were queued while it was not running. A client
//! cannot make a proof: it has no key, and the MAC covers the topic and the payload.
//!
//! It keeps no state. Whether a proof is required, and what its identity may publish, callers decide.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use aes::Aes128Enc;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cmac::{Cmac, Mac as _};
use ring::hmac;
use zeroize::Zeroizing;

use crate::time::Timestamp;

/// The prefix of the user properties that only the plugin may add, in lower case.
pub const RESERVED_PREFIX: &str = "sluice-";

/// The user property with the identity of the publisher and its proof.
pub const PUBLISHER_PROPERTY: &str = "sluice-publisher";

/// The least length of the daemon's secret, in bytes.
pub const SECRET_MIN_BYTES: usize = 32;

const VERSION: u8 = 1;
const FLAG_CERTIFICATE: u8 = 1;
const FLAG_WILL: u8 = 2;

const FIXED_BYTES: usize = 1 + 8 + 8 + 8;
const FINGERPRINT_BYTES: usize = 16;
const MAC_BYTES: usize = 16;
const RECORD_MAX_BYTES: usize = FIXED_BYTES + FINGERPRINT_BYTES + MAC_BYTES;
const TEXT_MAX_BYTES: usize = RECORD_MAX_BYTES.div_ceil(3) * 4;

/// How much of the buffer for a MAC's input a thread keeps.
const INPUT_KEPT_BYTES: usize = 64 * 1024;

/// The length of a key: the first half of what is derived.
const KEY_BYTES: usize = 16;

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
    pub identity: &'a [u8],
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

/// The key of one boot. Clones share it.
#[derive(Clone)]
pub struct ProofKey(Arc<Cmac<Aes128Enc>>);

/// The value of the property [`PUBLISHER_PROPERTY`], with the NUL that the broker wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherText(Vec<u8>);

/// Why a text is not a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// No identity, not base64url, or not of the length that its flags announce.
    #[error("the property sluice-publisher is malformed")]
    Malformed,
    /// A version that this release does not know.
    #[error("the property sluice-publisher has version {0}, which this release does not know")]
    Version(u8),
    /// The MAC does not fit the message.
    #[error("the property sluice-publisher does not belong to this message")]
    Mac,
}

// === impl ProofKey ===

impl ProofKey {
    /// The key of `boot`, derived from the daemon's secret.
    pub fn derive(secret: &[u8], boot: Boot) -> Result<Self, ProofError> {
        Self::new(&derived(secret, boot).as_ref()[..KEY_BYTES])
    }

    /// The key with these 16 bytes.
    pub fn new(key: &[u8]) -> Result<Self, ProofError> {
        let mac = Cmac::new_from_slice(key).map_err(|_| ProofError::Malformed)?;
        Ok(Self(Arc::new(mac)))
    }

    /// The key of `boot` as text, to send it to the plugin.
    pub fn derive_text(secret: &[u8], boot: Boot) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(&derived(secret, boot).as_ref()[..KEY_BYTES]))
    }

    /// The key of a text from [`Self::derive_text`].
    pub fn from_text(text: &str) -> Result<Self, ProofError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new);
        Self::new(&bytes.map_err(|_| ProofError::Malformed)?)
    }

    /// Signs a proof of `message`.
    pub fn sign(
        &self,
        proof: &Proof,
        message: &ProvenMessage<'_>,
    ) -> Result<PublisherText, ProofError> {
        let (mut record, signed_len) = proof.record();
        let tag = self.with_mac(&record[..signed_len], message, |mac| mac.finalize().into_bytes());
        record[signed_len..signed_len + MAC_BYTES].copy_from_slice(&tag);
        PublisherText::new(message.identity, &record[..signed_len + MAC_BYTES])
    }

    /// Verifies that `signed` is a proof of `message` made with this key.
    pub fn verify(
        &self,
        signed: &SignedProof,
        message: &ProvenMessage<'_>,
    ) -> Result<Proof, ProofError> {
        let (record, tag) = signed.record.split_at(signed.signed_len);
        let verified = self.with_mac(record, message, |mac| mac.verify_slice(&tag[..MAC_BYTES]));
        verified.map(|()| signed.proof).map_err(|_| ProofError::Mac)
    }

    /// Ends the MAC over the record and the message, which gets its input in one piece: that costs half of
    /// several.
    fn with_mac<T>(
        &self,
        record: &[u8],
        message: &ProvenMessage<'_>,
        end: impl FnOnce(Cmac<Aes128Enc>) -> T,
    ) -> T {
        thread_local! {
            static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        // The lengths keep the parts apart: no byte can move from one part to the next. MQTT has none above
        // 65,535.
        let length = |part: &[u8]| u64::try_from(part.len()).unwrap_or(u64::MAX);
        let lengths = (length(message.identity) << 32 | length(message.topic)).to_be_bytes();
        let mut head = [0; RECORD_MAX_BYTES];
        head[..record.len()].copy_from_slice(record);
        head[record.len()..record.len() + lengths.len()].copy_from_slice(&lengths);
        INPUT.with_borrow_mut(|input| {
            input.clear();
            input.shrink_to(INPUT_KEPT_BYTES);
            input.extend_from_slice(&head[..record.len() + lengths.len()]);
            for part in [message.identity, message.topic, message.payload] {
                input.extend_from_slice(part);
            }
            let mut mac = (*self.0).clone();
            mac.update(input);
            end(mac)
        })
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
        record[0] = (VERSION << 4)
            | (u8::from(self.fingerprint.is_some()) * FLAG_CERTIFICATE)
            | (u8::from(self.is_will) * FLAG_WILL);
        record[1..9].copy_from_slice(&self.boot.0.to_be_bytes());
        record[9..17].copy_from_slice(&self.sequence.to_be_bytes());
        record[17..25].copy_from_slice(&self.at.micros().to_be_bytes());
        let Some(fingerprint) = self.fingerprint else { return (record, FIXED_BYTES) };
        record[FIXED_BYTES..FIXED_BYTES + FINGERPRINT_BYTES].copy_from_slice(&fingerprint.0);
        (record, FIXED_BYTES + FINGERPRINT_BYTES)
    }
}

// === impl SignedProof ===

impl SignedProof {
    /// Parses the value of the property [`PUBLISHER_PROPERTY`]: the identity, and its proof. It allocates
    /// nothing.
    pub fn parse(value: &[u8]) -> Result<(&[u8], Self), ProofError> {
        // An identity may contain spaces, base64url does not.
        let space = value.iter().rposition(|byte| *byte == b' ').ok_or(ProofError::Malformed)?;
        Ok((&value[..space], Self::parse_record(&value[space + 1..])?))
    }

    fn parse_record(text: &[u8]) -> Result<Self, ProofError> {
        if text.len() > TEXT_MAX_BYTES {
            return Err(ProofError::Malformed);
        }
        // The decoder wants room for whole groups of three.
        let mut decoded = [0; TEXT_MAX_BYTES];
        let len =
            URL_SAFE_NO_PAD.decode_slice(text, &mut decoded).map_err(|_| ProofError::Malformed)?;
        let &first = decoded[..len].first().ok_or(ProofError::Malformed)?;
        let (version, flags) = (first >> 4, first & 0x0f);
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
            boot: Boot(number(1)),
            sequence: number(9),
            at: Timestamp::from_micros(number(17).cast_signed()),
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

// === impl PublisherText ===

impl PublisherText {
    fn new(identity: &[u8], record: &[u8]) -> Result<Self, ProofError> {
        // Base64 contains none.
        if identity.contains(&0) {
            return Err(ProofError::Malformed);
        }
        let start = identity.len() + 1;
        let end = start + (8 * record.len()).div_ceil(6);
        let mut text = Vec::with_capacity(end + 1);
        text.extend_from_slice(identity);
        text.push(b' ');
        text.resize(end, 0);
        let written = URL_SAFE_NO_PAD.encode_slice(record, &mut text[start..]);
        written.map_err(|_| ProofError::Malformed)?;
        text.push(0);
        Ok(Self(text))
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0[..self.0.len() - 1]
    }

    /// The text with its NUL, the only one.
    pub fn as_bytes_with_nul(&self) -> &[u8] {
        &self.0
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

fn derived(secret: &[u8], boot: Boot) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(KEY_LABEL);
    context.update(&boot.0.to_be_bytes());
    context.sign()
}
