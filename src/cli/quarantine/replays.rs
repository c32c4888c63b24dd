//! `sluice quarantine replays` and `replay --job`: order, list, show, start and stop replay jobs, and
//! follow one.
//!
//! The daemon does the work: a command that ends, or is interrupted, stops no job.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Subcommand;
use tokio::time::sleep;
use uuid::Uuid;

use super::filter::EventFilterArgs;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::PageArgs;
use crate::command::table::{OutputFormat, fields, json, note, rows};
use crate::command::text::{cell, moment, moment_or_none, printable};
use crate::domain::ids::TenantId;
use crate::http::views::replays::{ReplayJobView, ReplayResultView};
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::quarantine::replay_job::ReplayJob;
use crate::store::quarantine::replay_jobs::ReplayJobError;

/// How often a followed job is read.
const INTERVAL: Duration = Duration::from_millis(400);

/// A job that no daemon works on is followed for so long.
const PATIENCE: Duration = Duration::from_mins(1);

/// Work with replay jobs, which the daemon runs in the background.
#[derive(Clone, Debug, Subcommand)]
pub enum ReplaysCommand {
    /// List the jobs, the newest first
    #[command(
        mut_arg("limit", |limit| limit.default_value("20")),
        after_help = "Example:\n  sluice quarantine replays list --tenant acme"
    )]
    List {
        /// Only jobs of this tenant
        #[arg(long)]
        tenant: Option<TenantId>,
        /// Which page
        #[command(flatten)]
        page: PageArgs<QuarantineCursor>,
    },
    /// Show a job with its progress and its results
    #[command(
        after_help = "Example:\n  sluice quarantine replays show 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11 --follow"
    )]
    Show {
        /// The job's identifier, as `list` prints it
        id: Uuid,
        /// Wait for the end of the job, and show its progress
        #[arg(long)]
        follow: bool,
    },
    /// Replay exactly what a job has dry-run, or continue a stopped job
    #[command(
        after_help = "Messages that were quarantined after the dry run began are left out.\n\n\
            Example:\n  sluice quarantine replays start 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11 --follow"
    )]
    Start {
        /// The job's identifier, as `list` prints it
        id: Uuid,
        /// Wait for the end of the job, and show its progress
        #[arg(long)]
        follow: bool,
    },
    /// Stop a running job; `start` continues it
    #[command(
        after_help = "Example:\n  sluice quarantine replays stop 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11"
    )]
    Stop {
        /// The job's identifier, as `list` prints it
        id: Uuid,
    },
}

/// Runs the command.
pub async fn run(
    command: ReplaysCommand,
    operator: &CommandContext,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let quarantine = operator.quarantine();
    match command {
        ReplaysCommand::List { tenant, page } => list(operator, tenant, &page, output).await,
        ReplaysCommand::Show { id, follow } => {
            let job = find(operator, id).await?;
            finish(operator, job, follow, output).await
        }
        ReplaysCommand::Start { id, follow } => {
            let job = quarantine.start_replay(id).await.map_err(refused)?;
            finish(operator, job, follow, output).await
        }
        ReplaysCommand::Stop { id } => {
            let job = quarantine.stop_replay(id).await.map_err(refused)?;
            finish(operator, job, false, output).await
        }
    }
}

/// Orders a dry run and, unless that is all, replays exactly what it has checked; follows both.
pub async fn order(
    which: &EventFilterArgs,
    ids: &[Uuid],
    all: bool,
    is_dry: bool,
    operator: &CommandContext,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let quarantine = operator.quarantine();
    let filter = which.chosen(ids, all)?;
    let job = quarantine.order_replay(&filter, which.search()).await.map_err(refused)?;
    note!("The dry run {} is ordered; a daemon runs it, also if this command ends.", job.id);
    let checked = follow(operator, job).await?;
    if is_dry || checked.status != "DONE" {
        if checked.status == "DONE" {
            note!(
                "To replay exactly these messages: sluice quarantine replays start {}",
                checked.id
            );
        }
        return shown(&checked, output);
    }
    note!("{} of {} messages would be stored.", checked.storable(), checked.done);
    let job = quarantine.start_replay(checked.id).await.map_err(refused)?;
    let done = follow(operator, job).await?;
    shown(&done, output)
}

// === private helpers ===

async fn list(
    operator: &CommandContext,
    tenant: Option<TenantId>,
    args: &PageArgs<QuarantineCursor>,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let tenant = tenant.as_ref().map(TenantId::as_str);
    let found = operator.quarantine().list_replays(tenant, args.cursor(), args.limit).await;
    let jobs = found.map_err(|error| outage(&error))?;
    let views: Vec<ReplayJobView> = jobs.into_iter().map(ReplayJobView::from).collect();
    let headings = ["ID", "ORDERED", "BY", "STAGE", "STATUS", "DONE", "MESSAGES"];
    let done = printed(rows(output, &headings, &views, |job| {
        vec![
            job.id.to_string(),
            moment(job.created_at),
            cell(job.started_by.as_ref().unwrap_or(&job.created_by)),
            job.stage.clone(),
            job.status.clone(),
            progress(job),
            cell(&job.search),
        ]
    }))?;
    let place = |job: &ReplayJobView| QuarantineCursor { at: job.created_at.into(), id: job.id };
    args.note_next(views.len(), views.last().map(place));
    Ok(done)
}

async fn find(operator: &CommandContext, id: Uuid) -> Result<ReplayJob, Failure> {
    let found = operator.quarantine().find_replay(id).await.map_err(|error| outage(&error))?;
    found.ok_or_else(|| refused(ReplayJobError::Unknown(id)))
}

async fn finish(
    operator: &CommandContext,
    job: ReplayJob,
    follows: bool,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let job = if follows { follow(operator, job).await? } else { job.into() };
    shown(&job, output)
}

/// Reads the job until it does not run any more; shows its progress on a terminal.
async fn follow(operator: &CommandContext, job: ReplayJob) -> Result<ReplayJobView, Failure> {
    let mut job = ReplayJobView::from(job);
    let (mut idle, mut line) = (Duration::ZERO, ProgressLine::default());
    while job.status == "RUNNING" {
        line.draw(&job)?;
        sleep(INTERVAL).await;
        let before = job.moved_at;
        job = find(operator, job.id).await?.into();
        idle = if job.is_worked_on || job.moved_at != before {
            Duration::ZERO
        } else {
            idle + INTERVAL
        };
        if idle >= PATIENCE {
            line.end()?;
            return Err(Failure::unavailable(format!(
                "no daemon works on the replay {}: start `sluice run`; the job then continues",
                job.id
            )));
        }
    }
    line.draw(&job)?;
    line.end()?;
    Ok(job)
}

/// One line on a terminal that is written again.
#[derive(Debug, Default)]
struct ProgressLine {
    is_drawn: bool,
}

// === impl ProgressLine ===

impl ProgressLine {
    fn draw(&mut self, job: &ReplayJobView) -> io::Result<()> {
        let mut terminal = io::stderr().lock();
        if !terminal.is_terminal() {
            return Ok(());
        }
        self.is_drawn = true;
        write!(
            terminal,
            "\r\x1b[K{} {} {}",
            name_of(&job.stage),
            progress(job),
            in_words(&job.results)
        )
    }

    fn end(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_drawn) { writeln!(io::stderr()) } else { Ok(()) }
    }
}

fn shown(job: &ReplayJobView, output: OutputFormat) -> Result<Exit, Failure> {
    if output == OutputFormat::Json {
        json(job)?;
    } else {
        fields(output, job, &lines(job))?;
    }
    let is_refused = job.status == "DONE" && job.results.iter().any(|row| row.reason.is_some());
    Ok(if is_refused { Exit::Negative } else { Exit::Done })
}

fn lines(job: &ReplayJobView) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("Replay", job.id.to_string()),
        ("Stage", name_of(&job.stage).to_owned()),
        ("Status", job.status.clone()),
        ("Messages", printable(&job.search)),
        ("Refused before", moment(job.until)),
        ("Dry run by", printable(&job.created_by)),
    ];
    if let Some(by) = &job.started_by {
        lines.push(("Replay by", printable(by)));
    }
    lines.push(("Done", progress(job)));
    lines.push(("Ended", moment_or_none(job.ended_at)));
    if let Some(trouble) = &job.trouble {
        lines.push(("Last step failed", printable(trouble)));
    }
    if let Some(dry_run) = &job.dry_run {
        lines.push(("Dry run", in_words(&dry_run.results)));
    }
    lines.push(("Results", in_words(&job.results)));
    for change in &job.changes {
        let reason = change.reason.as_deref().unwrap_or_default();
        let text = format!(
            "{} {reason}: {} in the dry run, {} in the replay",
            change.result, change.dry_run, change.replay
        );
        lines.push(("Changed", text));
    }
    lines
}

fn progress(job: &ReplayJobView) -> String {
    match job.total {
        Some(total) => format!("{} of {total}", job.done),
        None => format!("{} of ?", job.done),
    }
}

fn in_words(results: &[ReplayResultView]) -> String {
    let words = results.iter().map(|row| match &row.reason {
        Some(reason) => format!("{} {} ({reason})", row.count, row.result),
        None => format!("{} {}", row.count, row.result),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn name_of(stage: &str) -> &'static str {
    if stage == "REPLAY" { "replay" } else { "dry run" }
}

fn refused(error: ReplayJobError) -> Failure {
    match error {
        ReplayJobError::Unknown(id) => Failure::usage(format!(
            "replay {id} not found; `sluice quarantine replays list` lists all jobs"
        )),
        ReplayJobError::Busy(id) => Failure::usage(format!(
            "the replay {id} of these messages is running: wait for its end, or `sluice quarantine replays stop {id}`"
        )),
        ReplayJobError::Done(id) => Failure::usage(format!(
            "the replay {id} is done: order a new one with `sluice quarantine replay --job`"
        )),
        ReplayJobError::NotRunning(id) => Failure::usage(format!("the replay {id} is not running")),
        ReplayJobError::Outage(error) => outage(&error),
    }
}
