//! What may no longer be believed because the registry changed.
//!
//! It says what changed, never to what: whoever needs to know asks anew.

use super::ids::{DeviceKey, TenantId};

/// What may no longer be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryChange {
    /// One device.
    Device(DeviceKey),
    /// All devices of a tenant.
    Tenant(TenantId),
    /// Everything: the connection was new, somebody said so, or too much changed at once.
    Everything,
}

// === impl Change ===

impl RegistryChange {
    /// Reads a notification: `<t>/device/<d>`, `<t>/*` or `*`. What cannot be read means everything.
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
        assert_eq!(RegistryChange::parse("acme/*"), RegistryChange::Tenant("acme".parse().unwrap()));
        for unclear in ["*", "", "acme", "/*", "a/device/b/c", "a b/device/c"] {
            assert_eq!(RegistryChange::parse(unclear), RegistryChange::Everything, "{unclear}");
        }
    }
}
