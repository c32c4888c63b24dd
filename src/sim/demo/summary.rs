//! The result of a demonstration: where every message is, and how every revocation ended.
//!
//! It compares counts of broker and daemon. A run that stored nothing, or whose broker's access
//! rules fail, is a failure too.

use std::time::Duration;

use serde::Serialize;

use super::revocation::ConnectAttempts;
use super::revocation_report::RevocationReport;
use super::screen::{grouped, seconds};
use super::traffic::TrafficTally;
use super::way_back::WayBackReport;
use crate::sim::daemon_metrics::DaemonFigures;

/// The result of a run.
#[derive(Debug, Default, Serialize)]
pub struct DemoSummary {
    /// Seconds of publishing.
    pub seconds: f64,
    /// Messages the broker acknowledged.
    pub acknowledged: u64,
    /// Messages the broker refused: on another device's topics, or of a device that the registry
    /// does not let publish.
    pub refused: u64,
    /// Those of them from a device with the right to publish, on its own topics; should be 0.
    pub own_topic_refused: u64,
    /// Messages on another device's topics that the broker accepted; should be 0.
    #[serde(rename = "foreign_topic_taken")]
    pub foreign_topic_accepted: u64,
    /// Messages whose connection ended before their PUBACK: the broker may have accepted them.
    pub unanswered: u64,
    /// Devices whose connection ended, without the revoked one.
    #[serde(rename = "put_out")]
    pub disconnected: u64,
    /// Messages stored.
    pub stored: u64,
    /// Messages that were stored before.
    pub duplicates: u64,
    /// Messages in quarantine.
    pub quarantined: u64,
    /// Messages of the quarantine that a person has replayed; they count as stored or duplicates, too.
    pub replayed: u64,
    /// Broker connections the daemon lost; after each the broker repeats unacknowledged messages.
    pub reconnects: u64,
    /// Whether every acknowledged message was kept.
    pub adds_up: bool,
    /// The last revocations.
    pub revocations: Vec<RevocationReport>,
    /// Revocations whose every step completed.
    #[serde(rename = "revocations_held")]
    pub revocations_completed: u64,
    /// Revocations with a failed step.
    #[serde(rename = "revocations_broken")]
    pub revocations_failed: u64,
    /// Connections with a revoked certificate that the broker refused.
    #[serde(rename = "knocks_refused")]
    pub attempts_refused: u64,
    /// Connections with a revoked certificate that the broker accepted.
    #[serde(rename = "knocks_let_in")]
    pub attempts_accepted: u64,
    /// The command that a device answered, and the certificate that it renewed; `None` without
    /// `DEVICE_API` and `CERT_RENEW_OVER_MQTT`.
    pub way_back: Option<WayBackReport>,
}

/// The revocations of a run.
#[derive(Debug, Default)]
pub struct RevocationResults {
    reports: Vec<RevocationReport>,
    completed: u64,
    failed: u64,
}

// === impl RevocationResults ===

impl RevocationResults {
    /// Counts a revocation and keeps the last `kept` reports.
    pub fn add(&mut self, report: RevocationReport, kept: usize) {
        if report.is_complete() {
            self.completed += 1;
        } else {
            self.failed += 1;
        }
        if self.reports.len() >= kept {
            self.reports.remove(0);
        }
        self.reports.push(report);
    }
}

// === impl DemoSummary ===

impl DemoSummary {
    /// Counts the messages. More may be kept than acknowledged: the broker may have accepted
    /// unanswered messages, and it repeats messages after the daemon reconnects.
    pub fn new(span: Duration, tally: &TrafficTally, figures: &DaemonFigures) -> Self {
        let (acknowledged, unanswered) = (tally.acknowledged(), tally.unanswered());
        Self {
            seconds: (span.as_secs_f64() * 10.0).round() / 10.0,
            acknowledged,
            refused: tally.refused(),
            own_topic_refused: tally.own_topic_refused(),
            foreign_topic_accepted: tally.foreign_topic_accepted(),
            unanswered,
            disconnected: tally.disconnected(),
            stored: figures.stored,
            duplicates: figures.duplicates,
            quarantined: figures.quarantined,
            replayed: if figures.reconnects == 0 { figures.replayed() } else { 0 },
            reconnects: figures.reconnects,
            adds_up: adds_up(acknowledged, unanswered, figures),
            ..Self::default()
        }
    }

    /// Adds the last revocations, and how many completed or failed.
    #[must_use]
    pub fn with_revocations(self, results: RevocationResults) -> Self {
        Self {
            revocations: results.reports,
            revocations_completed: results.completed,
            revocations_failed: results.failed,
            ..self
        }
    }

    /// Adds the reconnects with a revoked certificate.
    #[must_use]
    pub fn with_attempts(self, attempts: &ConnectAttempts) -> Self {
        let (attempts_refused, attempts_accepted) = (attempts.refused(), attempts.accepted());
        Self { attempts_refused, attempts_accepted, ..self }
    }

    /// Adds the command and the renewal.
    #[must_use]
    pub fn with_way_back(self, way_back: Option<WayBackReport>) -> Self {
        Self { way_back, ..self }
    }

    /// Whether the run is a success.
    pub fn is_good(&self) -> bool {
        self.adds_up
            && self.revocations_failed == 0
            && self.attempts_accepted == 0
            && self.way_back.as_ref().is_none_or(WayBackReport::is_complete)
            && self.shortcoming().is_none()
    }

    /// Why the run fails although the messages add up; `None` means it does not.
    pub fn shortcoming(&self) -> Option<String> {
        if self.own_topic_refused > 0 {
            return Some(format!(
                "FAILED: the broker refused {} messages of devices on their own topics (PUBACK 0x87). \
                 Its access rules must allow them; \
                 Mosquitto 2.1 needs the rows that Sluice writes to ACL_OUTPUT_PATH.",
                grouped(self.own_topic_refused)
            ));
        }
        if self.foreign_topic_accepted > 0 {
            return Some(format!(
                "FAILED: the broker accepted {} messages of a device on the topics of another device. \
                 Its access rules do not isolate the devices.",
                grouped(self.foreign_topic_accepted)
            ));
        }
        (self.stored == 0).then(|| {
            "FAILED: nothing is stored: Sluice accepted no message of any device.".to_owned()
        })
    }

    /// The summary as lines: messages, revocations, and the verdict.
    pub fn lines(&self, figures: &DaemonFigures) -> Vec<String> {
        let row = |name: &str, count: u64| format!("  {name:<42}{:>11}", grouped(count));
        let mut lines = vec![String::new(), format!("Summary of {} s", self.seconds)];
        lines.push(row("published and acknowledged by the broker", self.acknowledged));
        lines.push(row("stored", self.stored));
        lines.push(row("duplicates, stored once", self.duplicates));
        lines.push(row("quarantined", self.quarantined));
        lines.extend(
            figures.by_reason.iter().map(|(reason, count)| row(&format!("  {reason}"), *count)),
        );
        lines.push(row("refused by the broker", self.refused));
        let quantile = |share| seconds(figures.latency.quantile(share));
        lines.push(format!(
            "  latency of a batch, receipt to commit: p50 {}, p99 {}",
            quantile(0.5),
            quantile(0.99)
        ));
        lines.extend(self.revocations.last().into_iter().flat_map(RevocationReport::lines));
        lines.extend(self.verdict_on_revocation());
        lines.extend(self.way_back.iter().flat_map(WayBackReport::lines));
        if self.disconnected > 0 {
            lines.push(format!(
                "{} other devices lost their connection and stopped publishing.",
                self.disconnected
            ));
        }
        lines.push(self.verdict_on_messages());
        lines.extend(self.shortcoming());
        lines
    }

    fn verdict_on_revocation(&self) -> Option<String> {
        let Self {
            revocations_completed: completed,
            revocations_failed: failed,
            attempts_refused: refused,
            attempts_accepted: accepted,
            ..
        } = self;
        match (completed + failed, *failed > 0 || *accepted > 0) {
            (0, _) => None,
            (1, false) => Some(format!(
                "Every step completed. The device then tried to reconnect; the broker refused each attempt ({refused})."
            )),
            (all, false) => Some(format!(
                "Every step of all {all} revocations completed. \
                 The broker refused each attempt to reconnect with a revoked certificate ({refused})."
            )),
            (all, true) => Some(format!(
                "REVOCATION FAILED: {failed} of {all} revocations did not complete, \
                 and the broker accepted a revoked certificate {accepted} times."
            )),
        }
    }

    fn verdict_on_messages(&self) -> String {
        let kept = (self.stored + self.duplicates + self.quarantined).saturating_sub(self.replayed);
        let mut sum = [self.stored, self.duplicates, self.quarantined].map(grouped).join(" + ");
        if self.replayed > 0 {
            sum = format!("{sum} - {} replayed", grouped(self.replayed));
        }
        let (acknowledged, total) = (grouped(self.acknowledged), grouped(kept));
        match (self.adds_up, kept == self.acknowledged) {
            (true, true) => format!("It adds up: {acknowledged} = {sum}"),
            (true, false) if self.reconnects == 0 => format!(
                "It adds up: {acknowledged} acknowledged, {sum} = {total} kept; \
                 {} messages had no PUBACK yet when their connection ended.",
                self.unanswered
            ),
            (true, false) => format!(
                "It adds up: {acknowledged} acknowledged by the broker, {sum} = {total} kept; \
                 Sluice lost its connection to the broker {} times, \
                 and messages that the broker sent again count twice.",
                self.reconnects
            ),
            (false, _) if kept > self.acknowledged => format!(
                "IT DOES NOT ADD UP: {acknowledged} acknowledged by the broker, but {sum} = {total} kept: \
                 check that no other client publishes to this broker."
            ),
            (false, _) => {
                format!(
                    "IT DOES NOT ADD UP: {acknowledged} acknowledged by the broker, but {sum} = {total} kept."
                )
            }
        }
    }
}

// === private helpers ===

fn adds_up(acknowledged: u64, unanswered: u64, figures: &DaemonFigures) -> bool {
    let replayed = if figures.reconnects == 0 { figures.replayed() } else { 0 };
    let surplus = figures.kept().saturating_sub(replayed).checked_sub(acknowledged);
    surplus.is_some_and(|surplus| surplus <= unanswered || figures.reconnects > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(stored: u64, duplicates: u64, quarantined: u64, reconnects: u64) -> DaemonFigures {
        let received = stored + duplicates + quarantined;
        DaemonFigures {
            received,
            stored,
            duplicates,
            quarantined,
            reconnects,
            ..DaemonFigures::default()
        }
    }

    #[test]
    fn a_short_sum_never_adds_up_and_a_long_one_only_with_an_explanation() {
        assert!(adds_up(10, 0, &figures(7, 1, 2, 0)));
        assert!(!adds_up(11, 0, &figures(7, 1, 2, 0)));
        assert!(!adds_up(11, 1, &figures(7, 1, 2, 5)));
        assert!(!adds_up(9, 0, &figures(7, 1, 2, 0)));
        assert!(adds_up(9, 1, &figures(7, 1, 2, 0)));
        assert!(adds_up(9, 0, &figures(7, 1, 2, 1)));
    }

    #[test]
    fn messages_that_a_person_replays_do_not_disturb_the_sum() {
        let figures = DaemonFigures { stored: 12, ..figures(7, 1, 2, 0) };
        assert!(adds_up(10, 0, &figures) && !adds_up(11, 0, &figures));
        let summary = DemoSummary {
            acknowledged: 10,
            stored: 12,
            duplicates: 1,
            quarantined: 2,
            replayed: figures.replayed(),
            adds_up: true,
            ..DemoSummary::default()
        };
        assert_eq!(summary.verdict_on_messages(), "It adds up: 10 = 12 + 1 + 2 - 5 replayed");
    }

    #[test]
    fn nothing_stored_and_broken_access_rules_fail_the_demonstration() {
        let good = || DemoSummary {
            adds_up: true,
            acknowledged: 9,
            stored: 9,
            refused: 3,
            ..DemoSummary::default()
        };
        assert!(good().is_good());
        let lines = |summary: DemoSummary| {
            assert!(!summary.is_good());
            summary.lines(&DaemonFigures::default()).pop().unwrap()
        };
        let empty = lines(DemoSummary { adds_up: true, ..DemoSummary::default() });
        assert!(empty.starts_with("FAILED: nothing is stored"), "{empty}");
        // Nothing is stored either; the refusal is the cause and is reported first.
        let shut_out = lines(DemoSummary {
            adds_up: true,
            refused: 7,
            own_topic_refused: 7,
            ..DemoSummary::default()
        });
        assert!(
            shut_out.contains("refused 7 messages") && shut_out.contains("ACL_OUTPUT_PATH"),
            "{shut_out}"
        );
        let open = lines(DemoSummary { foreign_topic_accepted: 2, ..good() });
        assert!(open.contains("accepted 2 messages"), "{open}");
    }

    #[test]
    fn a_revoked_certificate_that_the_broker_accepts_fails_the_demonstration() {
        let good = DemoSummary {
            adds_up: true,
            stored: 9,
            revocations_completed: 1,
            attempts_refused: 3,
            ..DemoSummary::default()
        };
        assert!(good.is_good());
        let bad = DemoSummary { attempts_accepted: 1, ..good };
        assert!(!bad.is_good());
        assert!(bad.verdict_on_revocation().unwrap().starts_with("REVOCATION FAILED"));
    }
}
