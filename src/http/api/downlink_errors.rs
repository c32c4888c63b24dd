//! Maps errors of commands and shadows to problems: the kind, the field, and the advice.
//!
//! It decides nothing; the wing `downlink` writes the sentence of an error.

use super::problem::{Problem, ProblemKind};
use crate::domain::ids::DeviceKey;
use crate::downlink::commands::CommandError;
use crate::downlink::document::DocumentError;
use crate::downlink::shadow::ShadowError;

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let what = error.to_string();
        match error {
            CommandError::Outage(outage) => outage.into(),
            CommandError::NoDevice(device) => no_device(&what, &device),
            CommandError::NoTenant(_) => {
                Self::not_found(format!("{what}: GET /api/v1/tenants lists the tenants"))
            }
            CommandError::Unknown { device, .. } => Self::not_found(format!(
                "{what}; GET /api/v1/tenants/{}/devices/{}/commands lists its commands",
                device.tenant(),
                device.device()
            )),
            CommandError::NoBatch { tenant, .. } => Self::not_found(format!(
                "{what}; GET /api/v1/tenants/{tenant}/commands lists its commands"
            )),
            CommandError::NotActive { device, .. } => Self::conflict(format!(
                "{what}: PATCH /api/v1/tenants/{}/devices/{} with status ACTIVE activates it",
                device.tenant(),
                device.device()
            )),
            CommandError::Suspended(tenant) => Self::conflict(format!(
                "{what}: PATCH /api/v1/tenants/{tenant} with status ACTIVE activates it"
            )),
            CommandError::Different(_) => {
                Self::conflict(format!("identifier {what}: send another identifier, or none"))
            }
            CommandError::Final { .. } => Self::conflict(what),
            CommandError::ParamsTooLarge { .. } | CommandError::Params(_) => {
                Self::refused("params", what)
            }
            CommandError::Ttl => Self::refused("ttl_seconds", what),
            CommandError::NothingMatched { .. } => Self::refused("targets", what),
            CommandError::TooMany { .. } => Self::refused(
                "targets",
                format!("{what}: select fewer by site_id, metadata or devices"),
            ),
        }
    }
}

impl From<ShadowError> for Problem {
    fn from(error: ShadowError) -> Self {
        let what = error.to_string();
        match error {
            ShadowError::Outage(outage) => outage.into(),
            ShadowError::NoDevice(device) => no_device(&what, &device),
            ShadowError::Version { .. } => Self::new(
                ProblemKind::OtherVersion,
                format!("{what}: read the shadow again, and change what it has now"),
            ),
            ShadowError::Busy(_) => Self::conflict(format!("{what}: try again")),
            ShadowError::Document(error) => error.into(),
        }
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        let what = format!("the desired document was refused: {error}");
        match error {
            DocumentError::NotJson(_) => Self::new(ProblemKind::BadRequest, what),
            DocumentError::TooLarge { .. } | DocumentError::StoredTooLarge { .. } => {
                Self::new(ProblemKind::TooLarge, what)
            }
            DocumentError::NotAnObject
            | DocumentError::TooDeep
            | DocumentError::Nul
            | DocumentError::NotStorable(_) => Self::new(ProblemKind::Refused, what),
        }
    }
}

// === private helpers ===

fn no_device(what: &str, device: &DeviceKey) -> Problem {
    Problem::not_found(format!(
        "{what}; GET /api/v1/tenants/{}/devices lists the tenant's devices",
        device.tenant()
    ))
}
