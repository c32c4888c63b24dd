//! `sluice link list` and `sluice link status`: what the lanes report and what waits.
//!
//! It reads Postgres and connects to no other broker. Text of another broker reaches the terminal
//! escaped only.

use std::io::{self, Write};

use super::named;
use crate::clock;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat, rows};
use crate::command::text::{moment, moment_or_none, printable};
use crate::config::Config;
use crate::domain::link::LinkName;
use crate::domain::time::Timestamp;
use crate::link::overview::{self, LaneOverview, LinkOverview};

/// States in which a link carries messages, or leaves that to another replica.
const WELL: [&str; 3] = [overview::UP, "throttled", "standby"];

/// `sluice link list`.
pub async fn list(config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let links = read(config).await?;
    let headings =
        ["LINK", "STATE", "SINCE", "LANES", "SENT/S", "WAITING", "BYTES", "OLDEST", "REFUSED"];
    let done = printed(rows(output, &headings, &links, |link| {
        vec![
            link.link.clone(),
            printable(&link.state),
            moment_or_none(link.since),
            link.lanes.len().to_string(),
            link.sent_per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
            with_gap(link),
            link.waiting_bytes.to_string(),
            moment_or_none(link.oldest),
            link.refused.to_string(),
        ]
    }))?;
    note_unreported(config, &links).await;
    Ok(done)
}

/// `sluice link status`; exits with 1 when a link is not well.
pub async fn show(
    name: Option<&LinkName>,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let links = read(config).await?;
    note_unreported(config, &links).await;
    let shown: Vec<&LinkOverview> =
        links.iter().filter(|link| name.is_none_or(|name| name.as_str() == link.link)).collect();
    if let (Some(name), true) = (name, shown.is_empty()) {
        return Err(Failure::usage(format!(
            "link {name} not found: no daemon of this database has it; `sluice link list` lists all links"
        )));
    }
    match output {
        OutputFormat::Json => table::json(&shown)?,
        OutputFormat::Table => shown.iter().try_for_each(|link| print(link, clock::now()))?,
    }
    let is_well = shown.iter().all(|link| WELL.contains(&link.state.as_str()));
    Ok(if is_well { Exit::Done } else { Exit::Negative })
}

// === private helpers ===

async fn read(config: &Config) -> Result<Vec<LinkOverview>, Failure> {
    let operator = CommandContext::open(config).await?;
    overview::list(&operator.database).await.map_err(|error| outage(&error))
}

/// Links of the file that no daemon has reported yet. A file with faults is the daemon's matter.
async fn note_unreported(config: &Config, links: &[LinkOverview]) {
    if config.links.path.is_none() {
        return;
    }
    let Ok(set) = named::all(config).await else { return };
    for link in &set.links {
        if !links.iter().any(|known| known.link == link.name.as_str()) {
            table::note!(
                "link {} is in the links file, but no daemon of this database has it: `systemctl reload sluice`; if its \
                 LINKS_PATH is new, restart it",
                link.name
            );
        }
    }
}

fn with_gap(link: &LinkOverview) -> String {
    match link.gap_since {
        Some(_) => format!("{} + {} in a gap", link.waiting, link.gap_messages),
        None => link.waiting.to_string(),
    }
}

fn print(link: &LinkOverview, now: Timestamp) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let since = link.since.map(|since| format!(" since {}", moment(since))).unwrap_or_default();
    writeln!(out, "{}  {}{since}", link.link, printable(&link.state))?;
    if let (Some(rate), Some(since)) = (link.sent_per_second, link.sent_since) {
        writeln!(out, "  sent     {rate:.1} messages a second since {}", moment(since))?;
    }
    let oldest = link.oldest.map(|oldest| {
        format!(", the oldest for {:.0} s", now.seconds_since(Timestamp::from(oldest)))
    });
    writeln!(
        out,
        "  waiting  {} messages, {} bytes{}",
        link.waiting,
        link.waiting_bytes,
        oldest.unwrap_or_default()
    )?;
    if let Some(gap) = link.gap_since {
        writeln!(
            out,
            "  gap      {} messages since {} are in telemetry only: the daemon queues them when there is room",
            link.gap_messages,
            moment(gap)
        )?;
    }
    if link.lost > 0 {
        writeln!(out, "  lost     {} messages of earlier gaps", link.lost)?;
    }
    if link.refused > 0 {
        writeln!(
            out,
            "  refused  {} messages: `sluice link refused list --link {}` lists them",
            link.refused, link.link
        )?;
    }
    if link.lanes.is_empty() {
        writeln!(out, "  no lane has reported: the daemon does not run, or starts")?;
    }
    link.lanes.iter().try_for_each(|lane| print_lane(&mut out, lane))
}

fn print_lane(out: &mut impl Write, lane: &LaneOverview) -> io::Result<()> {
    writeln!(
        out,
        "  lane {}   {} since {}; {} published, {} in flight; reported by {} at {}",
        lane.lane,
        printable(&lane.state),
        moment(lane.since),
        lane.published,
        lane.in_flight,
        printable(&lane.replica),
        moment(lane.reported_at)
    )?;
    if let Some(detail) = &lane.detail {
        writeln!(out, "           {}", printable(detail))?;
    }
    if let Some(advice) = &lane.advice {
        writeln!(out, "        -> {}", printable(advice))?;
    }
    Ok(())
}
