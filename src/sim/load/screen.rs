//! What the simulator shows: a bar that is redrawn in place on a terminal, a line each second
//! elsewhere, and the summary.
//!
//! It formats figures and decides nothing.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::figures::SharedFigures;
use super::histogram::Quantiles;
use super::renewals::RenewalSummary;
use super::requests::RequestSummary;
use super::verify::{Sent, VerifyFindings};

/// Characters of the bar.
const BAR: usize = 24;

/// Draws the progress on standard error, so that standard output holds the summary alone.
#[derive(Debug)]
pub struct LoadProgress {
    in_place: bool,
    span: Duration,
    last: (Duration, u64),
}

/// The result of a run.
#[derive(Debug, Serialize, Deserialize)]
pub struct LoadSummary {
    /// From the first message to the last answer.
    pub seconds: f64,
    /// Messages sent.
    pub sent: u64,
    /// Messages a second.
    pub rate: f64,
    /// Messages the broker acknowledged; 0 at QoS 0, which has no PUBACK.
    pub acknowledged: u64,
    /// Acknowledged messages without a subscriber.
    #[serde(rename = "unheard")]
    pub without_subscriber: u64,
    /// Messages the broker refused.
    pub refused: u64,
    /// From sending a message to its PUBACK.
    pub latency: Option<Quantiles>,
    /// What the devices asked and answered; `None` without --ask and --answer-commands.
    #[serde(default)]
    pub requests: Option<RequestSummary>,
    /// The certificates they renewed; `None` without --renew.
    #[serde(default)]
    pub renewals: Option<RenewalSummary>,
    /// What must be in the tables.
    pub messages: Sent,
    /// What the tables hold; `None` without `--verify`.
    #[serde(skip_deserializing)]
    pub findings: Option<VerifyFindings>,
}

// === impl LoadProgress ===

impl LoadProgress {
    /// The progress of a run of length `span`.
    pub fn new(span: Duration) -> Self {
        Self { in_place: io::stderr().is_terminal(), span, last: (Duration::ZERO, 0) }
    }

    /// Draws the figures `at` this time since the start. A write error is ignored.
    pub fn draw(&mut self, at: Duration, figures: &SharedFigures) {
        let (before, sent_before) = self.last;
        let sent = figures.sent();
        let rate = per_second(sent - sent_before, at.saturating_sub(before));
        self.last = (at, sent);
        let text = format!(
            "{:>4}/{} s {rate:>8.0}/s  acknowledged {}  refused {}  {}",
            at.as_secs(),
            self.span.as_secs(),
            figures.acknowledged(),
            figures.refused(),
            figures.latency().quantiles().map(|latency| latency.to_string()).unwrap_or_default(),
        );
        let _ = if self.in_place {
            write!(io::stderr(), "\r[{}] {text}\x1b[K", self.bar(at))
        } else {
            writeln!(io::stderr(), "{text}")
        };
    }

    /// Ends the line of the bar.
    pub fn end(&self) {
        if self.in_place {
            let _ = writeln!(io::stderr());
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0 to 24"
    )]
    fn bar(&self, at: Duration) -> String {
        let share = (at.as_secs_f64() / self.span.as_secs_f64()).min(1.0);
        let full = (share * BAR as f64) as usize;
        format!("{}{}", "=".repeat(full), " ".repeat(BAR - full))
    }
}

// === impl LoadSummary ===

impl LoadSummary {
    /// The summary as lines.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("sent         {} in {:.1} s, {:.0}/s", self.sent, self.seconds, self.rate),
            format!(
                "acknowledged {} ({} of them without a subscriber)",
                self.acknowledged, self.without_subscriber
            ),
            format!("refused      {}", self.refused),
        ];
        lines.extend(
            self.latency.map(|latency| format!("latency      {latency}, from PUBLISH to PUBACK")),
        );
        lines.extend(self.requests.iter().flat_map(RequestSummary::lines));
        lines.extend(self.renewals.iter().flat_map(RenewalSummary::lines));
        lines.extend(self.findings.iter().flat_map(VerifyFindings::lines));
        lines
    }
}

impl LoadSummary {
    /// Whether each request has a response, and each device that renews has its certificate.
    pub fn is_answered(&self) -> bool {
        self.requests.is_none_or(|requests| requests.is_complete())
            && self.renewals.as_ref().is_none_or(|renewals| renewals.failed == 0)
    }
}

// === impl Quantiles ===

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", self.p50_ms, self.p99_ms, self.max_ms)
    }
}

/// The rate of `count` events in `span`.
#[expect(clippy::cast_precision_loss, reason = "a rate that is shown")]
pub fn per_second(count: u64, span: Duration) -> f64 {
    if span.is_zero() { 0.0 } else { count as f64 / span.as_secs_f64() }
}
