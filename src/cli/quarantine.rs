//! `sluice quarantine`: list, show and discard; [`replay`] judges again, [`replays`] has the jobs that do
//! so in the background, [`filter`] holds the arguments that select events.
//!
//! It prints whether a token was sent, never the token. Device text reaches the terminal escaped
//! only.

pub(crate) mod filter;
pub(crate) mod replay;
pub(crate) mod replays;

use bytes::Bytes;
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::PageArgs;
use crate::command::table::{OutputFormat, fields, rows};
use crate::command::text::{cell, moment, moment_or_none, printable, printable_or_none};
use crate::config::Config;
use crate::domain::hex;
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::quarantine::filter::QuarantineFilter;
use crate::store::reads::quarantine::{EventSummary, Record};
use filter::EventFilterArgs;
use replay::ReplayArgs;
use replays::ReplaysCommand;

/// Show, replay and discard refused messages.
#[derive(Clone, Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List refused messages, the newest first
    #[command(
        mut_arg("limit", |limit| limit.default_value("50")),
        after_help = "Examples:\n  sluice quarantine list --tenant acme --since 2h\n  \
            sluice quarantine list --reason TOKEN_INVALID --not-replayed"
    )]
    List {
        /// Which events
        #[command(flatten)]
        which: EventFilterArgs,
        /// Which page
        #[command(flatten)]
        page: PageArgs<QuarantineCursor>,
    },
    /// Show one refused message with its payload
    #[command(
        after_help = "Example:\n  sluice quarantine show 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11"
    )]
    Show {
        /// The event's identifier, as `list` prints it
        id: Uuid,
    },
    /// Check refused messages again and store those that are accepted now
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Work with replay jobs, which the daemon runs in the background
    #[command(subcommand, after_help = "Example:\n  sluice quarantine replays list --tenant acme")]
    Replays(ReplaysCommand),
    /// Delete refused messages permanently
    #[command(
        after_help = "Select events by identifiers, by a filter such as --tenant, or with --all. \
            Without --yes the command only counts the events.\n\nExamples:\n  \
            sluice quarantine discard 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11 --yes\n  \
            sluice quarantine discard --tenant acme --reason BAD_PAYLOAD --until 7d --yes\n  \
            sluice quarantine discard --all --yes"
    )]
    Discard {
        /// The identifiers of events
        ids: Vec<Uuid>,
        /// Which events
        #[command(flatten)]
        which: EventFilterArgs,
        /// Select every event
        #[arg(long)]
        all: bool,
        /// Delete the events; without it they are only counted
        #[arg(long)]
        yes: bool,
    },
}

const REPLAY_EXAMPLES: &str = "Select events by identifiers, by a filter such as --tenant, or with --all.\n\
    Replay runs every check again and keeps the message's original timestamp. The token is verified by its stored hash.\n\
    A message that is refused again stays in quarantine. Exit code 1 when one was refused again.\n\
    With --job the daemon does the work: many messages take a while, and this command may end.\n\n\
    Examples:\n  sluice quarantine replay --reason UNREGISTERED_DEVICE --tenant acme --dry-run\n  \
    sluice quarantine replay 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11\n  \
    sluice quarantine replay --reason UNREGISTERED_DEVICE --tenant acme --job";

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
        QuarantineCommand::List { which, page } => {
            list(&operator, &which.filter(&[])?, &page, output).await
        }
        QuarantineCommand::Show { id } => show(&operator, id, output).await,
        QuarantineCommand::Replay(args) => replay::run(args, config, &operator, output).await,
        QuarantineCommand::Replays(command) => replays::run(command, &operator, output).await,
        QuarantineCommand::Discard { ids, which, all, yes } => {
            discard(&operator, &which.chosen(&ids, all)?, yes, output).await
        }
    }
}

// === private helpers ===

async fn list(
    operator: &CommandContext,
    filter: &QuarantineFilter,
    args: &PageArgs<QuarantineCursor>,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let before = args.cursor();
    let found = operator.quarantine().list(filter, before, args.limit).await;
    let page = found.map_err(|error| outage(&error))?;
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
    if page.len() < args.limit as usize {
        let end = operator.quarantine().scan_end(filter, before).await;
        if let Some(end) = end.map_err(|error| outage(&error))? {
            crate::command::table::note!("Not all rows were searched: add --cursor {end}");
        }
    }
    args.note_next(page.len(), page.last().map(EventSummary::place));
    Ok(done)
}

async fn show(operator: &CommandContext, id: Uuid, output: OutputFormat) -> Result<Exit, Failure> {
    let found = operator.quarantine().find(id).await.map_err(|error| outage(&error))?;
    let Some(record) = found else {
        return Err(Failure::usage(format!(
            "event {id} not found in quarantine: it was discarded, or QUARANTINE_RETENTION_DAYS passed; \
             `sluice quarantine list` lists all events"
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
        ("Link", printable_or_none(event.link.as_deref())),
        ("Token", if token_present { "was sent; not stored" } else { "none" }.to_owned()),
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
            "none of these events is in quarantine; `sluice quarantine list` lists all events",
        ));
    }
    if !yes {
        crate::command::table::note!(
            "Nothing was deleted: add --yes to delete the events permanently."
        );
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
        _ => "the topic names no device".to_owned(),
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
