//! `sluice crl`: show, publish.
//!
//! The daemon publishes: the command requests a CRL and waits. Without a daemon the command
//! publishes the CRL itself, under the same lock.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::command::text::{NONE, moment_or_none, printable};
use crate::config::Config;
use crate::registry::revocation::broker_reload::Reload;
use crate::registry::revocation::crl::{self, ListError};
use crate::store::certificates::crl_history::{self, IssuerRevocations};
use crate::store::certificates::revocation_ledger::{self, CrlRow, RevocationLedger};
use crate::store::connection::clocks;
use crate::store::connection::database::Database;

/// Interval between two checks whether the daemon has published.
const PERIOD: Duration = Duration::from_millis(200);

/// Show and publish the list of revoked certificates.
#[derive(Clone, Debug, Subcommand)]
pub enum CrlCommand {
    /// Show the last published CRL, its file, and whether the broker enforces it; exit code 1 when
    /// something is wrong
    #[command(after_help = "Example:\n  sluice crl show --output json")]
    Show,
    /// Publish a new CRL now, even if it did not change
    #[command(
        after_help = "With --cert and --key the command signs the list of another authority into --crl, such as that of a cell or of a \
            root; it notifies no broker.\n\n\
            Examples:\n  sluice crl publish\n  sluice crl publish --cert north.crt --key north.key --crl north-crl.pem"
    )]
    Publish(PublishArgs),
}

/// Which list, and how long to wait.
#[derive(Clone, Debug, Args)]
pub struct PublishArgs {
    /// The certificate of another authority, whose list is signed
    #[arg(long, value_name = "FILE", requires_all = ["key", "crl"])]
    cert: Option<PathBuf>,
    /// The key of that authority
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The file for that list
    #[arg(long, value_name = "FILE", requires = "cert")]
    crl: Option<PathBuf>,
    /// How long to wait for the daemon
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
}

/// Runs the command.
pub async fn run(
    command: CrlCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    match command {
        CrlCommand::Show => show(&operator.database, config, output).await,
        CrlCommand::Publish(PublishArgs {
            cert: Some(cert),
            key: Some(key),
            crl: Some(crl),
            ..
        }) => sign_other(&operator.database, config, [cert, key, crl], output).await,
        CrlCommand::Publish(args) => publish(&operator.database, config, args, output).await,
    }
}

// --- private helpers ---

async fn show(database: &Database, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let state =
        revocation_ledger::published(database.pool()).await.map_err(|error| outage(&error))?;
    let file = file_state(database, config, &state).await?;
    // A broker that reads a wrong file enforces nothing, whatever the last probe found.
    let wrong = file.as_ref().and_then(|file| file.as_ref().err());
    let enforced = match (state.enforced, &state.finding) {
        (Some(true), _) if wrong.is_some() => {
            format!("no: the CRL file is invalid: {}", wrong.map_or(NONE, String::as_str))
        }
        (Some(true), _) => "yes".to_owned(),
        (Some(false), finding) => format!("no: {}", finding.as_deref().unwrap_or(NONE)),
        (None, _) => "not checked yet: a daemon checks it at BROKER_PROBE_ADDR".to_owned(),
    };
    let file_text = file.as_ref().map_or_else(
        || "CRL_OUTPUT_PATH is not set".to_owned(),
        |file| match file {
            Ok(number) => format!("good: number {number}"),
            Err(why) => format!("wrong: {why}"),
        },
    );
    let issuers = crl_history::by_issuer(database.pool()).await.map_err(|error| outage(&error))?;
    let of_one = |one: &IssuerRevocations| format!("{} of {}", one.revoked, printable(&one.issuer));
    let revoked: Vec<String> = issuers.iter().map(of_one).collect();
    let lines = [
        ("Issuer", state.issuer.as_deref().map_or_else(|| NONE.to_owned(), printable)),
        ("Number", state.crl_number.to_string()),
        ("Entries", state.entries.to_string()),
        ("Published", moment_or_none(state.published_at)),
        ("Ends", moment_or_none(state.next_update)),
        ("File", file_text.clone()),
        ("Enforced", enforced),
        ("Checked", moment_or_none(state.looked_at)),
        ("Revoked", if revoked.is_empty() { "0".to_owned() } else { revoked.join(", ") }),
    ];
    let value = json!({
        "issuer": state.issuer, "crl_number": state.crl_number, "entries": state.entries, "file": file_text,
        "published_at": state.published_at, "next_update": state.next_update, "enforced": state.enforced.map(|is| is && wrong.is_none()),
        "finding": state.finding, "looked_at": state.looked_at,
        "issuers": issuers,
    });
    fields(output, &value, &lines)?;
    let is_wrong = file.is_some_and(|file| file.is_err()) || state.enforced == Some(false);
    Ok(if is_wrong { Exit::Negative } else { Exit::Done })
}

/// The CRL number in the file, or what is wrong with it; `None` means `CRL_OUTPUT_PATH` is unset.
async fn file_state(
    database: &Database,
    config: &Config,
    state: &CrlRow,
) -> Result<Option<Result<u64, String>>, Failure> {
    let Some(path) = &config.certificates.crl_output_path else { return Ok(None) };
    let last =
        revocation_ledger::last_list(database.pool()).await.map_err(|error| outage(&error))?;
    let clocks =
        clocks::read_once(database.pool(), clock::now).await.map_err(|error| outage(&error))?;
    let authority = crl::authority(&config.certificates, clocks).await.map_err(failed)?;
    Ok(Some(crl::check_file(&authority, path, state.crl_number, last, clocks).await))
}

async fn publish(
    database: &Database,
    config: &Config,
    args: PublishArgs,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let mut ledger = RevocationLedger::open(database).await.map_err(|error| outage(&error))?;
    let (number, by) = if ledger.claim(false).await.map_err(|error| outage(&error))? {
        (
            publish_here(&mut ledger, config).await?,
            "this command; whether the broker enforces it was not checked",
        )
    } else {
        let number = request_and_wait(&mut ledger, Duration::from_secs(args.wait))
            .await
            .map_err(|error| outage(&error))?;
        let late = || {
            Failure::unavailable(format!(
                "the daemon did not publish a CRL within {} s: see its log",
                args.wait
            ))
        };
        (number.ok_or_else(late)?, "the daemon")
    };
    ledger.close().await;
    let lines = [("Number", number.to_string()), ("Published by", by.to_owned())];
    printed(fields(output, &json!({ "crl_number": number, "published_by": by }), &lines))
}

/// Signs the list of another authority.
async fn sign_other(
    database: &Database,
    config: &Config,
    [cert, key, path]: [PathBuf; 3],
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let mut ledger = RevocationLedger::open(database).await.map_err(|error| outage(&error))?;
    let clocks = ledger.clocks(clock::now).await.map_err(|error| outage(&error))?;
    let mut settings = config.certificates.clone();
    (settings.ca_cert_path, settings.ca_key_path) = (Some(cert), Some(key));
    let authority = crl::authority(&settings, clocks).await.map_err(failed)?;
    let hours = settings.crl_validity_hours;
    let done =
        crl::sign_into(&mut ledger, &authority, &path, hours, clocks).await.map_err(failed)?;
    ledger.close().await;
    let issuer = authority.certificate().name();
    let lines = [
        ("Issuer", printable(issuer)),
        ("Number", done.number.to_string()),
        ("Entries", done.entries.to_string()),
        ("Ends", moment_or_none(Some(done.next_update.to_utc()))),
        ("File", path.display().to_string()),
    ];
    let value = json!({
        "issuer": issuer, "crl_number": done.number, "entries": done.entries, "next_update": done.next_update.to_utc(),
        "file": path,
    });
    printed(fields(output, &value, &lines))
}

async fn publish_here(ledger: &mut RevocationLedger, config: &Config) -> Result<i64, Failure> {
    let settings = &config.certificates;
    let clocks = ledger.clocks(clock::now).await.map_err(|error| outage(&error))?;
    let Some(path) = &settings.crl_output_path else {
        return Err(Failure::usage("no file is named for the CRL: set CRL_OUTPUT_PATH"));
    };
    let authority = crl::authority(settings, clocks).await.map_err(failed)?;
    // A wrong file has no usable number.
    let in_file = crl::check_file(&authority, path, 0, None, clocks).await.unwrap_or_default();
    let done = crl::publish(ledger, &authority, settings, in_file, clocks).await.map_err(failed)?;
    Reload::of(settings).notify().await.map_err(|error| Failure::unavailable(error.to_string()))?;
    Ok(i64::try_from(done.number).unwrap_or(i64::MAX))
}

/// Requests a list from the publisher and waits; `None` means `patience` elapsed.
async fn request_and_wait(
    ledger: &mut RevocationLedger,
    patience: Duration,
) -> Result<Option<i64>, crate::domain::ports::Outage> {
    let before = ledger.state().await?.crl_number;
    ledger.request().await?;
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let number = ledger.state().await?.crl_number;
        if number > before {
            return Ok(Some(number));
        }
        sleep(PERIOD).await;
    }
    Ok(None)
}

fn failed(error: ListError) -> Failure {
    match error {
        ListError::Outage(error) => outage(&error),
        ListError::Authority(_) => Failure::new(Exit::Config, error.to_string()),
        ListError::Canary(_) => Failure::new(Exit::Internal, error.to_string()),
        ListError::File { .. } | ListError::Unrepaired(_) | ListError::Stuck(_) => {
            Failure::unavailable(error.to_string())
        }
    }
}
