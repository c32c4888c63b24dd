//! What fixes the cause of a refusal: one sentence for each reason, and where the fix is made.
//!
//! `docs/reference/reasons.md` has the same by command. It decides nothing.

use crate::console::device_address::device_path;
use crate::domain::refusal::Reason;

/// What fixes a reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReasonFix {
    /// What to do, as a sentence.
    pub what: &'static str,
    /// Where it is done.
    pub place: FixPlace,
}

/// Where a fix is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FixPlace {
    /// The registry lacks devices: the page offers to add them.
    AddDevices,
    /// On the page of the device.
    Device,
    /// On the page of the tenant's devices.
    Tenant,
    /// In a setting, for the person who runs the daemon.
    Setting(&'static str),
    /// At the device itself.
    Sender,
}

const UNPROVEN: &str = "Connect the device to a listener that loads the broker's plugin, or find out who publishes elsewhere. Messages without a proof \
     stay refused while PUBLISHER_PROOF is require.";

const MISMATCH: &str = "Find out why this identity publishes for another device. If it is a gateway, add it to PUBLISHER_GATEWAYS, \
     and replay.";

/// The fix of each reason.
pub(crate) const fn fix_of(reason: Reason) -> ReasonFix {
    use FixPlace::{AddDevices, Device, Sender, Setting, Tenant};
    let (what, place) = match reason {
        Reason::BadTopicFormat => (
            "Correct the topic that the device publishes on: tenant/<tenant>/device/<device>/<type>. These messages cannot be \
             stored.",
            Sender,
        ),
        Reason::PayloadTooLarge => (
            "Send smaller messages, or raise MAX_PAYLOAD_BYTES. A message that was cut cannot be replayed.",
            Setting("MAX_PAYLOAD_BYTES"),
        ),
        Reason::BadPayload => (
            "Correct the payload at the device: the detail of a message says what is wrong with it.",
            Sender,
        ),
        Reason::UnsupportedVersion => ("Send version \"1\", or leave the field out.", Sender),
        Reason::TenantMismatch | Reason::DeviceMismatch => (
            "Correct the identity that the device writes into its payload, or find out who else uses its topic.",
            Sender,
        ),
        Reason::BadTimestamp => ("Write ts as RFC 3339 or as Unix time at the device.", Sender),
        Reason::TimestampOutOfRange => (
            "Set the clock of the device. For old data raise MAX_AGE_DAYS, and replay.",
            Setting("MAX_AGE_DAYS"),
        ),
        Reason::PublisherUnproven => (UNPROVEN, Setting("PUBLISHER_PROOF")),
        Reason::PublisherMismatch => (MISMATCH, Setting("PUBLISHER_GATEWAYS")),
        Reason::TenantSuspended => ("Activate the tenant, and replay.", Tenant),
        Reason::UnregisteredDevice => (
            "Add the devices to the registry, and replay. Where Sluice requires a token, a device also needs its token or a \
             valid certificate.",
            AddDevices,
        ),
        Reason::DeviceRevoked => (
            "Nothing, if the device was meant to be revoked. Otherwise change its status, and replay.",
            Device,
        ),
        Reason::DeviceInactive => ("Activate the device, and replay.", Device),
        Reason::SiteMismatch => (
            "Change the site of the device in the registry, and replay; or correct site_id at the device.",
            Device,
        ),
        Reason::TokenNotSet => {
            ("Give the device a token or a certificate in the registry, and replay.", Device)
        }
        Reason::TokenMissing => (
            "Configure the token at the device, or issue it a certificate. With a certificate these messages can be replayed.",
            Device,
        ),
        Reason::TokenInvalid => (
            "Configure the right token at the device, or make a new one. Messages with a wrong token stay refused.",
            Device,
        ),
        Reason::RateLimited => (
            "Slow the device down, or raise RATE_LIMIT_RPS. A replay is not charged: these messages can be replayed now.",
            Setting("RATE_LIMIT_RPS"),
        ),
        Reason::StoreRejected => {
            ("The detail has the error of Postgres: correct the device.", Sender)
        }
    };
    ReasonFix { what, place }
}

/// The page where the fix is made, with its label; `None`: not in the console, or no device is known.
pub(crate) fn page_of(
    place: FixPlace,
    tenant: Option<&str>,
    device: Option<&str>,
) -> Option<(String, String)> {
    match (place, tenant, device) {
        (FixPlace::Device, Some(tenant), Some(device)) => {
            Some((format!("Open {tenant}/{device}"), device_path(tenant, device)))
        }
        (FixPlace::Device | FixPlace::Tenant, Some(tenant), _) => Some((
            format!("Devices of {tenant}"),
            crate::console::query::PageQuery::from([("search", &*format!("tenant:{tenant}"))])
                .href("/console/devices"),
        )),
        (FixPlace::AddDevices, Some(tenant), Some(device)) => Some((
            format!("Register {tenant}/{device}"),
            crate::console::query::PageQuery::from([("tenant", tenant), ("device", device)])
                .href("/console/devices/new"),
        )),
        (FixPlace::Setting(_), _, _) => {
            Some(("Settings".to_owned(), "/console/settings".to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_sentence_and_a_registry_reason_a_page() {
        for reason in Reason::ALL {
            let fix = fix_of(reason);
            assert!(fix.what.ends_with('.') && fix.what.len() > 20, "{reason}");
            let page = page_of(fix.place, Some("acme"), Some("pump-1"));
            assert_eq!(page.is_none(), fix.place == FixPlace::Sender, "{reason}");
        }
    }
}
