//! `sluice link check`: prints each step of [`crate::link::check`] when it is done.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::named;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::command::text::printable;
use crate::config::Config;
use crate::domain::link::LinkName;
use crate::link::check::report::{CheckReport, CheckStep, StepResult};
use crate::link::check::{self, CheckOptions};

/// What to check.
#[derive(Clone, Debug, Args)]
pub struct LinkCheckArgs {
    /// The link
    name: LinkName,
    /// Also publish a message to this topic of the other broker, and wait for it to come back
    #[arg(long, value_name = "TOPIC")]
    publish: Option<String>,
    /// Compare the key of the token with this certificate, the one that the cloud has
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// If the token is refused, try each form of the audience and name the accepted one
    #[arg(long)]
    try_audiences: bool,
    /// Connect with this client id; without it that of the link with -check
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
}

/// Checks the link; exits with 1 when a step failed.
pub async fn run(
    args: LinkCheckArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let file = named::path(config)?;
    let read = named::read(file.clone()).await?;
    let options = CheckOptions {
        publish: args.publish,
        certificate: args.certificate,
        tries_audiences: args.try_audiences,
        client_id: args.client_id,
    };
    let mut printed = Ok(());
    let mut show = |step: &CheckStep| {
        if output == OutputFormat::Table && printed.is_ok() {
            printed = print(step);
        }
    };
    let report = match read {
        Ok(set) => check::run(&named::find(&set, &args.name)?, &file, options, &mut show).await,
        Err(error) => check::unreadable(&args.name, &error, &mut show),
    };
    printed?;
    match output {
        OutputFormat::Json => table::json(&report)?,
        OutputFormat::Table => writeln!(io::stdout(), "{}", summary(&report))?,
    }
    Ok(if report.ok { Exit::Done } else { Exit::Negative })
}

// === private helpers ===

fn print(step: &CheckStep) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:2}  {:7}  {}", step.step, step.result.label(), step.name)?;
    for line in &step.found {
        writeln!(out, "             {}", printable(line))?;
    }
    for line in &step.advice {
        writeln!(out, "          -> {}", printable(line))?;
    }
    if !step.fields.is_empty() {
        writeln!(out, "          at {}", printable(&step.fields.join(", ")))?;
    }
    Ok(())
}

fn summary(report: &CheckReport) -> String {
    let count = |outcome| report.steps.iter().filter(|step| step.result == outcome).count();
    format!(
        "link {}: {} passed, {} warned, {} failed, {} skipped",
        report.link,
        count(StepResult::Pass),
        count(StepResult::Warn),
        count(StepResult::Fail),
        count(StepResult::Skipped)
    )
}
