//! Why a token is refused, and what to do.
//!
//! It contains no part of a token except the name of its algorithm, because it reaches logs and the
//! broker.

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than a token may be.
    #[error(
        "the token has {bytes} bytes, more than {max}: configure the issuer to put fewer claims into it"
    )]
    TooLong {
        /// The length.
        bytes: usize,
        /// The longest accepted length.
        max: usize,
    },
    /// Not three parts, not base64url, not JSON.
    #[error(
        "the token is malformed ({0}): send the issuer's access token unchanged, in its compact form"
    )]
    NotAToken(&'static str),
    /// `none`, `HS256`, or another unsupported algorithm.
    #[error(
        "the token is signed with {0}, which is not accepted: configure the issuer to sign with RS256, ES256 or EdDSA"
    )]
    Algorithm(Box<str>),
    /// A `crit` header.
    #[error("the token requires unknown extensions (crit): configure the issuer to omit them")]
    Critical,
    /// `iss` names no configured issuer.
    #[error("the token's iss is not a trusted issuer: JWT_ISSUER must have exactly the same text")]
    Issuer,
    /// The issuer's keys are missing, or too old to be trusted.
    #[error(
        "Sluice has no keys of {issuer}: its log has the cause; the token is accepted when they are read"
    )]
    KeysAway {
        /// The issuer.
        issuer: Box<str>,
    },
    /// The header's `kid` names no key of the issuer.
    #[error(
        "{issuer} has no key with the token's kid: get a new token, or check that the token is from the right realm"
    )]
    UnknownKey {
        /// The issuer.
        issuer: Box<str>,
    },
    /// The key does not fit the algorithm.
    #[error(
        "the key of the token is not for {algorithm}: the token was changed, or the issuer is misconfigured"
    )]
    WrongKey {
        /// The algorithm in the header.
        algorithm: &'static str,
    },
    /// The signature is wrong.
    #[error("the token's signature is not from the issuer: get a new token")]
    Signature,
    /// `aud` names other audiences only.
    #[error(
        "the token is for another audience: its aud must contain one of JWT_AUDIENCE; change that setting or the issuer's audience"
    )]
    Audience,
    /// `exp` is past.
    #[error("the token has expired: get a new one")]
    Expired,
    /// `nbf` or `iat` is ahead.
    #[error(
        "the token is not valid yet ({claim}): wait, or correct the clocks; JWT_LEEWAY_SECONDS tolerates small differences"
    )]
    NotYet {
        /// The claim.
        claim: &'static str,
    },
    /// A required claim is missing.
    #[error("the token lacks the claim {0}: configure the issuer to add it")]
    Missing(Box<str>),
    /// A claim has the wrong type.
    #[error("the token's {0} has the wrong type: correct the configuration of the issuer")]
    Type(&'static str),
    /// No claim names the subject.
    #[error("the token names no subject: configure the issuer to add sub")]
    NoSubject,
}

// === impl TokenError ===

impl TokenError {
    /// Whether the token could pass with newer keys of the issuer.
    pub fn may_pass_with_new_keys(&self) -> bool {
        matches!(self, Self::KeysAway { .. } | Self::UnknownKey { .. })
    }
}
