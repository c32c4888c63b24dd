//! The report of one revocation: each step with its time, and what the device observed.
//!
//! It formats; it observes nothing itself.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::broker::tools::certificate_probe::ProbeOutcome;
use crate::domain::ids::DeviceKey;
use crate::store::certificates::revocation_ledger::RevocationProgress;

/// The revocation of one certificate.
#[derive(Clone, Debug, Serialize)]
pub struct RevocationReport {
    /// The device it belonged to.
    pub device: String,
    /// Why it was revoked, by its name in RFC 5280.
    pub reason: &'static str,
    /// When each step completed.
    #[serde(rename = "chain")]
    pub progress: RevocationProgress,
    /// The step that failed; `None` means all completed.
    #[serde(rename = "broken")]
    pub failure: Option<String>,
    /// How the device's session ended.
    #[serde(rename = "cut")]
    pub session_end: SessionEnd,
    /// Messages published after the row changed and quarantined.
    pub late_quarantined: i64,
    /// What the broker did when the device reconnected.
    #[serde(rename = "came_back")]
    pub reconnect: String,
    /// Whether the broker refused it.
    pub is_refused: bool,
}

/// How the device's session ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SessionEnd {
    /// Messages the broker accepted after the row changed.
    pub late: u64,
    /// Seconds from the row to the end of its connection; `None` means it did not end.
    pub after_seconds: Option<f64>,
    /// The broker's reason.
    pub how: Option<String>,
}

// === impl RevocationReport ===

impl RevocationReport {
    /// Combines progress, session end and reconnect.
    pub fn new(
        device: &DeviceKey,
        reason: &'static str,
        progress: RevocationProgress,
        failure: Option<String>,
        session_end: SessionEnd,
        late_quarantined: i64,
        outcome: &ProbeOutcome,
    ) -> Self {
        let (reconnect, is_refused) = match outcome {
            ProbeOutcome::Revoked => {
                ("refused by the TLS alert CertificateRevoked".to_owned(), true)
            }
            ProbeOutcome::Refused(how) => (format!("refused: {how}"), true),
            ProbeOutcome::Admitted => ("ACCEPTED".to_owned(), false),
            ProbeOutcome::Unreachable(why) => (format!("unknown: {why}"), false),
        };
        let device = device.device().to_owned();
        Self {
            device,
            reason,
            progress,
            failure,
            session_end,
            late_quarantined,
            reconnect,
            is_refused,
        }
    }

    /// Whether every step completed, the session ended, and the reconnect was refused.
    pub const fn is_complete(&self) -> bool {
        self.failure.is_none() && self.session_end.after_seconds.is_some() && self.is_refused
    }

    /// The report as lines of at most 80 characters.
    pub fn lines(&self) -> Vec<String> {
        let progress = &self.progress;
        let noticed_at = progress.noticed_at;
        let number = progress.crl_number.map_or_else(String::new, |number| format!(" {number}"));
        let after = |at: &Option<DateTime<Utc>>| at.map(|at| millis(at - noticed_at));
        let ended = self.session_end.after_seconds.map(|seconds| format!("{seconds:+.3} s"));
        let step = |after: Option<String>, name: &str, what: &str| {
            format!("  {:>10}  {name:<8} {what}", after.unwrap_or_else(|| "never".to_owned()))
        };
        let row = format!(
            "Sluice refuses it; messages since then: {}, quarantined: {}",
            self.session_end.late, self.late_quarantined
        );
        let mut lines = vec![
            format!(
                "{}: the certificate of device {} is revoked ({})",
                noticed_at.format("%H:%M:%S"),
                self.device,
                self.reason
            ),
            step(Some("+0.000 s".into()), "row", &row),
            step(after(&progress.published_at), "CRL", &format!("CRL{number} is published")),
            step(after(&progress.reloaded_at), "reload", "the broker is notified to read it"),
            step(
                after(&progress.ended_at),
                "session",
                "Sluice ends the live session by taking its client id",
            ),
            step(
                after(&progress.proven_at),
                "proof",
                "the broker refuses a revoked test certificate",
            ),
            step(ended, "device", "its connection is closed"),
            format!("  {:>10}  {:<8} {}", "", "returns", self.reconnect),
        ];
        lines.extend(self.failure.iter().map(|why| format!("  REVOCATION FAILED: {why}")));
        lines
    }
}

// === private helpers ===

#[expect(clippy::cast_precision_loss, reason = "a time that is shown")]
fn millis(span: chrono::TimeDelta) -> String {
    format!("{:+.3} s", span.num_milliseconds() as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: &ProbeOutcome) -> RevocationReport {
        let at = |millis: i64| DateTime::from_timestamp_millis(1_800_000_000_000 + millis);
        let progress = RevocationProgress {
            certificate_id: uuid::Uuid::nil(),
            noticed_at: at(0).unwrap(),
            published_at: at(412),
            crl_number: Some(7),
            reloaded_at: at(415),
            ended_at: at(1_520),
            proven_at: None,
            failed_link: None,
            failure: None,
        };
        let end = SessionEnd { late: 3, after_seconds: Some(1.6), how: Some("taken over".into()) };
        let device = DeviceKey::new("t", "stolen").unwrap();
        RevocationReport::new(&device, "keyCompromise", progress, None, end, 3, outcome)
    }

    #[test]
    fn each_step_has_its_time_and_one_that_did_not_complete_has_never() {
        let lines = report(&ProbeOutcome::Revoked).lines();
        for (line, part) in lines[1..7]
            .iter()
            .zip(["+0.000 s", "+0.412 s", "+0.415 s", "+1.520 s", "never", "+1.600 s"])
        {
            assert!(line.contains(part), "{line}");
        }
        assert!(lines.iter().all(|line| line.len() <= 80), "{lines:?}");
    }

    #[test]
    fn a_revocation_is_complete_only_if_the_reconnect_is_refused() {
        assert!(report(&ProbeOutcome::Revoked).is_complete());
        assert!(!report(&ProbeOutcome::Admitted).is_complete());
        assert!(
            !RevocationReport { failure: Some("x".into()), ..report(&ProbeOutcome::Revoked) }
                .is_complete()
        );
    }
}
