//! `sluice doctor`: runs the checks of [`crate::doctor`], and prints each finding with advice.
//!
//! It changes nothing and checks nothing itself; what the daemon reports of itself comes over HTTP.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde::Deserialize;

use crate::command::context;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::command::text::printable;
use crate::config::Config;
use crate::doctor::examination::{Patient, examine, judge_readiness};
use crate::doctor::report::{DoctorReport, DoctorStep};
use crate::domain::finding::Finding;
use crate::http::{inspect_est_files, ops_client};

/// Upper bound for closing the connections to Postgres.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// The body of `/readyz`.
#[derive(Deserialize)]
struct ReadinessReply {
    ready: bool,
    #[serde(default)]
    troubles: BTreeMap<String, String>,
    #[serde(default)]
    warnings: BTreeMap<String, String>,
    #[serde(default)]
    notes: BTreeMap<String, String>,
}

/// Runs every check; ends with 1 when one found an error.
pub async fn run(config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let database = context::open_database(config)?;
    let shows_progress = std::io::stderr().is_terminal();
    let patient = Patient {
        config,
        database: &database,
        daemon: check_daemon(config),
        est_listener: inspect_est_files(config),
    };
    let report = examine(patient, &|step| {
        if let DoctorStep::Begins(check) = step
            && shows_progress
        {
            // A write error is ignored.
            let _ = write!(std::io::stderr(), "\r\x1b[Kchecking: {check} ..");
        }
    })
    .await;
    if shows_progress {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    // A connection that hangs does not delay the report.
    let _closed_or_not = tokio::time::timeout(CLOSE_PATIENCE, database.close()).await;
    print(&report, output)?;
    Ok(if report.ok { Exit::Done } else { Exit::Negative })
}

// --- private helpers ---

async fn check_daemon(config: &Config) -> Vec<Finding> {
    let bind = config.http.ops_bind;
    let answer = ops_client::get(bind, "/readyz").await;
    let body = match answer {
        Ok((200 | 503, body)) => body,
        Ok((status, _)) => {
            let what = format!(
                "another program listens at OPS_BIND={bind}: it answers /readyz with HTTP status {status}"
            );
            return vec![Finding::error(what, "set OPS_BIND to a free address")];
        }
        Err(error) => {
            let what = format!("no daemon answers at OPS_BIND={bind} ({error})");
            let advice = "start it with `sluice run`, or set OPS_BIND here to the daemon's value";
            return vec![Finding::warning(what, advice)];
        }
    };
    let readiness = serde_json::from_str::<ReadinessReply>(&body).ok();
    let readiness = readiness.filter(|reply| reply.ready == reply.troubles.is_empty());
    let Some(readiness) = readiness else {
        let what = format!("another program listens at OPS_BIND={bind}: its answer cannot be read");
        return vec![Finding::error(what, "set OPS_BIND to a free address")];
    };
    let name = format!("the daemon at {bind}");
    let ReadinessReply { troubles, warnings, notes, .. } = &readiness;
    judge_readiness(&name, troubles, warnings, notes)
}

fn print(report: &DoctorReport, output: OutputFormat) -> std::io::Result<()> {
    if output == OutputFormat::Json {
        return table::json(report);
    }
    table::rows(output, &["check", "level", "finding", "what to do"], &report.findings, |row| {
        let advice = row.advice.as_deref().unwrap_or_default();
        vec![row.check.to_owned(), row.level.to_owned(), printable(&row.finding), printable(advice)]
    })?;
    writeln!(std::io::stdout(), "{} error(s), {} warning(s)", report.errors, report.warnings)
}
