//! What a check found: how grave it is, one sentence, and what to do about it.
//!
//! It checks nothing.

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be, or no fault of anybody.
    Ok,
    /// It works, but somebody should look at it.
    Warning,
    /// It does not work, or will not.
    Error,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave.
    pub level: Severity,
    /// What is so; never holds a secret.
    pub what: String,
    /// What to do, where the sentence does not say it already.
    pub advice: Option<String>,
}

// === impl Level ===

impl Severity {
    /// The name people and programs read.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

// === impl Finding ===

impl Finding {
    /// As it should be.
    pub fn ok(what: impl Into<String>) -> Self {
        Self { level: Severity::Ok, what: what.into(), advice: None }
    }

    /// Somebody should look at it, and do this.
    pub fn warning(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Severity::Warning, what: what.into(), advice: Some(advice.into()) }
    }

    /// It must be mended, like this.
    pub fn error(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Severity::Error, what: what.into(), advice: Some(advice.into()) }
    }
}
