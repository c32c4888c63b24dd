//! Result of a check: severity, one sentence, and advice.
//!
//! It checks nothing.

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// No problem.
    Ok,
    /// It works, but the operator should look at it.
    Warning,
    /// It does not work, or will fail.
    Error,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its severity.
    pub level: Severity,
    /// The fact; never contains a secret.
    pub what: String,
    /// What to do, unless the sentence says it.
    pub advice: Option<String>,
}

// === impl Severity ===

impl Severity {
    /// Name in texts and in JSON.
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
    /// A finding without a problem.
    pub fn ok(what: impl Into<String>) -> Self {
        Self { level: Severity::Ok, what: what.into(), advice: None }
    }

    /// A warning with advice.
    pub fn warning(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Severity::Warning, what: what.into(), advice: Some(advice.into()) }
    }

    /// An error with the way to fix it.
    pub fn error(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Severity::Error, what: what.into(), advice: Some(advice.into()) }
    }
}
