//! Which cached registry answers a change made stale.
//!
//! It names the device or tenant, not the new values; a reader queries the registry again.

use super::ids::{DeviceKey, TenantId};

/// The answers that are stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryChange {
    /// One device.
    Device(DeviceKey),
    /// All devices of a tenant.
    Tenant(TenantId),
    /// Everything: the connection is new, the notification says so, or too much changed at once.
    Everything,
}

// === impl RegistryChange ===

impl RegistryChange {
    /// Reads a notification: `<t>/device/<d>`, `<t>/*` or `*`. An unreadable one means everything.
    pub fn parse(payload: &str) -> Self {
        if let Ok(device) = payload.parse() {
            return Self::Device(device);
        }
        let tenant = payload.strip_suffix("/*").and_then(|tenant| tenant.parse().ok());
        tenant.map_or(Self::Everything, Self::Tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_names_a_device_a_tenant_or_everything() {
        assert_eq!(
            RegistryChange::parse("acme/device/pump-1"),
            RegistryChange::Device(DeviceKey::new("acme", "pump-1").unwrap())
        );
        assert_eq!(
            RegistryChange::parse("acme/*"),
            RegistryChange::Tenant("acme".parse().unwrap())
        );
        for unclear in ["*", "", "acme", "/*", "a/device/b/c", "a b/device/c"] {
            assert_eq!(RegistryChange::parse(unclear), RegistryChange::Everything, "{unclear}");
        }
    }
}
