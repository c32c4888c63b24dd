//! Why a token is refused, and what to do.
//!
//! It contains no part of a token except the name of its algorithm, because it reaches logs and the
//! broker.

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than a token may be.
    #[error("the token has {bytes} bytes, more than {max}: have the issuer put less into it")]
    TooLong {
        /// The length.
        bytes: usize,
        /// The longest accepted length.
        max: usize,
    },
    /// Not three parts, not base64url, not JSON.
    #[error(
        "this is no signed token ({0}): send the issuer's access token as it is, in its compact form"
    )]
    NotAToken(&'static str),
    /// `none`, `HS256`, or another unsupported algorithm.
    #[error(
        "the token is signed by {0}, which is not taken: have the issuer sign by RS256, ES256 or EdDSA"
    )]
    Algorithm(Box<str>),
    /// A `crit` header.
    #[error(
        "the token asks for extensions that are not known here (crit): have the issuer leave them out"
    )]
    Critical,
    /// `iss` names no configured issuer.
    #[error(
        "the token's iss is no issuer that is trusted here: check JWT_ISSUER, which must be the same text"
    )]
    Issuer,
    /// The issuer's keys are missing, or too old to be trusted.
    #[error(
        "the keys of {issuer} are not there: the log says why; the token is believed once they are"
    )]
    KeysAway {
        /// The issuer.
        issuer: Box<str>,
    },
    /// The header's `kid` names no key of the issuer.
    #[error(
        "{issuer} has no key of the name in the token's kid: get a new token, or look whether it is from another realm"
    )]
    UnknownKey {
        /// The issuer.
        issuer: Box<str>,
    },
    /// The key does not fit the algorithm.
    #[error(
        "the key of the token is not for {algorithm}: the token was tampered with, or the issuer is set up wrong"
    )]
    WrongKey {
        /// The algorithm in the header.
        algorithm: &'static str,
    },
    /// The signature is wrong.
    #[error("the token's signature is not the issuer's: get a new token")]
    Signature,
    /// `aud` names other audiences only.
    #[error(
        "the token is not meant for us: its aud must name one of JWT_AUDIENCE; set that, or the issuer's audience"
    )]
    Audience,
    /// `exp` is past.
    #[error("the token has expired: get a new one")]
    Expired,
    /// `nbf` or `iat` is ahead.
    #[error(
        "the token is not valid yet ({claim}): wait, or set the clocks; JWT_LEEWAY_SECONDS allows for small differences"
    )]
    NotYet {
        /// The claim.
        claim: &'static str,
    },
    /// A required claim is missing.
    #[error("the token lacks the claim {0}: have the issuer put it in")]
    Missing(Box<str>),
    /// A claim has the wrong type.
    #[error("the token's {0} is not of the type it must have: have the issuer correct it")]
    Type(&'static str),
    /// No claim names the subject.
    #[error("the token does not say whose it is: have the issuer put sub into it")]
    NoSubject,
}

// === impl TokenError ===

impl TokenError {
    /// Whether the token could pass with newer keys of the issuer.
    pub fn may_pass_with_new_keys(&self) -> bool {
        matches!(self, Self::KeysAway { .. } | Self::UnknownKey { .. })
    }
}
