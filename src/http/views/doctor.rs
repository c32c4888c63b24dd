//! The view of an examination by the doctor. Findings contain no secret.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::doctor::desk::{DoctorVisit, DoctorVisits};
use crate::doctor::report::CheckRow;

/// An examination: the one that runs, or the last one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DoctorReport")]
pub(crate) struct DoctorView {
    /// `running` or `done`.
    pub(crate) state: String,
    /// When it started.
    pub(crate) started_at: DateTime<Utc>,
    /// When it ended; null while it runs.
    pub(crate) finished_at: Option<DateTime<Utc>>,
    /// The check that runs.
    pub(crate) check: Option<String>,
    /// Whether no finding is an error so far.
    pub(crate) ok: bool,
    /// The number of errors.
    pub(crate) errors: usize,
    /// The number of warnings.
    pub(crate) warnings: usize,
    /// The findings in the order of the checks.
    pub(crate) findings: Vec<FindingView>,
}

/// A finding of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DoctorFinding")]
pub(crate) struct FindingView {
    /// The check.
    pub(crate) check: String,
    /// `ok`, `warning` or `error`.
    pub(crate) level: String,
    /// What was found.
    pub(crate) finding: String,
    /// What to do, unless the finding says it.
    pub(crate) advice: Option<String>,
}

// === impl DoctorView ===

impl DoctorView {
    /// The examination that runs, or else the last one.
    pub(crate) fn of(visits: &DoctorVisits) -> Option<Self> {
        let visit = visits.running.as_ref().or(visits.last.as_ref())?;
        Some(Self::from(visit))
    }
}

impl From<&DoctorVisit> for DoctorView {
    fn from(visit: &DoctorVisit) -> Self {
        let report = &visit.report;
        Self {
            state: if visit.finished_at.is_some() { "done" } else { "running" }.to_owned(),
            started_at: visit.started_at,
            finished_at: visit.finished_at,
            check: visit.check.map(str::to_owned),
            ok: report.ok,
            errors: report.errors,
            warnings: report.warnings,
            findings: report.findings.iter().map(FindingView::from).collect(),
        }
    }
}

impl From<&CheckRow> for FindingView {
    fn from(row: &CheckRow) -> Self {
        Self {
            check: row.check.to_owned(),
            level: row.level.to_owned(),
            finding: row.finding.clone(),
            advice: row.advice.clone(),
        }
    }
}
