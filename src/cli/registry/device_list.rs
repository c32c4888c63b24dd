//! `sluice device list`: the search of the API and of the console on the command line.
//!
//! It changes nothing.

use clap::Args;

use super::device_values::{explain, read_status, yes_or_no};
use crate::clock;
use crate::command::context::{CommandContext, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::PageArgs;
use crate::command::table::{OutputFormat, rows};
use crate::command::text::{cell_or_none, moment, moment_or_none};
use crate::domain::device::DeviceStatus;
use crate::domain::device_search::DeviceSearch;
use crate::domain::ids::TenantId;
use crate::store::registry::device_list::{self as device_rows, DeviceListFilter, DeviceListRow};
use crate::store::registry::device_order::{DevicePlace, DeviceSort, InvalidPlace};

/// The grammar of a search, and examples.
pub const SEARCH_HELP: &str = "A search has terms `key:value`. A word without a key is a name, `*` at its end matches every end. `-` excludes; a \
    repeated key means OR; quotes take spaces. Keys: tenant, site, status, silent (1h), heard (ever, never), certificate (active, \
    revoked, expired, none, ending:30d), refused (24h), token (yes, no), device.\n\n\
    Examples:\n  sluice device list --tenant acme --status ACTIVE\n  \
    sluice device list --search 'silent:1h -device:pump-7 pump-*' --sort last_heard\n  \
    sluice device list --limit 20 --cursor acme/pump-1";

/// Which devices to list.
#[derive(Clone, Debug, Args)]
pub struct DeviceListArgs {
    /// Only rows of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Only rows with this status: ACTIVE, INACTIVE or REVOKED
    #[arg(long, value_parser = read_status)]
    status: Option<DeviceStatus>,
    /// Only rows that this search finds
    #[arg(long, default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    search: DeviceSearch,
    /// The order: `name`, `last_heard` (never and the oldest first) or `-last_heard`
    #[arg(long, value_name = "ORDER", default_value = "name", value_parser = read_sort, allow_hyphen_values = true)]
    sort: DeviceSort,
    /// Which page
    #[command(flatten)]
    page: PageArgs<DevicePlace>,
}

// === impl DeviceListArgs ===

impl DeviceListArgs {
    /// Prints the page.
    pub async fn run(
        self,
        operator: &CommandContext,
        output: OutputFormat,
    ) -> Result<Exit, Failure> {
        let Self { tenant, status, search, sort, page } = self;
        let (after, now) = (page.cursor(), clock::now());
        let filter = DeviceListFilter { tenant, status, search, sort, after, now };
        filter.fits().map_err(|error: InvalidPlace| Failure::usage(error.to_string()))?;
        let found = device_rows::list(operator.database.pool(), &filter, page.limit).await;
        let found = found.map_err(explain)?;
        let headings =
            ["TENANT", "DEVICE", "SITE", "STATUS", "LAST HEARD", "CERTIFICATE", "REFUSED", "TOKEN"];
        let done = printed(rows(output, &headings, &found, cells))?;
        let last = found.last().map(|row| row.place(sort).to_string());
        page.note_next(found.len(), last);
        Ok(done)
    }
}

// === private helpers ===

fn cells(row: &DeviceListRow) -> Vec<String> {
    let device = &row.device;
    vec![
        device.tenant_id.clone(),
        device.device_id.clone(),
        cell_or_none(device.site_id.as_deref()),
        device.status.to_string(),
        moment_or_none(row.last_seen_at),
        certificate(row),
        row.refused_24h.to_string(),
        yes_or_no(device.has_token),
    ]
}

fn certificate(row: &DeviceListRow) -> String {
    match (row.certificate_status, row.certificate_not_after) {
        (Some(status), Some(end)) => format!("{status} {}", moment(end)),
        _ => cell_or_none(None),
    }
}

fn read_sort(text: &str) -> Result<DeviceSort, &'static str> {
    DeviceSort::from_label(text).ok_or("expected name, last_heard or -last_heard")
}
