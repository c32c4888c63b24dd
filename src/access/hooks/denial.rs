//! Why a request of the broker is denied, as a sentence for the broker's log and for operators.
//!
//! It contains no part of a token or a password.

use super::guest::GuestRefusal;
use crate::access::tokens::error::TokenError;
use crate::domain::broker_login::LoginError;
use crate::domain::ports::Outage;
use crate::domain::refusal::Refusal;

/// The reason of a denial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Neither a token nor a name.
    #[error("the question names nobody: send a user name, or a token as `Authorization: Bearer`")]
    Anonymous,
    /// The password is missing.
    #[error("there is no password: send the device's token, or the issuer's")]
    NoPassword,
    /// The password is neither a device's token nor an issuer's.
    #[error(
        "the user name is no device's and the password is no token: a device logs in as <tenant>/device/<device> with \
         its provisioning token, a service or a person with the issuer's token"
    )]
    NoToken,
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The registry refuses the device.
    #[error("{}: {}", .0.reason, .0.detail)]
    Device(Refusal),
    /// The client id would end the session of another client.
    #[error(
        "the client id is another device's, a Sluice's own, or in HOOKS_RESERVED_NAMES: use one of your own, without a slash \
         unless you are that device"
    )]
    ClientId,
    /// The user name is reserved.
    #[error(
        "the user name is reserved: it is a Sluice's own, looks like a guest's or a device's, or is in \
         HOOKS_RESERVED_NAMES; log in with the name the token says, or with the token as user name"
    )]
    ReservedName,
    /// The user name is not the proven one, and other parts of the broker decide by it.
    #[error(
        "the user name is not what the token says: use its subject (of a service: its client id), or the token itself as \
         user name"
    )]
    OtherName,
    /// The issuer has withdrawn the key that signed the token.
    #[error(
        "the key that signed the token of this login is not the issuer's now: get a new token and connect again"
    )]
    KeyWithdrawn,
    /// The names belong to another live login, whose rights the client would share.
    #[error(
        "this user name and client id belong to another login that has not ended: use a client id of your own"
    )]
    NamesTaken,
    /// The guest is refused.
    #[error(transparent)]
    Guest(GuestRefusal),
    /// The login cannot be stored.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// No login exists under these names.
    #[error(
        "no login under this user name and client id is known, or what it proved has ended: connect anew"
    )]
    NoLogin,
    /// The subject is not a superuser.
    #[error("no superuser: each topic is asked about by itself")]
    NoSuperuser,
    /// The policy denies, with its cause.
    #[error("{0}")]
    Policy(String),
    /// A lookup failed, so the fault is on this side.
    #[error("a fault here, not with the one who asks: {0}")]
    Fault(Outage),
}

// === impl Denial ===

impl Denial {
    /// Whether a fault on this side caused the denial.
    pub const fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Fault(_)
                | Self::Token(TokenError::KeysAway { .. })
                | Self::Guest(GuestRefusal::Unavailable(_))
        )
    }
}
