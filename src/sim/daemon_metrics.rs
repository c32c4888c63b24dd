//! Fetches a running daemon's metrics, as a Prometheus server does, and parses them into figures.
//!
//! It keeps no history: the caller passes an earlier snapshot to get a difference.

use std::io;
use std::net::SocketAddr;

use crate::domain::refusal::Reason;
use crate::http::ops_client;

const LATENCY: &str = "sluice_store_latency_seconds_bucket";

/// One snapshot of the daemon's metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DaemonFigures {
    /// Messages that came from the broker.
    pub received: u64,
    /// Messages stored.
    pub stored: u64,
    /// Messages that were stored before.
    pub duplicates: u64,
    /// Messages refused.
    pub quarantined: u64,
    /// The platform's own messages.
    pub ignored: u64,
    /// Messages received and not yet acknowledged.
    pub in_flight: u64,
    /// Connections to the broker that were lost.
    pub reconnects: u64,
    /// Messages refused by reason, the reasons that occurred.
    pub by_reason: Vec<(Reason, u64)>,
    /// From the receipt of a batch's oldest message to its commit.
    pub latency: Latency,
}

/// Cumulative histogram buckets: upper bound in seconds, count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency(Vec<(f64, u64)>);

/// Fetches and parses `/metrics`.
pub async fn figures(address: SocketAddr) -> io::Result<DaemonFigures> {
    match ops_client::get(address, "/metrics").await? {
        (200, body) => Ok(DaemonFigures::read(&body)),
        (status, _) => Err(io::Error::other(format!("/metrics answers {status}"))),
    }
}

// === impl DaemonFigures ===

impl DaemonFigures {
    /// Parses the exposition text; ignores other series.
    pub fn read(text: &str) -> Self {
        let mut figures = Self::default();
        for (series, value) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
            let Ok(value) = value.parse() else { continue };
            let (name, label) = split(series);
            match (name, label) {
                ("sluice_messages_received_total", _) => figures.received = value,
                ("sluice_inflight_unacked", _) => figures.in_flight = value,
                ("sluice_mqtt_reconnects_total", _) => figures.reconnects = value,
                ("sluice_messages_total", "stored") => figures.stored = value,
                ("sluice_messages_total", "duplicate") => figures.duplicates = value,
                ("sluice_messages_total", "quarantined") => figures.quarantined = value,
                ("sluice_messages_total", "ignored") => figures.ignored = value,
                ("sluice_quarantined_total", reason) if value > 0 => {
                    figures
                        .by_reason
                        .extend(Reason::from_label(reason).map(|reason| (reason, value)));
                }
                (LATENCY, bound) => {
                    figures.latency.0.extend(bound.parse().ok().map(|bound: f64| (bound, value)));
                }
                _ => {}
            }
        }
        figures
    }

    /// Messages that are in the database: stored, duplicate or quarantined.
    pub const fn kept(&self) -> u64 {
        self.stored + self.duplicates + self.quarantined
    }

    /// Those of them that a person has replayed from the quarantine: they did not come from the broker.
    pub const fn replayed(&self) -> u64 {
        self.kept().saturating_sub(self.received.saturating_sub(self.ignored))
    }

    /// The difference to an `earlier` snapshot of the same daemon; `in_flight` stays the current
    /// value.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |reason| {
            earlier
                .by_reason
                .iter()
                .find(|(other, _)| *other == reason)
                .map_or(0, |(_, count)| *count)
        };
        let by_reason = self
            .by_reason
            .iter()
            .map(|&(reason, count)| (reason, count - before(reason).min(count)));
        Self {
            received: self.received.saturating_sub(earlier.received),
            stored: self.stored.saturating_sub(earlier.stored),
            duplicates: self.duplicates.saturating_sub(earlier.duplicates),
            quarantined: self.quarantined.saturating_sub(earlier.quarantined),
            ignored: self.ignored.saturating_sub(earlier.ignored),
            in_flight: self.in_flight,
            reconnects: self.reconnects.saturating_sub(earlier.reconnects),
            by_reason: by_reason.filter(|(_, count)| *count > 0).collect(),
            latency: self.latency.since(&earlier.latency),
        }
    }
}

// === impl Latency ===

impl Latency {
    /// Estimates the quantile of `share` in seconds by interpolation in its bucket. Infinite beyond
    /// the last bucket; `None` without a batch.
    #[expect(clippy::cast_precision_loss, reason = "an estimate of counts far below 2^52")]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.0.last().map(|(_, count)| *count).filter(|count| *count > 0)?;
        let rank = share * total as f64;
        let (mut low, mut below) = (0.0, 0);
        for &(bound, count) in &self.0 {
            if count as f64 >= rank && count > below {
                let within = (rank - below as f64) / (count - below) as f64;
                return Some(if bound.is_finite() { low + within * (bound - low) } else { bound });
            }
            (low, below) = (bound, count);
        }
        None
    }

    fn since(&self, earlier: &Self) -> Self {
        let before = earlier.0.iter().map(|(_, count)| *count).chain(std::iter::repeat(0));
        Self(
            self.0
                .iter()
                .zip(before)
                .map(|(&(bound, count), before)| (bound, count.saturating_sub(before)))
                .collect(),
        )
    }
}

// === private helpers ===

/// The name of a series and the value of its label; empty without a label.
fn split(series: &str) -> (&str, &str) {
    let Some((name, labels)) = series.split_once('{') else { return (series, "") };
    (name, labels.split('"').nth(1).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    fn render(metrics: &Metrics) -> DaemonFigures {
        DaemonFigures::read(&String::from_utf8(metrics.render().unwrap()).unwrap())
    }

    #[test]
    fn the_figures_are_those_the_daemon_shows() {
        let metrics = Metrics::new().unwrap();
        metrics.ingest.stored.inc_by(3);
        metrics.ingest.duplicate.inc_by(2);
        metrics.ingest.quarantined.inc();
        metrics.ingest.refused(Reason::TokenInvalid).inc();
        metrics.ingest.plain.store_latency_seconds.observe(0.005);
        let figures = render(&metrics);
        assert_eq!(
            (figures.stored, figures.duplicates, figures.quarantined, figures.kept()),
            (3, 2, 1, 6)
        );
        assert_eq!(figures.by_reason, [(Reason::TokenInvalid, 1)]);
        metrics.ingest.stored.inc_by(4);
        let later = render(&metrics).since(&figures);
        assert_eq!((later.stored, later.kept(), later.by_reason.len()), (4, 4, 0));
        assert_eq!(later.latency.quantile(0.5), None);
    }

    #[test]
    fn a_quantile_lies_within_the_bucket_that_holds_it() {
        let latency = Latency(vec![(0.01, 50), (0.02, 90), (0.5, 99), (f64::INFINITY, 100)]);
        assert_eq!(latency.quantile(0.5), Some(0.01));
        assert_eq!(latency.quantile(0.7), Some(0.015));
        assert_eq!(latency.quantile(0.999), Some(f64::INFINITY));
        assert_eq!(Latency::default().quantile(0.5), None);
    }
}
