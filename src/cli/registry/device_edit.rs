//! `sluice device edit`: the site and the metadata of a device.
//!
//! It changes no status and no token: these have commands of their own.

use clap::Args;
use serde_json::{Map, Value};

use super::device_values::{explain, read_metadata, read_site};
use crate::command::context::CommandContext;
use crate::command::failure::Failure;
use crate::domain::ids::DeviceKey;
use crate::registry::devices as registry;
use crate::store::registry::device_edit::DeviceEdit;

/// What to change.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
pub struct DeviceEditArgs {
    /// The new site; a message that names another site is refused
    #[arg(long, value_parser = read_site)]
    site: Option<String>,
    /// Removes the site: messages may name any
    #[arg(long, conflicts_with = "site")]
    no_site: bool,
    /// A merge patch of your own data about the device: a JSON object
    #[arg(long, value_name = "JSON", value_parser = read_metadata)]
    metadata: Option<Map<String, Value>>,
}

// === impl DeviceEditArgs ===

impl DeviceEditArgs {
    /// Makes the changes.
    pub async fn run(self, operator: &CommandContext, key: &DeviceKey) -> Result<(), Failure> {
        let site = if self.no_site { Some(None) } else { self.site.map(Some) };
        let edit = DeviceEdit { status: None, site, metadata: self.metadata };
        registry::edit(operator.action_context(), key, &edit, None).await.map_err(explain)
    }
}
