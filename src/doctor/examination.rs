//! Runs all checks in their order, each within a bound.
//!
//! What the daemon reports of itself and the files of the EST listener come from the caller: the
//! command line reads them over HTTP, the daemon directly.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use super::report::{CheckRow, DoctorReport, DoctorStep};
use super::{access_rules, isolation, links, links_file, local_files, replicas};
use crate::broker::exchange::needed_writes;
use crate::broker::tools::inspect::Inspector;
use crate::clock;
use crate::config::Config;
use crate::config::sections::ingest::{BATCHES_IN_FLIGHT, IngestConfig};
use crate::disk::Unreachable;
use crate::domain::finding::{Finding, Severity};
use crate::domain::ports::Outage;
use crate::store::cells::inspect as cells;
use crate::store::connection::clocks;
use crate::store::connection::database::Database;
use crate::store::schema::retention::{self, Retention};
use crate::store::schema::{inspect_schema, inspect_server};

/// Upper bound for one check. Connecting to the broker or to Postgres alone may take ten seconds.
const CHECK_PATIENCE: Duration = Duration::from_secs(30);

/// The checks that need a connection to the broker.
const BROKER_CHECKS: [&str; 6] = [
    "broker subscription",
    "broker delivery",
    "broker share group",
    "broker window",
    "broker publishing",
    "broker statistics",
];

/// The checks that need a connection to Postgres.
const POSTGRES_CHECKS: [&str; 12] = [
    "Postgres safety",
    "Postgres connections",
    "Postgres privileges",
    "Postgres notices",
    "Postgres clock",
    "schema",
    "partitions",
    "retention",
    "readers",
    "replicas",
    "links",
    "registry",
];

/// What to examine.
pub(crate) struct Patient<'a, D, E> {
    pub config: &'a Config,
    pub database: &'a Database,
    /// What the daemon reports of itself.
    pub daemon: D,
    /// The files of the EST listener.
    pub est_listener: E,
}

/// One examination.
struct Examination<'a> {
    report: DoctorReport,
    watch: &'a (dyn Fn(DoctorStep<'_>) + Send + Sync),
}

/// Runs every check, and tells `watch` how far it is.
pub(crate) async fn examine<D, E>(
    patient: Patient<'_, D, E>,
    watch: &(dyn Fn(DoctorStep<'_>) + Send + Sync),
) -> DoctorReport
where
    D: Future<Output = Vec<Finding>> + Send,
    E: Future<Output = Result<Vec<Finding>, Unreachable>> + Send,
{
    let Patient { config, database, daemon, est_listener } = patient;
    let mut examination = Examination { report: DoctorReport::default(), watch };
    examination.report.ok = true;
    let it = &mut examination;
    it.add("settings", local_files::judge_settings(config.warnings()));
    let rules = config.access.acl_rules_path.as_deref();
    it.check("policy", local_files::read(rules, local_files::judge_policy)).await;
    let links = config.links.path.as_deref();
    it.check("links file", local_files::read(links, links_file::judge)).await;
    let authority = config.certificates.ca_cert_path.as_deref();
    it.check("authority", local_files::read(authority, local_files::judge_authority)).await;
    it.check("authority", local_files::cell_authorities(&config.certificates)).await;
    it.check("EST listener", est_listener).await;
    it.check("daemon", async { Ok::<_, Outage>(daemon.await) }).await;
    it.check_broker(config).await;
    Box::pin(database.try_connection()).await;
    it.check("broker access rules", access_rules::check(config, database)).await;
    it.check("broker isolation", isolation::findings(config)).await;
    it.check_postgres(config, database).await;
    examination.report
}

/// What the daemon reports in `/readyz`, as findings; `name` is the daemon.
pub(crate) fn judge_readiness<K: Display + Ord>(
    name: &str,
    troubles: &BTreeMap<K, String>,
    warnings: &BTreeMap<K, String>,
    notes: &BTreeMap<K, String>,
) -> Vec<Finding> {
    let found = |level, part: &K, verb: &str, why: &str| Finding {
        level,
        what: format!("{name} {verb}: {part}: {why}"),
        advice: None,
    };
    let errors = troubles.iter();
    let mut findings: Vec<Finding> =
        errors.map(|(part, why)| found(Severity::Error, part, "is not ready", why)).collect();
    if troubles.is_empty() {
        findings.push(Finding::ok(format!("{name} is ready")));
    }
    let others = warnings.iter();
    findings.extend(others.map(|(part, why)| found(Severity::Warning, part, "warns", why)));
    findings.extend(notes.iter().map(|(part, what)| Finding::ok(format!("{part}: {what}"))));
    findings
}

// === impl Examination ===

impl Examination<'_> {
    async fn check_broker(&mut self, config: &Config) {
        let IngestConfig { batch_size, writer_lanes, .. } = config.ingest;
        let needed_window = batch_size * BATCHES_IN_FLIGHT as usize * writer_lanes;
        let broker = Inspector::new(&config.broker, needed_window);
        if self.check("broker", broker.connection()).await {
            let [subscription, delivery, share_group, window, publishing, sys_values] =
                BROKER_CHECKS;
            self.check(subscription, broker.subscription()).await;
            self.check(delivery, broker.delivery()).await;
            self.check(share_group, broker.share_group()).await;
            self.check(window, broker.window()).await;
            let writes = needed_writes::of(&config.mqtt_api);
            self.check(publishing, broker.writes(&writes)).await;
            self.check(sys_values, broker.sys_values()).await;
        } else {
            self.skip(&BROKER_CHECKS, "the broker");
        }
        self.add("broker clock", vec![local_files::judge_broker_clock(&config.broker.host)]);
    }

    async fn check_postgres(&mut self, config: &Config, database: &Database) {
        if !self.check("Postgres", inspect_server::connection(database)).await {
            return self.skip(&POSTGRES_CHECKS, "Postgres");
        }
        let [
            safety,
            room,
            privileges,
            notices,
            skew,
            schema,
            partitions,
            retention,
            readers,
            replicas_seen,
            others,
            registry,
        ] = POSTGRES_CHECKS;
        let migrates = config.database.migrate_on_start;
        self.check(safety, inspect_server::safety(database)).await;
        self.check(room, inspect_server::room(database, config.database.pool_max)).await;
        self.check(privileges, inspect_server::privileges(database)).await;
        self.check(notices, inspect_server::notices(database)).await;
        self.check(skew, inspect_server::clock(database, clock::now)).await;
        self.check(schema, inspect_schema::migrations(database, migrates)).await;
        self.check(schema, inspect_schema::objects(database)).await;
        let ahead = inspect_schema::partitions(database, migrates, clock::now());
        self.check(partitions, ahead).await;
        self.check(retention, check_retention(config, database)).await;
        self.check(readers, inspect_schema::readers(database)).await;
        self.check(replicas_seen, replicas::check(config, database)).await;
        self.check(others, links::check(database, config.links.path.as_deref())).await;
        let url = config.database.registry_url.as_ref();
        self.check(registry, cells::check(database.pool(), url)).await;
    }

    /// Runs `work` within `CHECK_PATIENCE`. True when the check ran, whatever it found.
    async fn check<E: Display>(
        &mut self,
        check: &'static str,
        work: impl Future<Output = Result<Vec<Finding>, E>>,
    ) -> bool {
        (self.watch)(DoctorStep::Begins(check));
        let (was_made, findings) = match tokio::time::timeout(CHECK_PATIENCE, work).await {
            Ok(Ok(findings)) => (true, findings),
            // The error text contains the advice.
            Ok(Err(error)) => (
                false,
                vec![Finding { level: Severity::Error, what: error.to_string(), advice: None }],
            ),
            Err(_) => {
                let what = format!("no result within {} s", CHECK_PATIENCE.as_secs());
                let advice = "look for high load and for locks there, and run the doctor again";
                (false, vec![Finding::error(what, advice)])
            }
        };
        self.add(check, findings);
        was_made
    }

    fn skip(&mut self, checks: &[&'static str], unreached: &str) {
        for check in checks {
            let what = format!("not checked: {unreached} was not reached");
            let advice = "fix that first, and run the doctor again";
            self.add(check, vec![Finding::warning(what, advice)]);
        }
    }

    fn add(&mut self, check: &'static str, findings: Vec<Finding>) {
        for finding in findings {
            let row = CheckRow::new(check, finding);
            (self.watch)(DoctorStep::Found(&row));
            self.report.add(row);
        }
    }
}

// === private helpers ===

async fn check_retention(config: &Config, database: &Database) -> Result<Vec<Finding>, Outage> {
    let clocks = clocks::read_once(database.pool(), clock::now).await?;
    retention::inspect(database.pool(), Retention::from(&config.database), clocks).await
}
