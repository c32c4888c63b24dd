//! Turns what an inspection of the broker measured into findings: the window, and the values that
//! the broker publishes about itself.
//!
//! It opens no connection.

use crate::broker::transport::outgoing::DROPPED_TOPIC;
use crate::domain::finding::Finding;

/// Topic of the window measurement; the access rules must let this user read and write below it.
pub(super) const SCRATCH: &str = "sluice/doctor";

/// Result of the window measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProbeReceipt {
    pub(super) arrived: usize,
    /// Whether the number stayed there with more published.
    pub(super) is_bound: bool,
}

/// What the members of a share group received of the same messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShareReceipt {
    /// Whether the broker refused a message.
    pub(super) refused: bool,
    /// What a plain subscription received.
    pub(super) plain: usize,
    /// What each member received.
    pub(super) shares: Vec<usize>,
}

/// Judges a shared subscription: its members together receive each message once.
pub(super) fn judge_share(published: usize, topic: &str, receipt: &ShareReceipt) -> Finding {
    let ShareReceipt { refused, plain, shares } = receipt;
    let shared: usize = shares.iter().sum();
    let each = shares.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    if *refused || (*plain == 0 && shared == 0) {
        return Finding::warning(
            format!("not checked: no message published to {topic} comes back to this user"),
            format!("let this user read and write {topic} at the broker, and run the doctor again"),
        );
    }
    match shared {
        0 => Finding::error(
            format!(
                "the broker grants shared subscriptions and delivers nothing through them: of {published} messages published to \
                 {topic}, a plain subscription received {plain} and two members of a share group none"
            ),
            "unset MQTT_SHARE_GROUP and run one daemon, or use a broker with shared subscriptions of MQTT 5",
        ),
        shared if shared == published => Finding::ok(format!(
            "a share group delivers each message to one member: of {published} messages, two members received {each}"
        )),
        shared if shared > published => Finding::error(
            format!(
                "the broker does not share: of {published} messages published to {topic}, two members of a share group received \
                 {each}"
            ),
            "unset MQTT_SHARE_GROUP and run one daemon: each replica would store every message",
        ),
        _ => Finding::error(
            format!(
                "the broker loses messages to a share group: of {published} published to {topic}, two members received {each}"
            ),
            "read the broker's log; until the cause is known, unset MQTT_SHARE_GROUP and run one daemon",
        ),
    }
}

/// Judges the window; `receive_maximum` is what Sluice announces, `needed` what two batches hold.
pub(super) fn judge_window(
    receive_maximum: usize,
    needed: usize,
    topic: &str,
    seen: Option<ProbeReceipt>,
) -> Finding {
    let rule = format!(
        "let this user read and write {SCRATCH}/# (Mosquitto's acl_file: topic readwrite {SCRATCH}/#)"
    );
    match seen {
        None => Finding::warning(
            format!("not measured: the broker refuses messages of this user on {topic}"),
            rule,
        ),
        Some(ProbeReceipt { arrived: 0, .. }) => Finding::warning(
            format!("not measured: no message published to {topic} came back"),
            rule,
        ),
        Some(ProbeReceipt { arrived, .. }) if arrived > receive_maximum => Finding::warning(
            format!(
                "the broker ignores MQTT_RECEIVE_MAXIMUM={receive_maximum}: \
                 it sent {arrived} messages before the first acknowledgement"
            ),
            "update the broker (Mosquitto: 2.0.13 or later); \
             until then Sluice bounds its memory by pausing reads",
        ),
        Some(ProbeReceipt { arrived, is_bound: false }) => Finding::ok(format!(
            "at least {arrived} messages are sent before the first is acknowledged \
             (MQTT_RECEIVE_MAXIMUM={receive_maximum})"
        )),
        Some(ProbeReceipt { arrived, .. }) if arrived < needed.min(receive_maximum) => {
            Finding::warning(
                format!(
                    "the broker sends only {arrived} messages before the first is acknowledged, \
                     although MQTT_RECEIVE_MAXIMUM={receive_maximum}; \
                     two full batches hold {needed}"
                ),
                format!(
                    "set max_inflight_messages in mosquitto.conf to {receive_maximum}, \
                     or lower BATCH_SIZE"
                ),
            )
        }
        Some(ProbeReceipt { arrived, .. }) => Finding::ok(format!(
            "{arrived} messages are sent before the first is acknowledged \
             (MQTT_RECEIVE_MAXIMUM={receive_maximum}); two full batches hold {needed}"
        )),
    }
}

/// Judges the broker's own values: version, uptime, dropped messages.
pub(super) fn judge_sys_values([version, uptime, dropped]: [Option<String>; 3]) -> Vec<Finding> {
    let advice =
        "let this user read $SYS/broker/# (Mosquitto's acl_file: topic read $SYS/broker/#)";
    let is_readable = version.is_some() || uptime.is_some();
    let about = if is_readable {
        Finding::ok(format!(
            "the broker is {}, up for {}",
            version.as_deref().unwrap_or("of an unknown version"),
            uptime.as_deref().unwrap_or("an unknown time")
        ))
    } else {
        Finding::warning(
            "no message arrives under $SYS: \
             the broker publishes none, or this user may not read them",
            advice,
        )
    };
    let drops = match dropped.as_deref().map(str::trim) {
        // Mosquitto publishes a number when it changes, keeps it for a minute, and publishes none
        // at zero.
        None if is_readable => {
            Finding::ok("the broker reports no dropped message in the last minute")
        }
        None => Finding::warning(
            format!("{DROPPED_TOPIC} is not readable: Sluice cannot count dropped messages"),
            advice,
        ),
        Some("0") => Finding::ok("the broker has dropped no message since it started"),
        Some(count) => Finding::warning(
            format!("the broker has dropped {count} messages of its subscribers since it started"),
            "raise max_queued_messages and max_queued_bytes in mosquitto.conf, \
             and check whether an unused session collects messages",
        ),
    };
    vec![about, drops]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Severity;

    #[test]
    fn a_window_is_a_warning_only_when_it_binds_below_two_batches() {
        let judge = |arrived, is_bound| {
            judge_window(1500, 1000, "t", Some(ProbeReceipt { arrived, is_bound }))
        };
        for (arrived, is_bound, level, words) in [
            (20, true, Severity::Warning, "only 20 messages"),
            (1200, true, Severity::Ok, "1200 messages are sent"),
            (1500, true, Severity::Ok, "1500 messages are sent"),
            (1499, false, Severity::Ok, "at least 1499"),
            (2000, false, Severity::Warning, "ignores MQTT_RECEIVE_MAXIMUM=1500"),
            (0, true, Severity::Warning, "no message published to t"),
        ] {
            let finding = judge(arrived, is_bound);
            assert!(
                finding.level == level && finding.what.contains(words),
                "{arrived}: {finding:?}"
            );
        }
        let narrow = judge(20, true);
        assert!(narrow.advice.unwrap().contains("max_inflight_messages in mosquitto.conf to 1500"));
    }

    #[test]
    fn a_share_group_delivers_each_message_once() {
        let judged = |refused, plain, shares: [usize; 2]| {
            judge_share(4, "t", &ShareReceipt { refused, plain, shares: shares.to_vec() })
        };
        assert_eq!(judged(false, 4, [2, 2]).level, Severity::Ok);
        assert_eq!(judged(false, 4, [4, 0]).level, Severity::Ok);
        assert_eq!(judged(true, 0, [0, 0]).level, Severity::Warning);
        assert_eq!(judged(false, 0, [0, 0]).level, Severity::Warning);
        for (shares, says) in
            [([0, 0], "delivers nothing"), ([4, 4], "does not share"), ([1, 2], "loses messages")]
        {
            let finding = judged(false, 4, shares);
            assert_eq!(finding.level, Severity::Error);
            assert!(finding.what.contains(says), "{}", finding.what);
        }
    }

    #[test]
    fn a_broker_that_publishes_its_version_and_no_drops_is_ok() {
        let levels = |version: Option<&str>, dropped: Option<&str>| {
            let values = [version, None, dropped].map(|value| value.map(str::to_owned));
            judge_sys_values(values).iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(levels(Some("2.0.11"), None), [Severity::Ok, Severity::Ok]);
        assert_eq!(levels(Some("2.0.11"), Some("0")), [Severity::Ok, Severity::Ok]);
        assert_eq!(levels(Some("2.0.11"), Some("7")), [Severity::Ok, Severity::Warning]);
        assert_eq!(levels(None, None), [Severity::Warning, Severity::Warning]);
    }
}
