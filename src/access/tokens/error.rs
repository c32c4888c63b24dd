//! Why a token is not believed, and what to do about it.
//!
//! No part of a token is in it but the name of its algorithm: what is said here goes to logs and to the broker.

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than a token may be.
    #[error("the token has {bytes} bytes, more than {max}: have the issuer put less into it")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// Not three parts, not base64url, not JSON.
    #[error("this is no signed token ({0}): send the issuer's access token as it is, in its compact form")]
    NotAToken(&'static str),
    /// `none`, `HS256` and all that is not ours.
    #[error("the token is signed by {0}, which is not taken: have the issuer sign by RS256, ES256 or EdDSA")]
    Algorithm(Box<str>),
    /// A `crit` header.
    #[error("the token asks for extensions that are not known here (crit): have the issuer leave them out")]
    Critical,
    /// `iss` is nobody's.
    #[error("the token's iss is no issuer that is trusted here: check JWT_ISSUER, which must be the same text")]
    Issuer,
    /// No key of the issuer's is there, or they are too old to be trusted.
    #[error("the keys of {issuer} are not there: the log says why; the token is believed once they are")]
    KeysAway {
        /// Whose.
        issuer: Box<str>,
    },
    /// The header's `kid` is no key of the issuer's.
    #[error(
        "{issuer} has no key of the name in the token's kid: get a new token, or look whether it is from another realm"
    )]
    UnknownKey {
        /// Whose.
        issuer: Box<str>,
    },
    /// The key is of another kind than the algorithm.
    #[error("the key of the token is not for {algorithm}: the token was tampered with, or the issuer is set up wrong")]
    WrongKey {
        /// What the header says.
        algorithm: &'static str,
    },
    /// The signature does not hold.
    #[error("the token's signature is not the issuer's: get a new token")]
    Signature,
    /// `aud` names others.
    #[error("the token is not meant for us: its aud must name one of JWT_AUDIENCE; set that, or the issuer's audience")]
    Audience,
    /// `exp` is past.
    #[error("the token has expired: get a new one")]
    Expired,
    /// `nbf` or `iat` is ahead.
    #[error(
        "the token is not valid yet ({claim}): wait, or set the clocks; JWT_LEEWAY_SECONDS allows for small differences"
    )]
    NotYet {
        /// Which of the two.
        claim: &'static str,
    },
    /// A claim is missing that is asked for.
    #[error("the token lacks the claim {0}: have the issuer put it in")]
    Missing(Box<str>),
    /// A claim is of another type than it must be.
    #[error("the token's {0} is not of the type it must have: have the issuer correct it")]
    Type(&'static str),
    /// Neither `sub` nor any other name.
    #[error("the token does not say whose it is: have the issuer put sub into it")]
    NoSubject,
}

// === impl Refused ===

impl TokenError {
    /// Whether newer keys of the issuer may change it.
    pub fn may_pass_with_new_keys(&self) -> bool {
        matches!(self, Self::KeysAway { .. } | Self::UnknownKey { .. })
    }
}
