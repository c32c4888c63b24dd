//! `sluice link check-file`: all that can be known of a links file without a connection.
//!
//! It needs no database, and no daemon.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::named;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::command::text::printable;
use crate::config::Config;
use crate::disk;
use crate::link::file;

/// Which file.
#[derive(Clone, Debug, Args)]
pub struct CheckFileArgs {
    /// The links file, instead of `LINKS_PATH`
    #[arg(value_name = "FILE")]
    path: Option<PathBuf>,
}

#[derive(Serialize)]
struct CheckedFile {
    ok: bool,
    links: Vec<String>,
    warnings: Vec<String>,
}

/// Runs the command.
pub async fn run(
    args: CheckFileArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let path = args.path.map_or_else(|| named::path(config), Ok)?;
    let own = path.clone();
    let links = disk::run(&path, move || file::check(&own)).await;
    let links = links.map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let links = links.map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let report = CheckedFile {
        ok: true,
        links: links.set.links.iter().map(|link| link.name.to_string()).collect(),
        warnings: links.warnings.iter().map(ToString::to_string).collect(),
    };
    if output == OutputFormat::Json {
        table::json(&report)?;
        return Ok(Exit::Done);
    }
    let mut printed: Vec<String> =
        report.warnings.iter().map(|warning| format!("warning: {}", printable(warning))).collect();
    printed.push(match report.links.as_slice() {
        [] => "The links file is valid, and has no link.".to_owned(),
        names => format!("The links file is valid: {}.", names.join(", ")),
    });
    writeln!(io::stdout(), "{}", printed.join("\n"))?;
    Ok(Exit::Done)
}
