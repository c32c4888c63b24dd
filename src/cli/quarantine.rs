//! `sluice quarantine`: list, show and discard; [`replay`] judges again, [`filter`] holds the
//! arguments that select events.
//!
//! It prints whether a token was sent, never the token. Device text reaches the terminal escaped
//! only.

pub mod filter;
pub mod replay;

use bytes::Bytes;
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::command::context::{CommandContext, note_more, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields, rows};
use crate::command::text::{cell, moment, moment_or_none, printable, printable_or_none};
use crate::config::Config;
use crate::domain::hex;
use crate::store::reads::quarantine::{EventSummary, QuarantineCursor, QuarantineFilter, Record};
use filter::EventFilterArgs;
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
    #[command(
        after_help = "Example:\n  sluice quarantine show 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11"
    )]
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
    /// `None` when it is not UTF-8.
    payload: Option<&'a str>,
    /// `None` when it is UTF-8.
    payload_hex: Option<String>,
}

/// Runs the command.
pub async fn run(
    command: QuarantineCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
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

// === private helpers ===

async fn list(
    operator: &CommandContext,
    filter: &QuarantineFilter,
    before: Option<QuarantineCursor>,
    limit: u32,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let page =
        operator.quarantine().list(filter, before, limit).await.map_err(|error| outage(&error))?;
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
    note_more(page.len(), limit, "--before", page.last().map(|event| event.place().to_string()));
    Ok(done)
}

async fn show(operator: &CommandContext, id: Uuid, output: OutputFormat) -> Result<Exit, Failure> {
    let found = operator.quarantine().find(id).await.map_err(|error| outage(&error))?;
    let Some(record) = found else {
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
    printed(fields(output, &shown(&record), &lines))
}

async fn discard(
    operator: &CommandContext,
    filter: &QuarantineFilter,
    yes: bool,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let events =
        operator.quarantine().discard(filter, !yes).await.map_err(|error| outage(&error))?;
    let name = if yes { "Discarded" } else { "Would discard" };
    if events == 0 && !filter.ids.is_empty() {
        return Err(Failure::usage(
            "none of these events is in quarantine; `sluice quarantine list` shows those there are",
        ));
    }
    if !yes {
        crate::command::table::note!("Nothing was deleted yet: add --yes to delete them for good.");
    }
    printed(fields(
        output,
        &json!({ "events": events, "discarded": yes }),
        &[(name, events.to_string())],
    ))
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
        payload_hex: payload.is_none().then(|| hex::encode(&record.payload)),
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
        Err(_) => format!("(not UTF-8, in hex) {}", hex::encode(payload)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_shown_as_text_or_in_hex_and_never_raw() {
        assert_eq!(payload_line(&Bytes::from_static(b"{\"a\":1}\x1b[2J")), "{\"a\":1}\\u{1b}[2J");
        assert_eq!(payload_line(&Bytes::from_static(b"\xff\x00")), "(not UTF-8, in hex) ff00");
    }
}
