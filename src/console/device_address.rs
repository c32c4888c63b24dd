//! Where devices are: their pages, their routes of the API, and the words of a command; and the badge
//! of a status.
//!
//! It reads nothing.

use serde::Deserialize;

use super::frame::shell_quoted;
use super::query::{PageQuery, segment};
use crate::domain::device::DeviceStatus;

/// The address of the list.
pub(crate) const DEVICES: &str = "/console/devices";

/// The names of the address that the API takes, too.
pub(crate) const OF_API: [&str; 3] = ["search", "sort", "cursor"];

/// The path of a device.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DeviceAddress {
    pub tenant: String,
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
    format!("{DEVICES}/{}/{}", segment(tenant), segment(device))
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

    /// The device as words of a command.
    pub(crate) fn words(&self) -> String {
        format!("{} {}", shell_quoted(&self.tenant), shell_quoted(&self.device))
    }
}
