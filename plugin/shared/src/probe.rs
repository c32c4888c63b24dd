//! Identity of Sluice's own probe, which publishes like a device to test that the broker isolates
//! devices.
//!
//! Its names contain a `$`, which no tenant or device may have. It publishes only empty payloads, so a
//! message with a payload is not the probe's.

/// The common name of the probe's certificate, and so its user name and client id at the broker.
pub const IDENTITY: &str = "$sluice/device/probe";

/// Its tenant and device, as in the topic.
pub const NAMES: (&str, &str) = ("$sluice", "probe");

/// Topic that the broker must accept.
pub const OWN_TOPIC: &str = "tenant/$sluice/device/probe/telemetry";

/// Topics that Sluice's own user must be able to publish to: a response, a command, a desired document,
/// an error and a notice. Sluice tries them with empty messages.
pub const OWN_WRITES: [&str; 5] = [
    "tenant/$sluice/device/probe/response/probe",
    "tenant/$sluice/device/probe/commands",
    "tenant/$sluice/device/probe/shadow/desired",
    "tenant/$sluice/device/probe/errors",
    "tenant/$sluice/device/probe/notices/probe",
];

/// Identities without a device: another device of the same tenant, and one of another tenant with
/// the same device name.
pub const FOREIGN_IDENTITIES: [&str; 2] =
    ["$sluice/device/foreign", "$sluice-foreign/device/probe"];

/// Types that a device publishes; the broker must refuse each below a foreign identity.
pub const TYPES: [&str; 8] = [
    "telemetry",
    "heartbeat",
    "event",
    "status",
    "shadow/reported",
    "commands/ack",
    "commands/probe",
    "request/probe",
];

/// Topics that the broker must refuse.
pub fn foreign_topics() -> Vec<String> {
    let of = |identity| TYPES.iter().map(move |kind| format!("tenant/{identity}/{kind}"));
    FOREIGN_IDENTITIES.into_iter().flat_map(of).collect()
}

/// Whether this is a message of the probe: one of its topics, and an empty payload.
pub fn is_probe(topic: &[u8], payload: &[u8]) -> bool {
    // For other bad topics, this comparison is the only cost.
    if !payload.is_empty() || !topic.starts_with(b"tenant/$sluice") {
        return false;
    }
    topic == OWN_TOPIC.as_bytes()
        || OWN_WRITES.iter().any(|own| own.as_bytes() == topic)
        || foreign_topics().iter().any(|foreign| foreign.as_bytes() == topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_topics_with_an_empty_payload_are_its_messages() {
        assert!(!is_probe(OWN_TOPIC.as_bytes(), b"{}"));
        for topic in [
            "tenant/$sluice",
            "tenant/$sluice/device/probe/heartbeat",
            "tenant/$sluice/device/other/telemetry",
            "tenant/acme/device/probe/telemetry",
        ] {
            assert!(!is_probe(topic.as_bytes(), b""), "{topic}");
        }
    }
}
