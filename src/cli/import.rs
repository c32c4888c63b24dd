//! `sluice import`: takes over the configuration of other programs.
//!
//! It changes nothing: it prints what becomes of each line, and writes new files into the directory that it gets.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::access::go_auth::lines::Configuration;
use crate::access::go_auth::{OptionFate, Outcome, acl, options};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, rows};
use crate::command::text::printable;
use crate::disk;

/// Take over the configuration of other programs.
#[derive(Clone, Debug, Subcommand)]
pub enum ImportCommand {
    /// Show what each line of a configuration for mosquitto-go-auth becomes, and write the new files
    #[command(
        after_help = "It reads auth_opt_ and plugin_opt_ lines, the files of include_dir, and the ACL files. It never widens access: an \
            option whose meaning cannot be kept is refused, with the reason. No value is printed. With --output-dir it writes \
            policy.toml and mosquitto-sluice.conf there, unless an option is refused; --partial writes them all the same.\n\n\
            Exit codes: 0 everything is carried over or not needed, 1 something is refused, 64 a file cannot be read or \
            written.\n\nExamples:\n  sluice import go-auth /etc/mosquitto/mosquitto.conf\n  \
            sluice import go-auth /etc/mosquitto/mosquitto.conf --output-dir new --partial"
    )]
    GoAuth(GoAuthArgs),
}

/// The configuration.
#[derive(Clone, Debug, Args)]
pub struct GoAuthArgs {
    /// The broker's configuration
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The directory for the new files; it must exist
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Write the new files although something is refused
    #[arg(long, requires = "output_dir")]
    partial: bool,
}

/// The longest file that is read.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

const BROKER_LINES: &str = "# Instead of the lines of mosquitto-go-auth. docs/how-to/plugin.md has all options.\n\
    plugin /usr/lib/x86_64-linux-gnu/sluice_mosquitto.so\nplugin_opt_socket /run/sluice/plugin.sock\n";

/// Runs the command.
pub fn run(command: ImportCommand, output: OutputFormat) -> Result<Exit, Failure> {
    let ImportCommand::GoAuth(args) = command;
    let configuration = read_configuration(&args.file)?;
    let mut outcomes = options::outcomes(&configuration);
    if !configuration.has_plugin && configuration.options.is_empty() {
        return Err(Failure::usage(format!(
            "{} has no line of mosquitto-go-auth: name the file with the lines auth_opt_",
            args.file.display()
        )));
    }
    let mut policy = String::new();
    let paths = configuration.options.iter().filter(|(name, _)| options::is_acl_path(name));
    for (name, path) in paths {
        let acl = acl::import(name, &read(Path::new(path))?);
        let detail = format!("{} rules of policy.toml (ACL_RULES_PATH)", acl.rules);
        outcomes.push(Outcome::new(name.as_str(), OptionFate::Carried, detail));
        outcomes.extend(acl.outcomes);
        policy += &acl.toml;
    }
    print(&outcomes, output)?;
    let is_refused = outcomes.iter().any(|outcome| outcome.fate == OptionFate::Refused);
    if let Some(dir) = &args.output_dir {
        if is_refused && !args.partial {
            crate::command::table::note!(
                "nothing is written, because lines are refused: --partial writes the rest"
            );
        } else {
            write(dir, "policy.toml", &policy)?;
            write(dir, "mosquitto-sluice.conf", BROKER_LINES)?;
        }
    }
    Ok(if is_refused { Exit::Negative } else { Exit::Done })
}

// --- private helpers ---

fn read_configuration(path: &Path) -> Result<Configuration, Failure> {
    let mut configuration = Configuration::default();
    configuration.read(&read(path)?);
    for dir in configuration.include_dirs.clone() {
        let unreadable = |error| Failure::usage(format!("reading {dir} failed: {error}"));
        let entries: Result<Vec<_>, io::Error> =
            std::fs::read_dir(&dir).map_err(unreadable)?.collect();
        let mut paths: Vec<PathBuf> =
            entries.map_err(unreadable)?.into_iter().map(|entry| entry.path()).collect();
        paths.sort();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        for path in paths {
            configuration.read(&read(&path)?);
        }
    }
    Ok(configuration)
}

fn read(path: &Path) -> Result<String, Failure> {
    let text = disk::read_text(path, FILE_MAX_BYTES);
    text.map_err(|error| Failure::usage(format!("reading {} failed: {error}", path.display())))
}

/// Never over a file that is there: it could be the policy in use.
fn write(dir: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = dir.join(name);
    let made =
        std::fs::File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    made.map_err(|error| Failure::usage(format!("writing {} failed: {error}", path.display())))
}

fn print(outcomes: &[Outcome], output: OutputFormat) -> Result<(), Failure> {
    let values: Vec<serde_json::Value> = outcomes
        .iter()
        .map(|it| json!({ "option": it.name, "result": it.fate.label(), "detail": it.detail }))
        .collect();
    rows(output, &["option", "result", "detail"], &values, |value| {
        let text = |key: &str| printable(value[key].as_str().unwrap_or_default());
        ["option", "result", "detail"].map(text).into()
    })?;
    Ok(())
}
