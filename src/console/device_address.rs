//! Where devices are: their pages, their routes of the API, and the words of a command; and the badge
//! of a status.
//!
//! It reads nothing.

use serde::{Deserialize, Deserializer};

use super::frame::shell_quoted;
use super::query::{PageQuery, segment};
use crate::domain::device::DeviceStatus;
use crate::domain::search::SearchValue;

/// The address of the list.
pub(crate) const DEVICES: &str = "/console/devices";

/// The names of the address that the API takes, too.
pub(crate) const OF_API: [&str; 3] = ["search", "sort", "cursor"];

/// The path of a device.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DeviceAddress {
    #[serde(deserialize_with = "name")]
    pub tenant: String,
    #[serde(deserialize_with = "name")]
    pub device: String,
}

/// A badge: its class, its icon and its text.
pub(crate) type Badge = (&'static str, &'static str, String);

/// The filters of an address as the API takes them.
pub(crate) fn api_target(query: &PageQuery) -> PageQuery {
    query.only(&OF_API[..2])
}

/// The page of one device.
pub(crate) fn device_path(tenant: &str, device: &str) -> String {
    format!("{DEVICES}/{}/{}", name_segment(tenant), name_segment(device))
}

/// The badge of a status.
pub(crate) fn status_badge(status: DeviceStatus) -> Badge {
    let (class, icon) = match status {
        DeviceStatus::Active => ("ok", "check"),
        DeviceStatus::Inactive => ("off", "off"),
        DeviceStatus::Revoked => ("bad", "cross"),
    };
    (class, icon, status.label().to_owned())
}

// === impl DeviceAddress ===

impl DeviceAddress {
    /// The page of the device.
    pub(crate) fn path(&self) -> String {
        device_path(&self.tenant, &self.device)
    }

    /// The device in the API.
    pub(crate) fn api(&self) -> String {
        format!("/api/v1/tenants/{}/devices/{}", segment(&self.tenant), segment(&self.device))
    }

    /// The device as parameters of the API.
    pub(crate) fn filter(&self) -> String {
        let names = [("tenant", self.tenant.as_str()), ("device", self.device.as_str())];
        PageQuery::from(names).encoded()
    }

    /// The device as terms of a search.
    pub(crate) fn search(&self) -> String {
        format!("tenant:{} device:{}", quoted(&self.tenant), quoted(&self.device))
    }

    /// The device as words of a command.
    pub(crate) fn words(&self) -> String {
        format!("{} {}", shell_quoted(&self.tenant), shell_quoted(&self.device))
    }
}

// === private helpers ===

/// A name as a part of an address of the console. Browsers resolve `.` and `..`, which devices of
/// earlier versions may have as names: a `~` before it, which no name has, keeps it.
fn name_segment(name: &str) -> String {
    match name {
        "." | ".." => format!("~{name}"),
        _ => segment(name),
    }
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(match text.as_str() {
        "~." | "~.." => text[1..].to_owned(),
        _ => text,
    })
}

/// A value as a search writes it.
fn quoted(value: &str) -> String {
    SearchValue::Exact(value.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_browsers_resolve_has_an_address() {
        assert_eq!(device_path("acme", ".."), "/console/devices/acme/~..");
        assert_eq!(device_path("acme", "a.b"), "/console/devices/acme/a.b");
        let read = |device: &str| {
            let text = format!(r#"{{"tenant": "~.", "device": "{device}"}}"#);
            serde_json::from_str::<DeviceAddress>(&text).unwrap()
        };
        let address = read("~..");
        assert_eq!((address.tenant.as_str(), address.device.as_str()), (".", ".."));
        assert_eq!(read("~x").device, "~x", "the API refuses it");
    }
}
