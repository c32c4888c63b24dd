//! Maps errors of commands and shadows to failures: what happened, what to do, and the exit code.
//!
//! It decides nothing; the wing `downlink` writes the sentence of an error.

use crate::command::context::outage;
use crate::command::failure::Failure;
use crate::domain::ids::DeviceKey;
use crate::downlink::commands::CommandError;
use crate::downlink::shadow::ShadowError;

/// A command was not queued, found or cancelled.
pub(super) fn of_command(error: CommandError) -> Failure {
    let what = error.to_string();
    let advice = match error {
        CommandError::Outage(trouble) => return outage(&trouble),
        CommandError::Final { .. }
        | CommandError::ParamsTooLarge { .. }
        | CommandError::Params(_)
        | CommandError::Ttl => return Failure::usage(what),
        CommandError::NoDevice(device) => find_device(&device),
        CommandError::NoTenant(_) => "`sluice tenant list` lists all tenants".to_owned(),
        CommandError::NotActive { device, .. } => format!(
            "`sluice device set-status {} {} ACTIVE` activates it",
            device.tenant(),
            device.device()
        ),
        CommandError::Suspended(tenant) => {
            format!("`sluice tenant set-status {tenant} ACTIVE` activates it")
        }
        CommandError::Different(_) => "leave --id out, or choose another identifier".to_owned(),
        CommandError::Unknown { device, .. } => {
            format!("`sluice command list --device {device}` lists its commands")
        }
        CommandError::NoBatch { tenant, .. } => {
            format!("`sluice command list --tenant {tenant}` lists its commands")
        }
        CommandError::NothingMatched { tenant, .. } => {
            format!("`sluice device list --tenant {tenant}` lists its devices")
        }
        CommandError::TooMany { .. } => "select fewer with --site or --metadata".to_owned(),
    };
    Failure::usage(format!("{what}: {advice}"))
}

/// A document was not changed or found.
pub(super) fn of_shadow(error: ShadowError) -> Failure {
    let what = error.to_string();
    match error {
        ShadowError::Outage(trouble) => outage(&trouble),
        ShadowError::NoDevice(device) => {
            Failure::usage(format!("{what}: {}", find_device(&device)))
        }
        ShadowError::Version { device, .. } => Failure::usage(format!(
            "{what}: `sluice shadow show {} {}` shows it",
            device.tenant(),
            device.device()
        )),
        ShadowError::Busy(_) => Failure::unavailable(format!("{what}: try again")),
        ShadowError::Document(_) => Failure::usage(what),
    }
}

// === private helpers ===

fn find_device(device: &DeviceKey) -> String {
    format!("`sluice device list --tenant {}` lists its devices", device.tenant())
}
