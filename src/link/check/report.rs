//! What a check reports: for each step its result, what was found, and what to do.
//!
//! No text in it holds a token, a key or a password.

use serde::Serialize;

/// Result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepResult {
    /// No problem.
    Pass,
    /// It works, but the operator should look at it.
    Warn,
    /// The link does not hold because of it.
    Fail,
    /// Not made: an earlier step failed, or the link has nothing to check here.
    Skipped,
}

/// One step of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckStep {
    /// Its number, from 1 to 16.
    pub step: u8,
    /// Its name.
    pub name: &'static str,
    /// Its result.
    pub result: StepResult,
    /// What was found.
    pub found: Vec<String>,
    /// What to do.
    pub advice: Vec<String>,
    /// The keys of the links file that are at fault, the most likely first.
    pub fields: Vec<String>,
}

/// All steps of one check.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckReport {
    /// The link.
    pub link: String,
    /// The client id of the check.
    pub client_id: String,
    /// Whether no step failed.
    pub ok: bool,
    /// The steps.
    pub steps: Vec<CheckStep>,
}

// === impl StepResult ===

impl StepResult {
    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

// === impl CheckStep ===

impl CheckStep {
    /// A step without a finding: it passes.
    pub fn new(step: u8, name: &'static str) -> Self {
        Self {
            step,
            name,
            result: StepResult::Pass,
            found: Vec::new(),
            advice: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// A step that is not made.
    pub fn skipped(step: u8, name: &'static str, why: impl Into<String>) -> Self {
        let found = vec![why.into()];
        Self { result: StepResult::Skipped, found, ..Self::new(step, name) }
    }

    /// Adds a fact.
    pub fn note(&mut self, found: impl Into<String>) -> &mut Self {
        self.found.push(found.into());
        self
    }

    /// Adds a fact that the operator should look at.
    pub fn warn(&mut self, found: impl Into<String>, advice: impl Into<String>) -> &mut Self {
        if self.result != StepResult::Fail {
            self.result = StepResult::Warn;
        }
        self.found.push(found.into());
        self.advice.push(advice.into());
        self
    }

    /// Adds a fault.
    pub fn fail(&mut self, found: impl Into<String>, advice: impl Into<String>) -> &mut Self {
        self.result = StepResult::Fail;
        self.found.push(found.into());
        self.advice.push(advice.into());
        self
    }

    /// Names a key of the links file that is at fault.
    pub fn field(&mut self, field: impl Into<String>) -> &mut Self {
        let field = field.into();
        if !self.fields.contains(&field) {
            self.fields.push(field);
        }
        self
    }
}

// === impl CheckReport ===

impl CheckReport {
    /// Whether a step with this number failed.
    pub fn has_failed(&self, step: u8) -> bool {
        self.steps.iter().any(|it| it.step == step && it.result == StepResult::Fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_outweighs_a_warning_and_a_field_is_named_once() {
        let mut step = CheckStep::new(3, "key");
        step.note("a").fail("b", "c").warn("d", "e").field("key").field("key");
        assert_eq!(step.result, StepResult::Fail);
        assert_eq!((step.found.len(), step.advice.len(), step.fields.len()), (3, 2, 1));
        assert_eq!(CheckStep::skipped(3, "key", "none").result, StepResult::Skipped);
    }
}
