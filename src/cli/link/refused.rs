//! `sluice link refused`: list, show, retry and discard the messages that links did not accept.
//!
//! A retried message waits in the outbox again, behind what waits there. Text of devices and of other
//! brokers reaches the terminal escaped only.

use clap::Subcommand;
use serde_json::json;

use super::refused_filter::RefusedFilterArgs;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::PageArgs;
use crate::command::table::{OutputFormat, fields, note, rows};
use crate::command::text::{cell, moment, printable};
use crate::config::Config;
use crate::domain::hex;
use crate::domain::link::LinkName;
use crate::http::views::dead_letters::{DeadLetterSummaryView, DeadLetterView};
use crate::store::links::refused::{
    DeadLetter, RefusedFilter, RefusedPlace, discard_refused, list_refused, retry_refused,
};
use crate::store::links::refused_detail::{self, DeadLetterDetail};

/// Show, retry and discard refused messages.
#[derive(Clone, Debug, Subcommand)]
pub enum RefusedCommand {
    /// List the messages that links did not accept, the newest first
    #[command(
        mut_arg("limit", |limit| limit.default_value("50")),
        after_help = "Examples:\n  sluice link refused list --link azure --since 2h\n  \
            sluice link refused list --reason NOT_AUTHORIZED"
    )]
    List {
        /// Which messages
        #[command(flatten)]
        which: RefusedFilterArgs,
        /// Which page
        #[command(flatten)]
        page: PageArgs<RefusedPlace>,
    },
    /// Show one refused message with its payload
    #[command(after_help = "Example:\n  sluice link refused show azure 4711")]
    Show {
        /// The link
        name: LinkName,
        /// The message's identifier, as `list` prints it
        id: i64,
    },
    /// Queue refused messages again, after the cause was corrected
    #[command(
        after_help = "Select messages by --link and identifiers, by conditions such as --link, or with --all. \
            Without --yes the command only counts the messages.\n\nExamples:\n  \
            sluice link refused retry --link azure --reason NOT_AUTHORIZED --yes\n  \
            sluice link refused retry --link azure 4711 --yes"
    )]
    Retry {
        /// The identifiers of messages
        ids: Vec<i64>,
        /// Which messages
        #[command(flatten)]
        which: RefusedFilterArgs,
        /// Select every message
        #[arg(long)]
        all: bool,
        /// Queue the messages; without it they are only counted
        #[arg(long)]
        yes: bool,
    },
    /// Delete refused messages permanently
    #[command(
        after_help = "Select messages by --link and identifiers, by conditions such as --link, or with --all. The telemetry rows \
            of the messages stay. Without --yes the command only counts the messages.\n\nExamples:\n  \
            sluice link refused discard --link azure --until 7d --yes\n  \
            sluice link refused discard --all --yes"
    )]
    Discard {
        /// The identifiers of messages
        ids: Vec<i64>,
        /// Which messages
        #[command(flatten)]
        which: RefusedFilterArgs,
        /// Select every message
        #[arg(long)]
        all: bool,
        /// Delete the messages; without it they are only counted
        #[arg(long)]
        yes: bool,
    },
}

/// What happens to the selected messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Retried,
    Discarded,
}

/// Runs the command.
pub async fn run(
    command: RefusedCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    match command {
        RefusedCommand::List { which, page } => {
            list(&operator, &which.filter(&[])?, &page, output).await
        }
        RefusedCommand::Show { name, id } => show(&operator, &name, id, output).await,
        RefusedCommand::Retry { ids, which, all, yes } => {
            let filter = which.chosen(&ids, all)?;
            change(&operator, &filter, Fate::Retried, yes, output).await
        }
        RefusedCommand::Discard { ids, which, all, yes } => {
            let filter = which.chosen(&ids, all)?;
            change(&operator, &filter, Fate::Discarded, yes, output).await
        }
    }
}

// === private helpers ===

async fn list(
    operator: &CommandContext,
    filter: &RefusedFilter,
    args: &PageArgs<RefusedPlace>,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let pool = operator.database.pool();
    let found = list_refused(pool, filter, args.cursor().as_ref(), args.limit).await;
    let found = found.map_err(|error| outage(&error))?;
    let place = found.last().map(DeadLetter::place);
    let page: Vec<DeadLetterSummaryView> = found.into_iter().map(Into::into).collect();
    let headings = ["LINK", "ID", "REFUSED", "REASON", "DEVICE", "TOPIC", "DETAIL"];
    let done = printed(rows(output, &headings, &page, |row| {
        vec![
            row.link.clone(),
            row.id.to_string(),
            moment(row.refused_at),
            row.reason.clone(),
            cell(&format!("{}/{}", row.tenant_id, row.device_id)),
            cell(&row.topic),
            cell(&row.detail),
        ]
    }))?;
    args.note_next(page.len(), place);
    Ok(done)
}

async fn show(
    operator: &CommandContext,
    link: &LinkName,
    id: i64,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let found = refused_detail::find(operator.database.pool(), link, id).await;
    let Some(found) = found.map_err(|error| outage(&error))? else {
        return Err(Failure::usage(format!(
            "message {id} of link {link} not found: it was retried or discarded; `sluice link refused list --link {link}` \
             lists all"
        )));
    };
    let row = &found.summary;
    let code = row.code.map_or_else(|| "none: not sent".to_owned(), |code| format!("0x{code:02X}"));
    let lines = [
        ("Link", row.link.clone()),
        ("Message", row.id.to_string()),
        ("Reason", row.reason.clone()),
        ("Code", code),
        ("Detail", printable(&row.detail)),
        ("Topic", printable(&row.topic)),
        ("Device", printable(&format!("{}/{}", row.tenant_id, row.device_id))),
        ("Type", printable(&row.msg_type)),
        ("Time", moment(row.time)),
        ("Received", moment(row.received_at)),
        ("Refused", moment(row.refused_at)),
        ("Message id", row.message_id.to_string()),
        ("Payload", payload_line(&found)),
    ];
    printed(fields(output, &DeadLetterView::from(found), &lines))
}

async fn change(
    operator: &CommandContext,
    filter: &RefusedFilter,
    fate: Fate,
    yes: bool,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let (pool, actor) = (operator.database.pool(), &operator.actor);
    let changed = match (yes, fate) {
        (false, _) => refused_detail::count(pool, filter).await,
        (true, Fate::Retried) => retry_refused(pool, actor, filter, u32::MAX).await,
        (true, Fate::Discarded) => discard_refused(pool, actor, filter, u32::MAX).await,
    };
    let messages = changed.map_err(|error| outage(&error))?;
    if messages == 0 && !filter.ids.is_empty() {
        return Err(Failure::usage(
            "none of these messages is refused; `sluice link refused list` lists all",
        ));
    }
    if !yes {
        note!("Nothing was changed: add --yes.");
    }
    let (name, key) = match (fate, yes) {
        (Fate::Retried, true) => ("Queued again", "retried"),
        (Fate::Retried, false) => ("Would queue again", "retried"),
        (Fate::Discarded, true) => ("Discarded", "discarded"),
        (Fate::Discarded, false) => ("Would discard", "discarded"),
    };
    let value = json!({ "messages": messages, key: yes });
    printed(fields(output, &value, &[(name, messages.to_string())]))
}

fn payload_line(message: &DeadLetterDetail) -> String {
    match std::str::from_utf8(&message.payload) {
        Ok(text) => printable(text),
        Err(_) => format!("(not UTF-8, in hex) {}", hex::encode(&message.payload)),
    }
}
