//! Metrics of the broker's plugin, as the plugin counts them since its start.
//!
//! The label `profile` comes from the broker's configuration; [`PluginMetrics::begin`] bounds how many
//! there are. It asks no plugin.

use std::sync::{Arc, Mutex, PoisonError};

use sluice_shared::frames::from_plugin::Stats;

use super::declare::metrics;

/// The most profiles with a label of their own.
const PROFILES_MAX: usize = 16;

/// The label of all others.
const OTHER_PROFILES: &str = "other";

/// The longest profile with a label of its own.
const PROFILE_CHARS_MAX: usize = 64;

metrics! {
    /// The metrics of all plugins.
    pub struct PluginSeries {
        /// 1 if a plugin should be connected, because its socket is set.
        expected: IntGauge("sluice_plugin_expected"),
        /// Plugins that are connected.
        connections: IntGauge("sluice_plugin_connections"),
        /// Connections of plugins that were refused: a wrong user, too many, or no hello in time.
        refused: IntCounter("sluice_plugin_refused_total"),
        /// Frames that wait to be sent to a plugin.
        queue: IntGauge("sluice_plugin_queue_depth"),
        /// 1 while a plugin of the profile is connected.
        up: IntGaugeVec("sluice_plugin_up", ["profile"]),
        /// The version of the registry that the plugin uses.
        version: IntGaugeVec("sluice_plugin_snapshot_version", ["profile"]),
        /// Seconds by which the registry in the plugin is behind: since the oldest change that it has not
        /// applied. 0 means that it has applied all.
        age: GaugeVec("sluice_plugin_snapshot_age_seconds", ["profile"]),
        /// Certificates that may connect, as the plugin has them.
        certificates: IntGaugeVec("sluice_plugin_certificates", ["profile"]),
        /// Sessions that are open at the broker.
        sessions: IntGaugeVec("sluice_plugin_sessions", ["profile"]),
        /// 1 while the plugin does not ask because answers came too late.
        breaker_open: IntGaugeVec("sluice_plugin_breaker_open", ["profile"]),
        /// The longest time from a command to the closed session.
        kick_seconds_max: GaugeVec("sluice_plugin_kick_seconds_max", ["profile"]),
        /// Decisions of the plugin, by event (login, topic) and result.
        decisions: IntCounterVec("sluice_plugin_decisions_total", ["profile", "event", "result"]),
        /// Seconds spent in topic decisions.
        topic_seconds: CounterVec("sluice_plugin_topic_seconds_total", ["profile"]),
        /// Questions that Sluice answered in time.
        asked: IntCounterVec("sluice_plugin_asked_total", ["profile"]),
        /// Seconds spent waiting for answers.
        ask_seconds: CounterVec("sluice_plugin_ask_seconds_total", ["profile"]),
        /// Questions that were not answered in time.
        ask_timeouts: IntCounterVec("sluice_plugin_ask_timeouts_total", ["profile"]),
        /// Sessions whose login the broker did not show to the plugin.
        late_sessions: IntCounterVec("sluice_plugin_late_sessions_total", ["profile"]),
        /// Messages with a proof of their publisher.
        stamped: IntCounterVec("sluice_plugin_stamped_total", ["profile"]),
        /// Messages that could not be given a proof.
        unstamped: IntCounterVec("sluice_plugin_unstamped_total", ["profile"]),
        /// Seconds spent on proofs.
        stamp_seconds: CounterVec("sluice_plugin_stamp_seconds_total", ["profile"]),
        /// Reserved properties of clients that were removed.
        stripped: IntCounterVec("sluice_plugin_reserved_stripped_total", ["profile"]),
        /// Wills published again with a proof.
        wills: IntCounterVec("sluice_plugin_wills_restamped_total", ["profile"]),
        /// Sessions closed by the plugin, because of a revocation or because their proof expired.
        kicks: IntCounterVec("sluice_plugin_kicks_total", ["profile", "why"]),
        /// Panics that the plugin caught.
        panics: IntCounterVec("sluice_plugin_panics_total", ["profile"]),
        /// Frames of the plugin that were lost because its queue was full.
        events_lost: IntCounterVec("sluice_plugin_events_lost_total", ["profile"]),
    }
}

/// Updated by the link to the plugins. Clones share it.
#[derive(Clone, Debug)]
pub struct PluginMetrics {
    /// The series.
    pub series: PluginSeries,
    profiles: Arc<Mutex<Vec<Box<str>>>>,
}

// === impl PluginMetrics ===

impl PluginMetrics {
    /// Creates and registers all of them.
    pub fn register(registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        Ok(Self { series: PluginSeries::register(registry)?, profiles: Arc::default() })
    }

    /// The label of a profile; its series begin at zero.
    pub fn begin(&self, profile: &str) -> Box<str> {
        let label = self.label(profile);
        self.add(&label, &Stats::default(), &Stats::default());
        self.series.age.with_label_values(&[&*label]).set(0.0);
        label
    }

    /// Counts what a plugin has counted between two reports of one start.
    pub fn add(&self, profile: &str, before: &Stats, now: &Stats) {
        let all = &self.series;
        let grown = |now: u64, before: u64| now.saturating_sub(before);
        let label = &[profile];
        let kinds = [("accepted", 0), ("refused", 1), ("left_to_broker", 2)];
        for (result, at) in kinds {
            let labels = &[profile, "login", result];
            let count = grown(now.logins[at], before.logins[at]);
            all.decisions.with_label_values(labels).inc_by(count);
        }
        for (result, at) in [("allowed", 0), ("denied", 1)] {
            let labels = &[profile, "topic", result];
            let count = grown(now.topics[at], before.topics[at]);
            all.decisions.with_label_values(labels).inc_by(count);
        }
        let kicked = [
            ("revoked", now.kicked_revoked, before.kicked_revoked),
            ("expired", now.kicked_expired, before.kicked_expired),
        ];
        for (why, now, before) in kicked {
            all.kicks.with_label_values(&[profile, why]).inc_by(grown(now, before));
        }
        for (counter, now, before) in [
            (&all.asked, now.asked, before.asked),
            (&all.ask_timeouts, now.ask_timeouts, before.ask_timeouts),
            (&all.late_sessions, now.late_sessions, before.late_sessions),
            (&all.stamped, now.stamped, before.stamped),
            (&all.unstamped, now.unstamped, before.unstamped),
            (&all.stripped, now.stripped, before.stripped),
            (&all.wills, now.wills, before.wills),
            (&all.panics, now.panics, before.panics),
            (&all.events_lost, now.frames_lost, before.frames_lost),
        ] {
            counter.with_label_values(label).inc_by(grown(now, before));
        }
        for (counter, now, before) in [
            (&all.topic_seconds, now.topic_nanos, before.topic_nanos),
            (&all.ask_seconds, now.ask_nanos, before.ask_nanos),
            (&all.stamp_seconds, now.stamp_nanos, before.stamp_nanos),
        ] {
            counter.with_label_values(label).inc_by(seconds(grown(now, before), 1e9));
        }
        self.show(profile, now);
    }

    /// Shows whether a plugin of the profile is connected; without one its gauges are zero.
    pub fn show_up(&self, profile: &str, is_up: bool) {
        self.series.up.with_label_values(&[profile]).set(i64::from(is_up));
        if !is_up {
            self.show(profile, &Stats::default());
            self.series.age.with_label_values(&[profile]).set(0.0);
        }
    }

    fn show(&self, profile: &str, now: &Stats) {
        let (all, label) = (&self.series, &[profile]);
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        all.version.with_label_values(label).set(whole(now.version));
        all.certificates.with_label_values(label).set(whole(now.certificates));
        all.sessions.with_label_values(label).set(whole(now.sessions));
        all.breaker_open.with_label_values(label).set(i64::from(now.breaker_open));
        all.kick_seconds_max.with_label_values(label).set(seconds(now.kick_micros_max, 1e6));
    }

    /// A profile is text of the broker's configuration, so it is bounded.
    fn label(&self, profile: &str) -> Box<str> {
        let mut profiles = self.profiles.lock().unwrap_or_else(PoisonError::into_inner);
        if profiles.iter().any(|known| **known == *profile) {
            return profile.into();
        }
        if profiles.len() >= PROFILES_MAX || profile.chars().count() > PROFILE_CHARS_MAX {
            return OTHER_PROFILES.into();
        }
        profiles.push(profile.into());
        profile.into()
    }
}

// --- private helpers ---

#[expect(clippy::cast_precision_loss, reason = "a sum of this length needs no exact value")]
fn seconds(count: u64, per_second: f64) -> f64 {
    count as f64 / per_second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_grow_by_what_was_counted_since_the_last_report() {
        let metrics = PluginMetrics::register(&prometheus::Registry::new()).unwrap();
        let label = metrics.begin("devices");
        let first = Stats { stamped: 5, sessions: 2, ..Stats::default() };
        let second = Stats { stamped: 7, sessions: 1, ..Stats::default() };
        metrics.add(&label, &Stats::default(), &first);
        metrics.add(&label, &first, &second);
        assert_eq!(metrics.series.stamped.with_label_values(&["devices"]).get(), 7);
        assert_eq!(metrics.series.sessions.with_label_values(&["devices"]).get(), 1);
        metrics.show_up(&label, false);
        assert_eq!(metrics.series.sessions.with_label_values(&["devices"]).get(), 0);
    }

    #[test]
    fn the_number_of_labels_is_bounded() {
        let metrics = PluginMetrics::register(&prometheus::Registry::new()).unwrap();
        for number in 0..PROFILES_MAX {
            assert_eq!(*metrics.begin(&number.to_string()), number.to_string());
        }
        assert_eq!(*metrics.begin("one more"), *OTHER_PROFILES);
        assert_eq!(*metrics.begin("0"), *"0");
    }
}
