//! How a command ends: an exit code, and for a failure the sentence on standard error.
//!
//! The codes are those of sysexits.h. It prints nothing.

use std::io;
use std::process::ExitCode;

/// How a command ended, in the codes of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The command ran and its answer is no: a finding of `doctor`, a refusal of `explain`.
    Negative = 1,
    /// The command line is wrong, or names something that does not exist.
    Usage = 64,
    /// A dependency is unavailable: Postgres, the broker, the daemon.
    Unavailable = 69,
    /// A fault of the program.
    Internal = 70,
    /// The settings are wrong.
    Config = 78,
}

/// A command's failure: its exit code and its message for standard error.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, to what, and what to do.
    pub message: String,
}

// === impl Exit ===

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

// === impl Failure ===

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The command line names something that does not exist, or asks for something impossible.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A dependency is unavailable.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, message)
    }
}

impl From<io::Error> for Failure {
    /// Converts a printing error. A closed pipe (`| head`) is no failure.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Done, ""),
            _ => Self::new(Exit::Internal, format!("cannot write to standard output: {error}")),
        }
    }
}
