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
    pub chain: RevocationProgress,
    /// The step that failed; `None` means all completed.
    pub broken: Option<String>,
    /// How the device's session ended.
    pub cut: SessionEnd,
    /// Messages published after the row changed and quarantined.
    pub late_quarantined: i64,
    /// What the broker did when the device reconnected.
    pub came_back: String,
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
        chain: RevocationProgress,
        broken: Option<String>,
        cut: SessionEnd,
        late_quarantined: i64,
        came_back: &ProbeOutcome,
    ) -> Self {
        let (said, is_refused) = match came_back {
            ProbeOutcome::Revoked => {
                ("refused by the TLS alert CertificateRevoked".to_owned(), true)
            }
            ProbeOutcome::Refused(how) => (format!("refused: {how}"), true),
            ProbeOutcome::Admitted => ("LET IN".to_owned(), false),
            ProbeOutcome::Unreachable(why) => (format!("no telling: {why}"), false),
        };
        let device = device.device().to_owned();
        Self { device, reason, chain, broken, cut, late_quarantined, came_back: said, is_refused }
    }

    /// Whether every step completed, the session ended, and the reconnect was refused.
    pub const fn is_whole(&self) -> bool {
        self.broken.is_none() && self.cut.after_seconds.is_some() && self.is_refused
    }

    /// The report as lines of at most 80 characters.
    pub fn lines(&self) -> Vec<String> {
        let RevocationProgress {
            noticed_at,
            published_at,
            crl_number,
            reloaded_at,
            ended_at,
            proven_at,
            ..
        } = &self.chain;
        let number = crl_number.map_or_else(String::new, |number| format!(" {number}"));
        let after = |at: &Option<DateTime<Utc>>| at.map(|at| millis(at - noticed_at));
        let cut = self.cut.after_seconds.map(|seconds| format!("{seconds:+.3} s"));
        let link = |after: Option<String>, name: &str, what: &str| {
            format!("  {:>10}  {name:<8} {what}", after.unwrap_or_else(|| "never".to_owned()))
        };
        let of_late = format!(
            "no longer believed; late messages: {}, in quarantine: {}",
            self.cut.late, self.late_quarantined
        );
        let mut lines = vec![
            format!(
                "{}: device {} loses its certificate ({})",
                noticed_at.format("%H:%M:%S"),
                self.device,
                self.reason
            ),
            link(Some("+0.000 s".into()), "row", &of_late),
            link(after(published_at), "CRL", &format!("list{number} is published")),
            link(after(reloaded_at), "reload", "the broker was told"),
            link(after(ended_at), "session", "its live session was ended, by taking its client id"),
            link(after(proven_at), "proof", "the broker refuses who is listed, and lets others in"),
            link(cut, "device", "its connection is gone"),
            format!("  {:>10}  {:<8} {}", "", "returns", self.came_back),
        ];
        lines.extend(self.broken.iter().map(|why| format!("  THE CHAIN DID NOT HOLD: {why}")));
        lines
    }
}

// === private helpers ===

#[expect(clippy::cast_precision_loss, reason = "a moment that is shown")]
fn millis(span: chrono::TimeDelta) -> String {
    format!("{:+.3} s", span.num_milliseconds() as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: &ProbeOutcome) -> RevocationReport {
        let at = |millis: i64| DateTime::from_timestamp_millis(1_800_000_000_000 + millis);
        let chain = RevocationProgress {
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
        let cut = SessionEnd { late: 3, after_seconds: Some(1.6), how: Some("taken over".into()) };
        let device = DeviceKey::new("t", "stolen").unwrap();
        RevocationReport::new(&device, "keyCompromise", chain, None, cut, 3, outcome)
    }

    #[test]
    fn each_link_is_told_with_its_time_and_one_that_never_held_as_such() {
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
    fn one_that_came_back_is_no_whole_story() {
        assert!(report(&ProbeOutcome::Revoked).is_whole());
        assert!(!report(&ProbeOutcome::Admitted).is_whole());
        assert!(
            !RevocationReport { broken: Some("x".into()), ..report(&ProbeOutcome::Revoked) }
                .is_whole()
        );
    }
}
