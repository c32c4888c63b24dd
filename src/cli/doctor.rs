//! `sluice doctor`: checks settings, daemon, broker and Postgres in turn, and prints each finding
//! with advice.
//!
//! It changes nothing, and a check that fails stops no other. The checks live beside what they
//! check ([`access_rules`], [`est_listener`], [`isolation`], [`links`] and [`links_file`] are
//! adapters); this file runs them and prints the report.

pub(crate) mod access_rules;
pub(crate) mod est_listener;
pub(crate) mod isolation;
pub(crate) mod links;
pub(crate) mod links_file;

use std::fmt::Display;
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::policy::file;
use crate::access::policy::lint::{self, LintSuspicion};
use crate::broker::exchange::needed_writes;
use crate::broker::tools::inspect::Inspector;
use crate::clock;
use crate::command::context;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::command::text::printable;
use crate::config::Config;
use crate::config::sections::ingest::BATCHES_IN_FLIGHT;
use crate::domain::finding::{Finding, Severity};
use crate::domain::ports::Outage;
use crate::http::ops_client;
use crate::pki::authority::end::AuthorityEnd;
use crate::store::connection::clocks;
use crate::store::connection::database::Database;
use crate::store::schema::retention::{self, Retention};
use crate::store::schema::{inspect_schema, inspect_server};

/// Upper bound for one check. Connecting to the broker or to Postgres alone may take ten seconds.
const CHECK_PATIENCE: Duration = Duration::from_secs(30);

/// Upper bound for closing the connections to Postgres.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// The checks that need a connection to the broker.
const BROKER_CHECKS: [&str; 5] = [
    "broker subscription",
    "broker delivery",
    "broker window",
    "broker publishing",
    "broker statistics",
];

/// The checks that need a connection to Postgres.
const POSTGRES_CHECKS: [&str; 10] = [
    "Postgres safety",
    "Postgres connections",
    "Postgres privileges",
    "Postgres notices",
    "Postgres clock",
    "schema",
    "partitions",
    "retention",
    "readers",
    "links",
];

/// The findings of all checks.
#[derive(Debug, Default, Serialize)]
struct DoctorReport {
    ok: bool,
    errors: usize,
    warnings: usize,
    findings: Vec<CheckRow>,
    #[serde(skip)]
    shows_progress: bool,
}

#[derive(Debug, Serialize)]
struct CheckRow {
    check: &'static str,
    level: &'static str,
    finding: String,
    advice: Option<String>,
}

/// The body of `/readyz`.
#[derive(Deserialize)]
struct ReadinessReply {
    ready: bool,
    #[serde(default)]
    troubles: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    warnings: std::collections::BTreeMap<String, String>,
}

/// Runs every check; ends with 1 when one found an error.
pub async fn run(config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let database = context::open_database(config)?;
    let mut report =
        DoctorReport { shows_progress: std::io::stderr().is_terminal(), ..DoctorReport::default() };
    report.add("settings", judge_settings(config.warnings()));
    report.add("policy", judge_policy(config.access.acl_rules_path.as_deref()));
    report.add("links file", links_file::judge(config.links.path.as_deref()));
    report.add("authority", vec![judge_authority(config.certificates.ca_cert_path.as_deref())]);
    report.add("EST listener", vec![est_listener::judge(config)]);
    report.check("daemon", async { Ok::<_, Failure>(check_daemon(config).await) }).await;
    check_broker(&mut report, config).await;
    report.check("broker access rules", access_rules::check(config, &database)).await;
    report.check("broker isolation", isolation::findings(config)).await;
    check_postgres(&mut report, config, &database).await;
    report.finish();
    // A connection that hangs does not delay the report.
    let _closed_or_not = tokio::time::timeout(CLOSE_PATIENCE, database.close()).await;
    report.print(output)?;
    Ok(if report.ok { Exit::Done } else { Exit::Negative })
}

async fn check_broker(report: &mut DoctorReport, config: &Config) {
    let needed_window = config.ingest.batch_size * BATCHES_IN_FLIGHT as usize;
    let broker = Inspector::new(&config.broker, needed_window);
    if report.check("broker", broker.connection()).await {
        let [subscription, delivery, window, publishing, sys_values] = BROKER_CHECKS;
        report.check(subscription, broker.subscription()).await;
        report.check(delivery, broker.delivery()).await;
        report.check(window, broker.window()).await;
        let writes = needed_writes::of(&config.mqtt_api);
        report.check(publishing, broker.writes(&writes)).await;
        report.check(sys_values, broker.sys_values()).await;
    } else {
        report.skip(&BROKER_CHECKS, "the broker");
    }
    report.add("broker clock", vec![judge_broker_clock(&config.broker.host)]);
}

async fn check_postgres(report: &mut DoctorReport, config: &Config, database: &Database) {
    if !report.check("Postgres", inspect_server::connection(database)).await {
        return report.skip(&POSTGRES_CHECKS, "Postgres");
    }
    let [safety, room, privileges, notices, skew, schema, partitions, retention, readers, others] =
        POSTGRES_CHECKS;
    report.check(safety, inspect_server::safety(database)).await;
    report.check(room, inspect_server::room(database, config.database.pool_max)).await;
    report.check(privileges, inspect_server::privileges(database)).await;
    report.check(notices, inspect_server::notices(database)).await;
    report.check(skew, inspect_server::clock(database, clock::now)).await;
    report
        .check(schema, inspect_schema::migrations(database, config.database.migrate_on_start))
        .await;
    report.check(schema, inspect_schema::objects(database)).await;
    report
        .check(
            partitions,
            inspect_schema::partitions(database, config.database.migrate_on_start, clock::now()),
        )
        .await;
    report.check(retention, check_retention(config, database)).await;
    report.check(readers, inspect_schema::readers(database)).await;
    report.check(others, links::check(database, config.links.path.as_deref())).await;
}

async fn check_retention(config: &Config, database: &Database) -> Result<Vec<Finding>, Outage> {
    let clocks = clocks::read_once(database.pool(), clock::now).await?;
    retention::inspect(database.pool(), Retention::from(&config.database), clocks).await
}

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
    let Ok(readiness) = serde_json::from_str::<ReadinessReply>(&body) else {
        let what = format!("another program listens at OPS_BIND={bind}: its answer cannot be read");
        return vec![Finding::error(what, "set OPS_BIND to a free address")];
    };
    judge_readiness(&readiness, &bind.to_string())
}

// === impl DoctorReport ===

impl DoctorReport {
    /// Runs `work` within `CHECK_PATIENCE`. True when the check ran, whatever it found.
    async fn check<E: Display>(
        &mut self,
        check: &'static str,
        work: impl Future<Output = Result<Vec<Finding>, E>>,
    ) -> bool {
        self.show_progress(check);
        let (was_made, findings) = match tokio::time::timeout(CHECK_PATIENCE, work).await {
            Ok(Ok(findings)) => (true, findings),
            // The error text contains the advice.
            Ok(Err(error)) => (
                false,
                vec![Finding { level: Severity::Error, what: error.to_string(), advice: None }],
            ),
            Err(_) => {
                let what = format!("no result within {} s", CHECK_PATIENCE.as_secs());
                (
                    false,
                    vec![Finding::error(
                        what,
                        "look for high load and for locks there, and run this command again",
                    )],
                )
            }
        };
        self.add(check, findings);
        was_made
    }

    fn skip(&mut self, checks: &[&'static str], unreached: &str) {
        for check in checks {
            let advice = "fix that first, and run this command again";
            self.add(
                check,
                vec![Finding::warning(format!("not checked: {unreached} was not reached"), advice)],
            );
        }
    }

    fn add(&mut self, check: &'static str, findings: Vec<Finding>) {
        for Finding { level, what, advice } in findings {
            self.errors += usize::from(level == Severity::Error);
            self.warnings += usize::from(level == Severity::Warning);
            self.findings.push(CheckRow { check, level: level.label(), finding: what, advice });
        }
    }

    /// Shows the running check on a terminal. A write error is ignored.
    fn show_progress(&self, check: &str) {
        if self.shows_progress {
            let _ = write!(std::io::stderr(), "\r\x1b[Kchecking: {check} ..");
        }
    }

    fn finish(&mut self) {
        self.ok = self.errors == 0;
        if self.shows_progress {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn print(&self, output: OutputFormat) -> std::io::Result<()> {
        if output == OutputFormat::Json {
            return table::json(self);
        }
        table::rows(output, &["check", "level", "finding", "what to do"], &self.findings, |row| {
            let advice = row.advice.as_deref().unwrap_or_default();
            vec![
                row.check.to_owned(),
                row.level.to_owned(),
                printable(&row.finding),
                printable(advice),
            ]
        })?;
        writeln!(std::io::stdout(), "{} error(s), {} warning(s)", self.errors, self.warnings)
    }
}

// --- private helpers ---

fn judge_settings(warnings: Vec<String>) -> Vec<Finding> {
    if warnings.is_empty() {
        return vec![Finding::ok("the settings are valid")];
    }
    warnings
        .into_iter()
        .map(|what| Finding { level: Severity::Warning, what, advice: None })
        .collect()
}

fn judge_readiness(readiness: &ReadinessReply, bind: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = readiness
        .troubles
        .iter()
        .map(|(part, why)| Finding {
            level: Severity::Error,
            what: format!("the daemon at {bind} is not ready: {part}: {why}"),
            advice: None,
        })
        .collect();
    if readiness.ready {
        findings.push(Finding::ok(format!("the daemon at {bind} is ready")));
    }
    findings.extend(readiness.warnings.iter().map(|(part, why)| Finding {
        level: Severity::Warning,
        what: format!("the daemon at {bind} warns: {part}: {why}"),
        advice: None,
    }));
    findings
}

/// Judges how soon the authority's certificate ends.
fn judge_authority(path: Option<&Path>) -> Finding {
    let Some(path) = path else {
        return Finding::ok("DEVICE_CA_CERT_PATH is not set: Sluice signs no certificates here");
    };
    match AuthorityEnd::of_file(path, clock::now()) {
        AuthorityEnd::Far(end) => Finding::ok(format!("the authority expires at {end}")),
        AuthorityEnd::Near(_, what) => Finding { level: Severity::Warning, what, advice: None },
        AuthorityEnd::Past(_, what) | AuthorityEnd::Unknown(what) => {
            Finding { level: Severity::Error, what, advice: None }
        }
    }
}

/// Loads the policy file and lints it.
fn judge_policy(path: Option<&Path>) -> Vec<Finding> {
    let Some(path) = path else {
        return vec![Finding::ok(
            "ACL_RULES_PATH is not set: only the built-in rules answer the broker's hooks",
        )];
    };
    match file::load(path) {
        Ok(policy) => match lint::lint(&policy) {
            suspicions if suspicions.is_empty() => {
                vec![Finding::ok(format!("{} is valid", path.display()))]
            }
            suspicions => suspicions
                .into_iter()
                .map(|LintSuspicion { place, finding, .. }| Finding {
                    what: format!("{place}: {}", finding.what),
                    ..finding
                })
                .collect(),
        },
        Err(error) => {
            vec![Finding::error(
                error.to_string(),
                "fix the file; `sluice access lint` checks it alone",
            )]
        }
    }
}

/// MQTT carries no time of day, so the broker's clock cannot be measured.
fn judge_broker_clock(host: &str) -> Finding {
    let is_here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    Finding::ok(if is_here {
        "the broker is on this machine or forwarded to it: its clock needs no check".to_owned()
    } else {
        format!("the clock of {host} cannot be checked from here: MQTT carries no time of day")
    })
}
