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
    #[error(
        "the request has neither a user name nor a token: send a user name, or a token as `Authorization: Bearer`"
    )]
    Anonymous,
    /// The password is missing.
    #[error("the password is missing: send the token of the device or of the issuer")]
    NoPassword,
    /// The password is neither a device's token nor an issuer's.
    #[error(
        "the user name is not a device's, and the password is not a token; a device logs in as <tenant>/device/<device> with its provisioning token, a service or a person with the issuer's token"
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
        "the client id is reserved: it belongs to another device, to Sluice, or to HOOKS_RESERVED_NAMES; use another client id without a slash"
    )]
    ClientId,
    /// The user name is reserved.
    #[error(
        "the user name is reserved: it belongs to Sluice, resembles a guest's or a device's, or is in HOOKS_RESERVED_NAMES; log in under the subject of the token, or with the token as user name"
    )]
    ReservedName,
    /// The user name is not the proven one, and other parts of the broker decide by it.
    #[error(
        "the user name is not the subject of the token: use the subject (for a service its client id), or the token itself as user name"
    )]
    OtherName,
    /// The issuer has withdrawn the key that signed the token.
    #[error(
        "the issuer has withdrawn the key that signed the token of this login: get a new token and connect again"
    )]
    KeyWithdrawn,
    /// The names belong to another live login, whose rights the client would share.
    #[error("another live login uses this user name and client id: use another client id")]
    NamesTaken,
    /// The guest is refused.
    #[error(transparent)]
    Guest(GuestRefusal),
    /// The login cannot be stored.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// No login exists under these names.
    #[error("no valid login under this user name and client id found: connect again")]
    NoLogin,
    /// The subject is not a superuser.
    #[error("the subject is not a superuser; the broker checks each topic")]
    NoSuperuser,
    /// The policy denies, with its cause.
    #[error("{0}")]
    Policy(String),
    /// A lookup failed, so the fault is on this side.
    #[error("a fault of Sluice or its dependencies, not of the client: {0}")]
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
