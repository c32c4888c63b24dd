//! The arguments that select dead letters, and the filter they make.
//!
//! It runs no query.

use clap::Args;

use crate::clock;
use crate::command::failure::Failure;
use crate::command::list_args::{DeviceFilterArgs, RangeArgs};
use crate::domain::ids::{DeviceId, TenantId};
use crate::domain::link::LinkName;
use crate::domain::outbox::DeadLetterCause;
use crate::store::links::refused::RefusedFilter;

/// Which dead letters to select.
#[derive(Clone, Debug, Args)]
pub struct RefusedFilterArgs {
    /// Only messages of this link
    #[arg(long)]
    link: Option<LinkName>,
    #[command(flatten)]
    owner: DeviceFilterArgs,
    /// Only messages that were refused for this reason, such as `NOT_AUTHORIZED`
    #[arg(long, value_parser = read_cause)]
    reason: Option<DeadLetterCause>,
    #[command(flatten)]
    range: RangeArgs,
}

// === impl RefusedFilterArgs ===

impl RefusedFilterArgs {
    /// The filter; conditions combine with AND.
    pub fn filter(&self, ids: &[i64]) -> Result<RefusedFilter, Failure> {
        let (tenant, device) = self.owner.names()?;
        let now = clock::now();
        Ok(RefusedFilter {
            ids: ids.to_vec(),
            link: self.link.clone(),
            tenant: tenant.as_ref().map(TenantId::to_string),
            device: device.as_ref().map(DeviceId::to_string),
            reason: self.reason,
            since: self.range.since(now),
            until: self.range.until(now),
        })
    }

    /// The filter of a command that changes dead letters. All of them need `--all`, which excludes
    /// conditions, and identifiers need their link.
    pub fn chosen(&self, ids: &[i64], all: bool) -> Result<RefusedFilter, Failure> {
        if !ids.is_empty() && self.link.is_none() {
            return Err(Failure::usage("name the link of these messages with --link"));
        }
        let filter = self.filter(ids)?;
        match (filter.is_everything(), all) {
            (true, false) => Err(Failure::usage(
                "select messages: by --link and identifiers, by conditions such as --link or --reason, or with --all",
            )),
            (false, true) => Err(Failure::usage(
                "--all selects every message: remove --all or the other conditions",
            )),
            _ => Ok(filter),
        }
    }
}

// === private helpers ===

fn read_cause(text: &str) -> Result<DeadLetterCause, String> {
    DeadLetterCause::of_label(&text.to_ascii_uppercase()).ok_or_else(|| {
        let all = DeadLetterCause::ALL.map(DeadLetterCause::label);
        format!("expected one of {}", all.join(", "))
    })
}
