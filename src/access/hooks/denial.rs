//! Why somebody is not let in, in a sentence that the broker's log and the operator can use.
//!
//! No part of a token or a password is in it.

use super::guest::GuestRefusal;
use crate::access::tokens::error::TokenError;
use crate::domain::broker_login::LoginError;
use crate::domain::ports::Outage;
use crate::domain::refusal::Refusal;

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Neither a token nor a name.
    #[error("the question names nobody: send a user name, or a token as `Authorization: Bearer`")]
    Nobody,
    /// Nothing to prove it by.
    #[error("there is no password: send the device's token, or the issuer's")]
    NoPassword,
    /// A password that is neither.
    #[error(
        "the user name is no device's and the password is no token: a device logs in as <tenant>/device/<device> with \
         its provisioning token, a service or a person with the issuer's token"
    )]
    NoToken,
    /// The token is not believed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The registry says no.
    #[error("{}: {}", .0.reason, .0.detail)]
    Device(Refusal),
    /// It would end somebody else's session.
    #[error(
        "the client id is another device's, a Sluice's own, or in HOOKS_RESERVED_NAMES: use one of your own, without a slash \
         unless you are that device"
    )]
    ClientId,
    /// A name that no login by a token has.
    #[error(
        "the user name is reserved: it is a Sluice's own, looks like a guest's or a device's, or is in \
         HOOKS_RESERVED_NAMES; log in with the name the token says, or with the token as user name"
    )]
    ReservedName,
    /// Other parts of the broker decide by the name, so it must be the proven one.
    #[error(
        "the user name is not what the token says: use its subject (of a service: its client id), or the token itself as \
         user name"
    )]
    OtherName,
    /// The issuer withdrew the key.
    #[error("the key that signed the token of this login is not the issuer's now: get a new token and connect again")]
    KeyWithdrawn,
    /// It would share the rights of somebody who is in.
    #[error("this user name and client id belong to another login that has not ended: use a client id of your own")]
    NamesTaken,
    /// A guest is not let in.
    #[error(transparent)]
    Guest(GuestRefusal),
    /// A login that cannot be remembered.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// Nobody logged in under these names.
    #[error("no login under this user name and client id is known, or what it proved has ended: connect anew")]
    NoLogin,
    /// Not everything is open to it.
    #[error("no superuser: each topic is asked about by itself")]
    NoSuperuser,
    /// The policy says no, and by what.
    #[error("{0}")]
    Policy(String),
    /// Nothing was found out: the fault is here.
    #[error("a fault here, not with the one who asks: {0}")]
    Fault(Outage),
}

// === impl Denial ===

impl Denial {
    /// Whether it was denied only because something here failed.
    pub const fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Fault(_) | Self::Token(TokenError::KeysAway { .. }) | Self::Guest(GuestRefusal::Unavailable(_))
        )
    }
}
