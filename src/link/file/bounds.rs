//! The limits of a link: the preset of its kind, lowered by the file.
//!
//! A value above the preset is a fault: the other broker ends the connection of a client that
//! exceeds it, so a higher value could only do harm.

use std::time::Duration;

use super::fields::LinkFields;
use super::units;
use crate::link::kind::LinkKind;
use crate::link::limits::LinkLimits;

/// The smallest `max_packet_bytes`: a packet has a topic and properties.
const LEAST_PACKET: u64 = 256;

/// The shortest `keepalive`, in seconds.
const LEAST_KEEPALIVE: u16 = 5;

/// Reads the limits.
pub(super) fn read(fields: &mut LinkFields<'_, '_>, kind: LinkKind) -> LinkLimits {
    let preset = LinkLimits::of(kind);
    let mut limits = LinkLimits::default_of(kind);
    let at_most = |what: String| format!(": {} allows at most {what}", kind.label());
    let number = |most: u32| at_most(most.to_string());
    if let Some(rate) = fields.whole("max_rate", 1..=preset.rate, &number(preset.rate)) {
        limits.rate = rate;
    }
    let most = preset.unacked;
    if let Some(unacked) = fields.whole("max_unacked", 1..=most, &number(most.into())) {
        limits.unacked = unacked;
    }
    let most = preset.packet_bytes as u64;
    let because = at_most(units::show_size(most));
    if let Some(bytes) = fields.size("max_packet_bytes", LEAST_PACKET..=most, &because) {
        limits.packet_bytes = usize::try_from(bytes).unwrap_or(preset.packet_bytes);
        limits.payload_bytes = limits.payload_bytes.min(limits.packet_bytes);
    }
    let because = |most: u32| at_most(units::show_duration(Duration::from_secs(most.into())));
    let span = |least: u32, most: u32| {
        Duration::from_secs(least.into())..=Duration::from_secs(most.into())
    };
    let most = u32::from(preset.keepalive_seconds);
    let allowed = span(LEAST_KEEPALIVE.into(), most);
    if let Some(keepalive) = fields.duration("keepalive", allowed, &because(most)) {
        limits.keepalive_seconds =
            u16::try_from(keepalive.as_secs()).unwrap_or(preset.keepalive_seconds);
    }
    let most = preset.session_expiry_seconds;
    if let Some(expiry) = fields.duration("session_expiry", span(1, most), &because(most)) {
        limits.session_expiry_seconds = u32::try_from(expiry.as_secs()).unwrap_or(most);
    }
    limits
}
