//! What a refusal or a failure of a link means: what happened, the likely cause, and what to do, with
//! the field of the links file that is at fault.
//!
//! The clouds document no table of their codes: a cause is never more than "likely". It holds no
//! secret and decides nothing. [`codes`] has the table of reason codes, [`errors`] the failures before
//! and around them.

pub(crate) mod codes;
pub(crate) mod errors;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::link::settings::LinkSettings;

/// What a refusal or a failure means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkExplanation {
    /// What happened.
    pub what: String,
    /// The likely cause, in words that say so; `None` if what happened says it.
    pub cause: Option<String>,
    /// What to do.
    pub advice: String,
    /// Who refused, or that no answer came.
    pub class: FailureClass,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The other broker refused: an operator must change something, there or here.
    Refused,
    /// The other broker is away, overloaded or closed the connection: it may work the next time.
    Unavailable,
    /// Another client uses the client id.
    TakenOver,
}

/// The packet that carries a reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodePacket {
    /// The answer to CONNECT.
    ConnAck,
    /// The answer to SUBSCRIBE, with the filter.
    SubAck,
    /// The answer to PUBLISH, with the topic.
    PubAck,
    /// The end of the connection.
    Disconnect,
    /// The answer to a renewed token.
    Auth,
}

// === impl LinkExplanation ===

impl fmt::Display for LinkExplanation {
    /// `<what>: <cause>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {cause}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

// === impl CodePacket ===

impl CodePacket {
    /// Its name, for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ConnAck => "CONNACK",
            Self::SubAck => "SUBACK",
            Self::PubAck => "PUBACK",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

/// The full name of a field of this link in the links file.
pub(crate) fn field(settings: &LinkSettings, name: &str) -> String {
    format!("link.{}.{name}", settings.name)
}
