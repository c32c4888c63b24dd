//! What the broker asks and what the plugin answers, without pointers.

use std::ffi::CString;

use sluice_shared::frames::from_daemon::Verdict;
use sluice_shared::proof::PublisherText;

/// Wakes the thread of the broker, so that it takes the waiting work.
pub type Waker = Box<dyn Fn() + Send + Sync>;

/// A client of the broker: the address of its context, which the broker uses again for later clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(pub usize);

/// A login.
#[derive(Debug)]
pub struct LoginRequest<'a> {
    /// The client.
    pub client: ClientKey,
    /// The client id.
    pub client_id: &'a [u8],
    /// The user name.
    pub username: Option<&'a [u8]>,
    /// The password, or the token of extended authentication.
    pub password: Option<&'a [u8]>,
    /// The certificate in DER.
    pub certificate: Option<Vec<u8>>,
    /// The address.
    pub address: Option<Vec<u8>>,
    /// Whether the client asked for a session that begins empty.
    pub is_clean: bool,
}

/// A login that the broker does not wait for.
#[derive(Clone, Debug)]
pub struct DelayedLogin {
    /// The client.
    pub client: ClientKey,
    /// The client id.
    pub client_id: CString,
    /// The user name.
    pub username: Option<String>,
    /// The address.
    pub address: Option<Vec<u8>>,
    /// Whether the client asked for a session that begins empty.
    pub is_clean: bool,
    /// Until when an answer is waited for.
    pub deadline: std::time::Instant,
}

/// A delayed login that is decided.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The login.
    pub login: DelayedLogin,
    /// The verdict. `None`: none came in time.
    pub verdict: Option<Verdict>,
}

/// The answer to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginAnswer {
    /// Accepted.
    Accept {
        /// The user name that the broker shall use from now on.
        username: Option<CString>,
    },
    /// Refused.
    Deny,
    /// The next plugin or the password file decides.
    Defer,
    /// Not decidable now: the client shall try again.
    Unavailable,
    /// Decided later, at a tick: the broker goes on meanwhile (Mosquitto 2.1).
    Delayed,
    /// An unknown method of extended authentication.
    UnknownMethod,
}

/// Access to a topic.
pub struct AccessRequest<'a> {
    /// The client.
    pub client: ClientKey,
    /// The client id.
    pub client_id: &'a [u8],
    /// The topic, or the filter of a subscription.
    pub topic: &'a [u8],
    /// The payload of a message.
    pub payload: &'a [u8],
    /// The broker's number of the access.
    pub access: u8,
    /// The certificate of the client, if it is connected with one.
    pub certificate: &'a dyn Fn() -> Option<Vec<u8>>,
    /// The user name that the broker has stored.
    pub username: &'a dyn Fn() -> Option<Vec<u8>>,
}

/// The answer to an access.
#[derive(Clone, Debug)]
pub enum AccessAnswer {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
    /// The next plugin or the ACL file decides.
    Defer,
    /// Denied, and the broker must end the session: it calls no tick, so the session cannot be closed.
    CloseSession,
    /// The will of a client that has gone: the original is denied, a copy with this proof is published.
    PublishWill(Stamp),
}

/// A message that a client publishes.
pub struct PublishRequest<'a> {
    /// The client.
    pub client: ClientKey,
    /// The client id.
    pub client_id: &'a [u8],
    /// The topic.
    pub topic: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// Whether the client sent a reserved property.
    pub has_reserved: bool,
    /// The certificate of the client, if it is connected with one.
    pub certificate: &'a dyn Fn() -> Option<Vec<u8>>,
}

/// The answer to a message.
#[derive(Clone, Debug)]
pub enum MessageAnswer {
    /// The message is refused.
    Reject,
    /// The message stays as it is.
    Keep,
    /// Reserved properties are removed, and the stamp is added.
    Replace(Option<Stamp>),
}

/// The value of the property that names the publisher and proves it.
#[derive(Clone, Debug)]
pub struct Stamp(pub PublisherText);

/// A session to close.
#[derive(Clone, Debug)]
pub struct Kick {
    /// The client id.
    pub client_id: CString,
    /// The client.
    pub client: ClientKey,
    /// The number of the session.
    pub session: u64,
    /// The command of the daemon, if one asked for it.
    pub command: Option<u64>,
    /// When it was decided.
    pub decided_at: std::time::Instant,
}

/// What only the thread of the broker may do.
#[derive(Debug, Default)]
pub struct TickWork {
    /// Lines for the log of the broker.
    pub log: Vec<(crate::log::Level, String)>,
    /// Sessions to close.
    pub kicks: Vec<Kick>,
    /// Delayed logins to answer.
    pub completions: Vec<Completion>,
}
