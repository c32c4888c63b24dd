//! Reads the configuration of mosquitto-go-auth, and says what each line becomes with Sluice's plugin.
//!
//! 1. [`lines`] finds the options in a broker's configuration;
//! 2. [`options`] says what each option becomes;
//! 3. [`acl`] turns an ACL file into rules of a policy.
//!
//! It never widens access: what cannot be kept exactly is refused, by name and with a reason. It opens no
//! file and prints no value, because a value may be a secret.

pub mod acl;
pub mod lines;
pub mod options;

#[cfg(test)]
mod acl_tests;

/// What becomes of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The option, or the place in a file.
    pub name: String,
    /// What it becomes.
    pub fate: OptionFate,
    /// To what, or why; one sentence.
    pub detail: String,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionFate {
    /// It has the same meaning with Sluice.
    Carried,
    /// It has no meaning with Sluice, and nothing is lost.
    Dropped,
    /// Its meaning cannot be kept: the reader must decide.
    Refused,
}

impl OptionFate {
    /// The label in tables and JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Carried => "carried over",
            Self::Dropped => "not needed",
            Self::Refused => "REFUSED",
        }
    }
}

impl Outcome {
    /// An outcome.
    pub fn new(name: impl Into<String>, fate: OptionFate, detail: impl Into<String>) -> Self {
        Self { name: name.into(), fate, detail: detail.into() }
    }
}
