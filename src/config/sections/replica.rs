//! Settings of replicas: several daemons that share the messages of one broker.
//!
//! It finds out the number of this replica and starts nothing.

use std::time::Duration;

use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind, SettingRule};

/// Stands for the number of this replica in `MQTT_CLIENT_ID`.
pub(crate) const ORDINAL: &str = "%ordinal";

/// Where Linux keeps the host name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The most digits of an ordinal.
const DIGITS_MAX: usize = 5;

/// Settings of replicas.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// `ORPHAN_AFTER_SECONDS`.
    pub orphan_after: Duration,
    /// `ADOPT_ORPHANS`.
    pub adopts_orphans: bool,
    /// `DRAIN_PATIENCE_SECONDS`.
    pub drain_patience: Duration,
}

const NUMBER: SettingKind = SettingKind::Text(SettingRule {
    allowed: "a number of at most 5 digits",
    holds: |text| is_ordinal(text),
});

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::optional(
        "REPLICA_ORDINAL",
        NUMBER,
        "The number of this replica, for %ordinal in MQTT_CLIENT_ID. Not set: the number at the end of the host name, such as 2 \
         of sluice-2.",
    ),
    Setting::whole(
        "ORPHAN_AFTER_SECONDS",
        "60",
        (3, 3600),
        "seconds",
        "A replica of a share group that did not note for this time that it runs has left an orphaned session at the broker. Set \
         the same on each replica.",
    ),
    Setting::switch(
        "ADOPT_ORPHANS",
        "0",
        "Whether this replica takes over orphaned sessions, stores what waits in them, and ends them. It does so when the replica \
         was not seen for five times ORPHAN_AFTER_SECONDS.",
    ),
    Setting::whole(
        "DRAIN_PATIENCE_SECONDS",
        "60",
        (1, 3600),
        "seconds",
        "How long a drain may take. After this time Sluice gives it up and subscribes again.",
    ),
];

// === impl ReplicaConfig ===

impl ReplicaConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        Self {
            orphan_after: reader.seconds("ORPHAN_AFTER_SECONDS"),
            adopts_orphans: reader.switch("ADOPT_ORPHANS"),
            drain_patience: reader.seconds("DRAIN_PATIENCE_SECONDS"),
        }
    }
}

/// The client id with the number of this replica in place of `%ordinal`.
pub(crate) fn with_ordinal(reader: &mut SettingReader) -> String {
    let client_id = reader.text("MQTT_CLIENT_ID");
    let given = reader.optional_text("REPLICA_ORDINAL");
    if !client_id.contains(ORDINAL) {
        return client_id;
    }
    let host = host_name();
    let Some(ordinal) = given.as_deref().or_else(|| ordinal_of(&host)) else {
        reader.conflict(
            &["MQTT_CLIENT_ID", "REPLICA_ORDINAL"],
            format!(
                "the host name {host:?} does not end in a hyphen and a number: set REPLICA_ORDINAL"
            ),
        );
        return client_id;
    };
    client_id.replace(ORDINAL, ordinal)
}

/// Whether a client id looks like one that a replica keeps: it is one word or ends in a separator and a
/// number, and at its end is a number. Random names of containers end otherwise.
pub(crate) fn ends_in_ordinal(client_id: &str) -> bool {
    if let Some((_, last)) = client_id.rsplit_once(['-', '_', '.', ':', '/']) {
        return is_ordinal(last);
    }
    let stem = client_id.trim_end_matches(|c: char| c.is_ascii_digit());
    is_ordinal(&client_id[stem.len()..])
}

// --- private helpers ---

fn host_name() -> String {
    std::fs::read_to_string(HOST_NAME).unwrap_or_default().trim().to_owned()
}

/// The number at the end of a host name, such as that of a pod of a `StatefulSet`.
fn ordinal_of(host: &str) -> Option<&str> {
    let (_, last) = host.split('.').next()?.rsplit_once('-')?;
    is_ordinal(last).then_some(last)
}

fn is_ordinal(text: &str) -> bool {
    (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::load::tests::{environment, error};

    #[test]
    fn the_number_of_a_pod_is_that_at_the_end_of_its_host_name() {
        for (host, ordinal) in [
            ("sluice-0", Some("0")),
            ("sluice-eu-12.sluice.ns.svc", Some("12")),
            ("sluice-7d9f8b6c5d-x2x9z", None),
            ("sluice", None),
            ("sluice-", None),
            ("sluice-123456", None),
        ] {
            assert_eq!(ordinal_of(host), ordinal, "{host}");
        }
    }

    #[test]
    fn a_client_id_that_a_replica_keeps_ends_in_a_number() {
        for kept in ["sluice-0", "sluice1", "a.b_12", "sluice-eu-3"] {
            assert!(ends_in_ordinal(kept), "{kept}");
        }
        for random in ["sluice", "sluice-7d9f8b6c5d-x2x92", "sluice-b", "sluice-123456"] {
            assert!(!ends_in_ordinal(random), "{random}");
        }
    }

    #[test]
    fn the_ordinal_is_that_of_the_setting_before_that_of_the_host() {
        let named = [("MQTT_CLIENT_ID", "sluice-%ordinal"), ("REPLICA_ORDINAL", "7")];
        let config = Config::load(&environment(&named)).unwrap().config;
        assert_eq!(config.broker.client_id, "sluice-7");
        let wrong = [("MQTT_CLIENT_ID", "sluice-%ordinal"), ("REPLICA_ORDINAL", "x")];
        assert!(error(&environment(&wrong)).contains("at most 5 digits"));
    }
}
