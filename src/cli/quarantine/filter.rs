//! The arguments that select events in quarantine, and the filter they make.
//!
//! It runs no query.

use clap::Args;
use uuid::Uuid;

use crate::clock;
use crate::command::failure::Failure;
use crate::command::list_args::{DeviceFilterArgs, RangeArgs};
use crate::domain::ids::{DeviceId, TenantId};
use crate::domain::link::LinkName;
use crate::domain::refusal::Reason;
use crate::quarantine::search::{narrowed, read_search};
use crate::quarantine::{SelectionError, select};
use crate::store::quarantine::filter::QuarantineFilter;

/// Which events to select.
#[derive(Clone, Debug, Args)]
pub struct EventFilterArgs {
    #[command(flatten)]
    owner: DeviceFilterArgs,
    /// Only rows with this reason of refusal
    #[arg(long, value_parser = read_reason)]
    reason: Option<Reason>,
    /// Only messages that came over this link
    #[arg(long, value_name = "NAME")]
    link: Option<LinkName>,
    #[command(flatten)]
    range: RangeArgs,
    /// Only rows that were replayed
    #[arg(long, conflicts_with = "not_replayed")]
    replayed: bool,
    /// Only rows that were not replayed
    #[arg(long)]
    not_replayed: bool,
    /// Only rows that a search selects, such as `tenant:acme topic:tenant/acme/* -pump-7`
    #[arg(long, value_name = "SEARCH")]
    search: Option<String>,
}

// === impl EventFilterArgs ===

impl EventFilterArgs {
    /// The filter of a command that changes events. Every event needs `--all`, and `--all` excludes
    /// other conditions.
    pub fn chosen(&self, ids: &[Uuid], all: bool) -> Result<QuarantineFilter, Failure> {
        select(self.filter(ids)?, all).map_err(|error| {
            Failure::usage(match error {
                SelectionError::AllWithConditions => {
                    "--all selects every event: remove --all or the other conditions"
                }
                SelectionError::Empty => {
                    "select events: by identifiers, by conditions such as --tenant or --reason, or with --all"
                }
            })
        })
    }

    /// The filter; conditions combine with AND.
    pub fn filter(&self, ids: &[Uuid]) -> Result<QuarantineFilter, Failure> {
        let replayed = match (self.replayed, self.not_replayed) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        let (tenant, device) = self.owner.names()?;
        let now = clock::now();
        let filter = QuarantineFilter {
            ids: ids.to_vec(),
            tenant: tenant.as_ref().map(TenantId::to_string),
            device: device.as_ref().map(DeviceId::to_string),
            reason: self.reason,
            link: self.link.clone(),
            since: self.range.since(now),
            until: self.range.until(now),
            replayed,
            conditions: Vec::new(),
        };
        let Some(search) = &self.search else { return Ok(filter) };
        let (by, _) = read_search(search, now)
            .map_err(|error| Failure::usage(format!("--search: {error}")))?;
        Ok(narrowed(filter, by))
    }

    /// The search as it was written.
    pub fn search(&self) -> &str {
        self.search.as_deref().unwrap_or_default()
    }
}

// === private helpers ===

fn read_reason(text: &str) -> Result<Reason, String> {
    Reason::from_label(&text.to_ascii_uppercase())
        .ok_or_else(|| format!("expected one of {}", Reason::ALL.map(Reason::label).join(", ")))
}
