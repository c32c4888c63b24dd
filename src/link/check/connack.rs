//! Step 12, accepted: what CONNACK grants, next to what the links file wants.

use super::report::CheckStep;
use crate::broker::remote::grants::RemoteGrants;
use crate::link::settings::LinkSettings;

/// Step 12 for an accepted connection; `session_expiry` is how long a session would be kept, in seconds.
pub fn accepted(
    link: &LinkSettings,
    granted: &RemoteGrants,
    session_expiry: Option<u32>,
) -> CheckStep {
    let mut step = CheckStep::new(12, "CONNACK");
    step.note(format!("{} accepts the login", link.host));
    let limits = &link.limits;
    lower(
        &mut step,
        "messages without an acknowledgement",
        limits.unacked.into(),
        granted.receive_maximum.into(),
    );
    if let Some(packet) = granted.maximum_packet {
        let own = u64::try_from(limits.packet_bytes).unwrap_or(u64::MAX);
        lower(&mut step, "bytes of a packet", own, packet.into());
    }
    if let Some(seconds) = granted.server_keep_alive {
        lower(&mut step, "seconds of keepalive", limits.keepalive_seconds.into(), seconds.into());
    }
    if let Some(seconds) = session_expiry {
        session(&mut step, link, seconds);
    }
    if !granted.retain {
        step.note("it retains no messages");
    }
    if let Some(id) = &granted.assigned_client_id {
        step.warn(
            format!("it assigned the client id {id}"),
            "it did not take the client id of the link: messages for a session may be lost",
        );
    }
    if granted.max_qos == 0 {
        step.fail(
            "it accepts QoS 0 only, where messages are lost without notice",
            "allow QoS 1 at the other broker: a link needs acknowledgements",
        );
    }
    let has_wildcard = link.ingest.iter().any(|rule| rule.filter.contains(['+', '#']));
    if has_wildcard && !granted.wildcard {
        step.fail(
            "it has no wildcard subscriptions",
            "write filters without + and # into the ingest rules",
        );
        step.field("ingest");
    }
    step
}

// === private helpers ===

/// Messages that wait longer than the session lives are lost.
fn session(step: &mut CheckStep, link: &LinkSettings, granted: u32) {
    let own = link.limits.session_expiry_seconds;
    if granted < own {
        step.warn(
            format!("it keeps a session for {granted} s, not for the {own} s of the link"),
            format!(
                "raise the limit at {}, or set session_expiry to \"{granted}s\": messages for Sluice that wait longer \
                 are lost",
                link.host
            ),
        );
        step.field("session_expiry");
    } else {
        step.note(format!("it keeps a session for {granted} s"));
    }
}

fn lower(step: &mut CheckStep, what: &str, own: u64, granted: u64) {
    if granted < own {
        step.note(format!("it allows {granted} {what}, fewer than the {own} of the link: Sluice takes {granted} over"));
    }
}
