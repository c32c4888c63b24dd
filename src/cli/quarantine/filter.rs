//! The arguments that select events in quarantine, and the filter they make.
//!
//! It runs no query.

use clap::Args;
use uuid::Uuid;

use crate::clock;
use crate::command::failure::Failure;
use crate::domain::ids::{DeviceId, TenantId};
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::quarantine::{SelectionError, select};
use crate::store::reads::quarantine::QuarantineFilter;

/// Which events.
#[derive(Clone, Debug, Args)]
pub struct EventFilterArgs {
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Only of this device
    #[arg(long)]
    device: Option<DeviceId>,
    /// Only those refused for this reason
    #[arg(long, value_parser = read_reason)]
    reason: Option<Reason>,
    /// Only those from this moment on: RFC 3339, or an age such as 90s, 30m, 2h, 7d
    #[arg(long, value_name = "WHEN", value_parser = read_moment)]
    since: Option<Timestamp>,
    /// Only those before this moment, written likewise
    #[arg(long, value_name = "WHEN", value_parser = read_moment)]
    until: Option<Timestamp>,
    /// Only those that were replayed
    #[arg(long, conflicts_with = "not_replayed")]
    replayed: bool,
    /// Only those that were not replayed
    #[arg(long)]
    not_replayed: bool,
}

// === impl EventFilterArgs ===

impl EventFilterArgs {
    /// The filter of a command that changes events. Every event needs `--all`, and `--all` excludes
    /// other conditions.
    pub fn chosen(&self, ids: &[Uuid], all: bool) -> Result<QuarantineFilter, Failure> {
        select(self.filter(ids), all).map_err(|error| {
            Failure::usage(match error {
                SelectionError::AllWithConditions => {
                    "--all means every event: leave out either --all or the other conditions"
                }
                SelectionError::Empty => {
                    "name which events: identifiers, conditions such as --tenant or --reason, or --all"
                }
            })
        })
    }

    /// The filter; conditions combine with AND.
    pub fn filter(&self, ids: &[Uuid]) -> QuarantineFilter {
        let replayed = match (self.replayed, self.not_replayed) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        QuarantineFilter {
            ids: ids.to_vec(),
            tenant: self.tenant.as_ref().map(TenantId::to_string),
            device: self.device.as_ref().map(DeviceId::to_string),
            reason: self.reason,
            since: self.since,
            until: self.until,
            replayed,
        }
    }
}

// === private helpers ===

fn read_reason(text: &str) -> Result<Reason, String> {
    Reason::from_label(&text.to_ascii_uppercase())
        .ok_or_else(|| format!("expected one of {}", Reason::ALL.map(Reason::label).join(", ")))
}

fn read_moment(text: &str) -> Result<Timestamp, &'static str> {
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc().into());
    }
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3_600,
        Some(b'd') => 86_400,
        _ => 0,
    };
    // A `u32` of days in seconds fits an `i64`.
    let number =
        text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u32>().ok());
    match number {
        Some(number) if unit > 0 => Ok(clock::now().plus_seconds(-(i64::from(number) * unit))),
        _ => Err(
            "expected RFC 3339 such as 2026-11-21T06:00:00Z, or an age such as 90s, 30m, 2h, 7d",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_or_an_age() {
        let written = read_moment("2026-11-21T07:00:00+01:00").unwrap();
        assert_eq!(written.to_string(), "2026-11-21T06:00:00.000000Z");
        let aged = read_moment("2h").unwrap();
        assert!((clock::now().seconds_since(aged) - 7200.0).abs() < 60.0);
        for wrong in ["", "h", "2", "2x", "-2h", "yesterday", "2\u{e9}"] {
            assert!(read_moment(wrong).is_err(), "{wrong}");
        }
    }
}
