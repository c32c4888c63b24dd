//! Who published a message, as far as the broker's plugin has proved it.
//!
//! It verifies nothing: `ingest` does. What a publisher may publish is decided there, too.

use bytes::Bytes;
use sluice_shared::proof::{ProofError, ShortFingerprint};

use super::hex;
use super::time::Timestamp;

/// What is known of the publisher of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// Not examined yet: the encoded properties of the PUBLISH, which may hold a proof.
    Unread(Bytes),
    /// The message carries no proof.
    Missing,
    /// The message carries something else than a valid proof.
    Invalid(ProofFault),
    /// The proof is valid, or was when the message was received.
    Proven(ProvenPublisher),
}

/// A publisher whose proof is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenPublisher {
    /// Its identity at the broker: of a device `<t>/device/<d>`.
    pub identity: Bytes,
    /// The certificate it logged in with; `None`: it logged in otherwise.
    pub fingerprint: Option<ShortFingerprint>,
    /// When the broker received the message.
    pub at: Timestamp,
}

/// Why a message has no valid proof although it has a reserved property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// The property twice, or another reserved one.
    #[error(
        "the message has the property sluice-publisher twice, or another one whose name begins with sluice-"
    )]
    Ambiguous,
    /// The identity is no text.
    #[error("the identity in the property sluice-publisher is not UTF-8")]
    Identity,
    /// The proof itself.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

// === impl Publisher ===

impl Default for Publisher {
    fn default() -> Self {
        Self::Unread(Bytes::new())
    }
}

impl Publisher {
    /// The proven publisher.
    pub const fn proven(&self) -> Option<&ProvenPublisher> {
        match self {
            Self::Proven(proven) => Some(proven),
            Self::Unread(_) | Self::Missing | Self::Invalid(_) => None,
        }
    }
}

// === impl ProvenPublisher ===

impl ProvenPublisher {
    /// Its identity.
    pub fn identity(&self) -> &str {
        // Checked when the proof was verified; the fallback is no identity.
        std::str::from_utf8(&self.identity).unwrap_or_default()
    }

    /// The first half of its certificate's fingerprint in hexadecimal digits.
    pub fn fingerprint_text(&self) -> Option<String> {
        self.fingerprint.map(|fingerprint| hex::encode(&fingerprint.0))
    }
}
