//! Metrics of the links to other brokers.
//!
//! The labels are names from the links file, lanes, states and codes of MQTT; none has a value that a
//! device or another broker chooses freely. The series of a removed link are removed.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};

use super::declare::metrics;

/// Buckets in seconds, from a broker beside Sluice to a cloud that was away for a day.
const SEND_SECONDS: [f64; 13] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 600.0, 3600.0, 86_400.0];

/// Why a message becomes a dead letter. A counter that begins with its first event would hide that
/// event from alerts.
const DEAD_LETTER_REASONS: [&str; 6] =
    ["TOO_LARGE", "BAD_TOPIC", "NOT_AUTHORIZED", "REFUSED", "CLOSES_CONNECTION", "EXPIRED"];

metrics! {
    /// Updated by the replica that sends over the link, unless a metric says otherwise.
    pub struct LinkMetrics {
        /// 1 while the lane is connected to the other broker and each of its SUBSCRIBE packets is
        /// answered.
        up: IntGaugeVec("sluice_link_up", ["link", "lane"]),
        /// 1 for the state of the link on this replica: connecting, up, refused, throttled, flapping
        /// or standby.
        state: IntGaugeVec("sluice_link_state", ["link", "state"]),
        /// Attempts to connect, by outcome: connected, refused (the other broker answered with a
        /// refusal) or failed.
        connects: IntCounterVec("sluice_link_connects_total", ["link", "outcome"]),
        /// Refusals of the other broker, by packet and code.
        refusals: IntCounterVec("sluice_link_refusals_total", ["link", "packet", "code"]),
        /// Messages that the other broker has acknowledged.
        published: IntCounterVec("sluice_link_published_total", ["link"]),
        /// Messages that were sent again, because a connection ended before their acknowledgement.
        resent: IntCounterVec("sluice_link_resent_total", ["link"]),
        /// Messages that wait to be sent.
        backlog_messages: IntGaugeVec("sluice_link_backlog_messages", ["link"]),
        /// Payload bytes that wait to be sent.
        backlog_bytes: IntGaugeVec("sluice_link_backlog_bytes", ["link"]),
        /// Age of the oldest message that waits to be sent.
        oldest_seconds: GaugeVec("sluice_link_oldest_seconds", ["link"]),
        /// Seconds since a full backlog began a gap, which is refilled from telemetry; 0 without a gap.
        gap_seconds: GaugeVec("sluice_link_gap_seconds", ["link"]),
        /// Messages that became dead letters, by reason.
        dead_lettered: IntCounterVec("sluice_link_dead_lettered_total", ["link", "reason"]),
        /// Messages of a gap that were no longer in telemetry when it was refilled.
        lost: IntCounterVec("sluice_link_lost_total", ["link"]),
        /// Times the other broker had lost the session of a link that receives: messages may be lost.
        sessions_lost: IntCounterVec("sluice_link_sessions_lost_total", ["link"]),
        /// End of the login token that the link uses, in seconds since 1970; 0 without one.
        token_expires: GaugeVec("sluice_link_token_expires_seconds", ["link"]),
        /// End of the credentials of AWS that the link uses, in seconds since 1970; 0 without.
        credentials_expire: GaugeVec("sluice_link_credentials_expires_seconds", ["link"]),
        /// Messages that are sent and not acknowledged.
        inflight: IntGaugeVec("sluice_link_inflight", ["link"]),
        /// Seconds from the commit of a message to its acknowledgement by the other broker.
        send_seconds: HistogramVec("sluice_link_send_seconds", ["link"], SEND_SECONDS),
        /// 1 while the links in force are those of the links file; 0 while the file is invalid and
        /// older links are in force.
        file_current: IntGauge("sluice_links_file_current"),
    }
}

// === impl LinkMetrics ===

impl LinkMetrics {
    /// Creates the series of a link whose labels are known in advance.
    pub fn begin(&self, link: &str) {
        for counter in [&self.published, &self.resent, &self.lost, &self.sessions_lost] {
            counter.with_label_values(&[link]).inc_by(0);
        }
        for reason in DEAD_LETTER_REASONS {
            self.dead_lettered.with_label_values(&[link, reason]).inc_by(0);
        }
        for gauge in [&self.oldest_seconds, &self.gap_seconds] {
            gauge.with_label_values(&[link]).set(0.0);
        }
        self.backlog_messages.with_label_values(&[link]).set(0);
        self.backlog_bytes.with_label_values(&[link]).set(0);
        self.inflight.with_label_values(&[link]).set(0);
    }

    /// Removes the series of a link that is no longer in the links file.
    pub fn forget(&self, link: &str) {
        for vec in
            [&self.up, &self.state, &self.backlog_messages, &self.backlog_bytes, &self.inflight]
        {
            forget(vec, link);
        }
        for vec in [
            &self.connects,
            &self.refusals,
            &self.published,
            &self.resent,
            &self.dead_lettered,
            &self.lost,
            &self.sessions_lost,
        ] {
            forget(vec, link);
        }
        for vec in
            [&self.oldest_seconds, &self.gap_seconds, &self.token_expires, &self.credentials_expire]
        {
            forget(vec, link);
        }
        forget(&self.send_seconds, link);
    }
}

/// Removes every series of `vec` with this link.
fn forget<T: MetricVecBuilder>(vec: &MetricVec<T>, link: &str)
where
    MetricVec<T>: Collector,
{
    for family in vec.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if labels.get("link") == Some(&link) {
                let _was_there = vec.remove(&labels);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;

    #[test]
    fn the_series_of_a_removed_link_are_removed_and_those_of_others_stay() {
        let registry = Registry::new();
        let metrics = LinkMetrics::register(&registry).unwrap();
        for link in ["azure", "aws"] {
            metrics.begin(link);
            metrics.up.with_label_values(&[link, "0"]).set(1);
            metrics.refusals.with_label_values(&[link, "PUBACK", "0x87"]).inc();
            metrics.send_seconds.with_label_values(&[link]).observe(0.1);
        }
        metrics.forget("azure");
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(!text.contains("azure"), "{text}");
        assert!(text.contains("sluice_link_refusals_total{code=\"0x87\",link=\"aws\""), "{text}");
        assert!(text.contains("sluice_link_send_seconds_count{link=\"aws\"} 1"), "{text}");
    }
}
