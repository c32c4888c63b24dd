//! What an examination has found.
//!
//! It checks nothing.

use serde::Serialize;

use crate::domain::finding::{Finding, Severity};

/// The findings of all checks.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct DoctorReport {
    pub ok: bool,
    pub errors: usize,
    pub warnings: usize,
    pub findings: Vec<CheckRow>,
}

/// One finding of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CheckRow {
    pub check: &'static str,
    pub level: &'static str,
    pub finding: String,
    pub advice: Option<String>,
}

/// What happens during an examination.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DoctorStep<'a> {
    /// This check begins.
    Begins(&'static str),
    /// A check has found this.
    Found(&'a CheckRow),
}

// === impl DoctorReport ===

impl DoctorReport {
    /// Adds a row.
    pub(crate) fn add(&mut self, row: CheckRow) {
        self.errors += usize::from(row.level == Severity::Error.label());
        self.warnings += usize::from(row.level == Severity::Warning.label());
        self.ok = self.errors == 0;
        self.findings.push(row);
    }
}

// === impl CheckRow ===

impl CheckRow {
    pub(super) fn new(check: &'static str, finding: Finding) -> Self {
        let Finding { level, what, advice } = finding;
        Self { check, level: level.label(), finding: what, advice }
    }
}
