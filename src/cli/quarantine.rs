//! `sluice quarantine`: list, show, discard; `replay` has a file of its own.
//!
//! Of a token it says only whether there was one. What a device wrote never reaches the terminal unescaped.

pub mod replay;

use bytes::Bytes;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::clock;
use crate::command::context::{CommandContext, outage, printed, tell_more};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields, rows};
use crate::command::text::{cell, hex, moment, moment_or_none, printable, printable_or_none};
use crate::config::Config;
use crate::domain::ids::{DeviceId, TenantId};
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::store::reads::quarantine::{self, EventSummary, QuarantineCursor, QuarantineFilter, Record};
use replay::ReplayArgs;

/// Refused messages, kept and explained.
#[derive(Clone, Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List refused messages, the newest first
    #[command(
        after_help = "Examples:\n  sluice quarantine list --tenant acme --since 2h\n  sluice quarantine list --reason TOKEN_INVALID --not-replayed"
    )]
    List {
        /// Which events
        #[command(flatten)]
        which: EventFilterArgs,
        /// Begin before this event: the cursor that a full list ends with
        #[arg(long, value_name = "CURSOR")]
        before: Option<QuarantineCursor>,
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show one refused message with its payload
    #[command(after_help = "Example:\n  sluice quarantine show 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11")]
    Show {
        /// Its identifier, as `list` shows it
        id: Uuid,
    },
    /// Judge refused messages anew and store those that are accepted now
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Delete refused messages for good
    #[command(
        after_help = "Without --yes it only counts.\n\nExamples:\n  sluice quarantine discard 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11 --yes\n  sluice quarantine discard --tenant acme --reason BAD_PAYLOAD --until 7d --yes\n  sluice quarantine discard --all --yes"
    )]
    Discard {
        /// These events
        ids: Vec<Uuid>,
        /// Which events
        #[command(flatten)]
        which: EventFilterArgs,
        /// Every event there is
        #[arg(long)]
        all: bool,
        /// Delete them; without it they are only counted
        #[arg(long)]
        yes: bool,
    },
}

const REPLAY_EXAMPLES: &str = "Each goes the whole road again; its token is verified by the hash that was kept. What is refused again stays.\n\n\
    Examples:\n  sluice quarantine replay --reason UNREGISTERED_DEVICE --tenant acme --dry-run\n  \
    sluice quarantine replay 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11";

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

/// A refused message for programs.
#[derive(Serialize)]
struct EventView<'a> {
    #[serde(flatten)]
    summary: &'a EventSummary,
    event_ts: Option<String>,
    site_id: Option<&'a str>,
    msg_type: Option<&'a str>,
    message_id: Uuid,
    token_present: bool,
    /// When it is UTF-8.
    payload: Option<&'a str>,
    /// When it is not.
    payload_hex: Option<String>,
}

/// Runs the command.
pub async fn run(command: QuarantineCommand, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    match command {
        QuarantineCommand::List { which, before, limit } => {
            list(&operator, &which.filter(&[]), before, limit, output).await
        }
        QuarantineCommand::Show { id } => show(&operator, id, output).await,
        QuarantineCommand::Replay(args) => replay::run(args, config, &operator, output).await,
        QuarantineCommand::Discard { ids, which, all, yes } => {
            discard(&operator, &which.chosen(&ids, all)?, yes, output).await
        }
    }
}

// === impl Which ===

impl EventFilterArgs {
    /// The filter for a command that changes things: that every event is meant must be said, and nothing beside it.
    pub fn chosen(&self, ids: &[Uuid], all: bool) -> Result<QuarantineFilter, Failure> {
        let filter = self.filter(ids);
        if filter.is_everything() == all {
            return Ok(filter);
        }
        Err(Failure::usage(if all {
            "--all means every event: leave out either --all or the other conditions"
        } else {
            "name which events: identifiers, conditions such as --tenant or --reason, or --all"
        }))
    }

    fn filter(&self, ids: &[Uuid]) -> QuarantineFilter {
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

async fn list(
    operator: &CommandContext,
    filter: &QuarantineFilter,
    before: Option<QuarantineCursor>,
    limit: u32,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let page =
        quarantine::list(operator.database.pool(), filter, before, limit).await.map_err(|error| outage(&error))?;
    let headings = ["ID", "QUARANTINED", "REASON", "TOPIC", "DETAIL", "BYTES", "REPLAYED"];
    let done = printed(rows(output, &headings, &page, |event| {
        vec![
            event.id.to_string(),
            moment(event.quarantined_at),
            event.reason.clone(),
            cell(&event.topic),
            cell(&event.detail),
            event.payload_bytes.to_string(),
            moment_or_none(event.replayed_at),
        ]
    }))?;
    tell_more(page.len(), limit, "--before", page.last().map(|event| event.place().to_string()));
    Ok(done)
}

async fn show(operator: &CommandContext, id: Uuid, output: OutputFormat) -> Result<Exit, Failure> {
    let filter = QuarantineFilter { ids: vec![id], ..QuarantineFilter::default() };
    let found = quarantine::fetch(operator.database.pool(), &filter, None, 1).await.map_err(|error| outage(&error))?;
    let Some(record) = found.first() else {
        return Err(Failure::usage(format!(
            "there is no event {id} in quarantine: it was discarded or outlived QUARANTINE_RETENTION_DAYS; \
             `sluice quarantine list` shows those there are"
        )));
    };
    let event = &record.summary;
    let token_present = record.replay.token.is_some();
    let lines = [
        ("Event", id.to_string()),
        ("Reason", event.reason.clone()),
        ("Detail", printable(&event.detail)),
        ("Topic", printable(&event.topic)),
        ("Device", device_of(event)),
        ("Site", printable_or_none(record.site_id.as_deref())),
        ("Type", printable_or_none(record.msg_type.as_deref())),
        ("Time in message", moment_or_none(record.event_ts)),
        ("Received", moment(event.received_at)),
        ("Quarantined", moment(event.quarantined_at)),
        ("Replayed", moment_or_none(event.replayed_at)),
        ("Token", if token_present { "was sent, not kept" } else { "none" }.to_owned()),
        ("Message id", record.replay.message_id.to_string()),
        ("Payload bytes", event.payload_bytes.to_string()),
        ("Payload", payload_line(&record.payload)),
    ];
    printed(fields(output, &shown(record), &lines))
}

async fn discard(
    operator: &CommandContext,
    filter: &QuarantineFilter,
    yes: bool,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let pool = operator.database.pool();
    let told = |error| outage(&error);
    let (name, events) = if yes {
        let discarded = quarantine::discard(pool, &operator.actor, filter).await.map_err(told)?;
        ("Discarded", i64::try_from(discarded).unwrap_or(i64::MAX))
    } else {
        ("Would discard", quarantine::count(pool, filter).await.map_err(told)?)
    };
    if events == 0 && !filter.ids.is_empty() {
        return Err(Failure::usage(
            "none of these events is in quarantine; `sluice quarantine list` shows those there are",
        ));
    }
    if !yes {
        crate::command::table::note!("Nothing was deleted yet: add --yes to delete them for good.");
    }
    printed(fields(output, &json!({ "events": events, "discarded": yes }), &[(name, events.to_string())]))
}

fn shown(record: &Record) -> EventView<'_> {
    let payload = std::str::from_utf8(&record.payload).ok();
    EventView {
        summary: &record.summary,
        event_ts: record.event_ts.map(|time| time.to_rfc3339()),
        site_id: record.site_id.as_deref(),
        msg_type: record.msg_type.as_deref(),
        message_id: record.replay.message_id,
        token_present: record.replay.token.is_some(),
        payload,
        payload_hex: payload.is_none().then(|| hex(&record.payload)),
    }
}

fn device_of(event: &EventSummary) -> String {
    match (&event.tenant_id, &event.device_id) {
        (Some(tenant), Some(device)) => printable(&format!("{tenant}/{device}")),
        _ => "the topic names none".to_owned(),
    }
}

fn payload_line(payload: &Bytes) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => printable(text),
        Err(_) => format!("(not UTF-8, in hex) {}", hex(payload)),
    }
}

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
    // Four digits of days reach beyond any retention, and no product here overflows.
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u32>().ok());
    match number {
        Some(number) if unit > 0 => Ok(clock::now().plus_seconds(-(i64::from(number) * unit))),
        _ => Err("expected RFC 3339 such as 2026-11-21T06:00:00Z, or an age such as 90s, 30m, 2h, 7d"),
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

    #[test]
    fn a_payload_is_shown_as_text_or_in_hex_and_never_raw() {
        assert_eq!(payload_line(&Bytes::from_static(b"{\"a\":1}\x1b[2J")), "{\"a\":1}\\u{1b}[2J");
        assert_eq!(payload_line(&Bytes::from_static(b"\xff\x00")), "(not UTF-8, in hex) ff00");
    }
}
