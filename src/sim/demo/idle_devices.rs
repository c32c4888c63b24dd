//! Devices of the demo that publish nothing: something to find for a person at the console. Some have
//! published before, and the certificates of some expire soon.
//!
//! They are added as an operator adds devices, so that the audit log names the user. Nothing depends
//! on them: they can be edited, revoked and removed while the demo runs.

use chrono::TimeDelta;
use serde_json::Map;

use crate::command::context::outage;
use crate::command::failure::{Exit, Failure};
use crate::config::Config;
use crate::domain::device::DeviceStatus;
use crate::domain::ids::DeviceKey;
use crate::pki::request::profile::Lifetime;
use crate::registry::ActionContext;
use crate::registry::devices::{self, DeviceChangeError, DeviceOrder, TokenChoice};
use crate::sim::fleet::certificates::CertificateFolder;
use crate::sim::fleet::demo_fleet::TENANT;
use crate::store::registry::bulk_enroll;
use crate::store::registry::devices::DeviceError;

/// A device that publishes nothing.
struct IdleDevice {
    name: &'static str,
    site: &'static str,
    status: DeviceStatus,
    /// The lifetime of its certificate; `None` means it has none.
    certificate: Option<Lifetime>,
    /// Minutes since its last message; `None` means it never sent one.
    silent_minutes: Option<i64>,
}

const IDLE_DEVICES: [IdleDevice; 5] = [
    IdleDevice {
        name: "pump-1",
        site: "north",
        status: DeviceStatus::Active,
        certificate: Some(Lifetime::Usual),
        silent_minutes: Some(26 * 60),
    },
    IdleDevice {
        name: "pump-2",
        site: "south",
        status: DeviceStatus::Active,
        certificate: Some(Lifetime::Days(14)),
        silent_minutes: Some(3 * 60),
    },
    IdleDevice {
        name: "pump-3",
        site: "harbour",
        status: DeviceStatus::Active,
        certificate: Some(Lifetime::Days(25)),
        silent_minutes: Some(70),
    },
    IdleDevice {
        name: "pump-4",
        site: "airport",
        status: DeviceStatus::Active,
        certificate: Some(Lifetime::Days(45)),
        silent_minutes: None,
    },
    IdleDevice {
        name: "pump-5",
        site: "north",
        status: DeviceStatus::Inactive,
        certificate: None,
        silent_minutes: None,
    },
];

/// Adds those that the registry lacks, and gives them certificates.
pub async fn add(
    action: ActionContext<'_>,
    config: &Config,
    folder: &mut CertificateFolder,
) -> Result<(), Failure> {
    for device in IDLE_DEVICES {
        let key = DeviceKey::new(TENANT, device.name)
            .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        let order = DeviceOrder {
            key: key.clone(),
            site: Some(device.site.to_owned()),
            status: device.status,
            metadata: Map::new(),
            token: TokenChoice::None,
        };
        match devices::add(action, config, order).await {
            Ok(_) => {}
            // A person may have changed it since an earlier run: it stays as it is.
            Err(DeviceChangeError::Store(DeviceError::Exists(_))) => continue,
            Err(DeviceChangeError::Store(DeviceError::Outage(trouble))) => {
                return Err(outage(&trouble));
            }
            Err(error) => return Err(Failure::new(Exit::Internal, error.to_string())),
        }
        if let Some(lifetime) = device.certificate {
            folder.ensure_for(&key, lifetime, action).await?;
        }
        if let Some(minutes) = device.silent_minutes {
            let at = action.now.to_utc() - TimeDelta::minutes(minutes);
            let setting = bulk_enroll::set_last_message(action.database.pool(), &key, at);
            setting.await.map_err(|error| outage(&error))?;
        }
    }
    Ok(())
}
