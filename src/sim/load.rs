//! `sluice simulate`: a fleet publishes at a rate, or as fast as the broker accepts, and the tables
//! are checked for missing or doubled messages.
//!
//! In reading order: [`args`] are the arguments, [`assignment`] gives devices to connections,
//! [`connection`] publishes, [`requests`] asks and answers, [`renewals`] renews certificates,
//! [`screen`] shows progress and summary of the [`figures`], with a [`histogram`], [`verify`] reads
//! the tables back. It registers its fleet in tenants `sluice-sim-000` and on. It starts no
//! daemon and no broker.

pub(crate) mod args;
pub(crate) mod assignment;
pub(crate) mod connection;
pub(crate) mod figures;
pub(crate) mod histogram;
pub(crate) mod renewals;
pub(crate) mod requests;
pub(crate) mod screen;
pub(crate) mod verify;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::fleet::certificates::{CertificateFolder, DeviceCertificate};
use super::fleet::device_listener::DeviceListener;
use super::fleet::load_fleet::{TENANT_PREFIX, TENANTS};
use super::fleet::simulated_fleet::SimulatedFleet;
use super::wait_for_crl::CrlWatch;
use crate::broker::error::BrokerError;
use crate::clock;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::config::Config;
use crate::domain::ids::{IdError, TenantId};
use crate::domain::time::Timestamp;
use crate::lifecycle::Tasks;
use crate::registry::ActionContext;
use crate::store::reads::simulation_readback::Readback;
use crate::store::registry::bulk_enroll;
use args::{CONNECTIONS_MAX, SimulateArgs};
use connection::{LoadConnection, SentNumbers};
use figures::SharedFigures;
use renewals::{RenewalSummary, RenewingDevice};
use requests::RequestFigures;
use screen::{LoadProgress, LoadSummary, per_second};
use verify::{Sent, VerifyFindings};

/// Interval between two redraws.
const REDRAW: Duration = Duration::from_secs(1);

/// Publishes, or verifies an earlier run; fails when a message is missing or doubled.
pub async fn run(
    args: SimulateArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let output = if args.check.json { OutputFormat::Json } else { output };
    let operator = CommandContext::open(config).await?;
    let exit = match &args.check.of {
        _ if args.fleet.disband => disband(&operator, output).await?,
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| {
                Failure::usage(format!("cannot read {}: {error}", file.display()))
            })?;
            let earlier: LoadSummary = serde_json::from_str(&text).map_err(|error| {
                Failure::usage(format!("{} is not the summary of a run: {error}", file.display()))
            })?;
            let findings = read_back(&operator, &earlier.messages).await?;
            print(output, &findings, &findings.lines())?;
            exit_of(&findings)
        }
        None => simulate(&args, config, &operator, output).await?,
    };
    operator.database.close().await;
    Ok(exit)
}

async fn simulate(
    args: &SimulateArgs,
    config: &Config,
    operator: &CommandContext,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let spec = args.spec(config)?;
    let (tenants, fleet) = (spec.tenants(), spec.fleet(secret()?));
    if !args.fleet.keep {
        enroll(operator, &fleet).await?;
    }
    let certificates = if args.fleet.tls {
        Some(issue(args, config, operator, &fleet, &tenants).await?)
    } else {
        None
    };
    let mut readback = Readback::open(&operator.database).await.map_err(|error| outage(&error))?;
    let quarantined_before = readback.refusals(&tenants).await.map_err(|error| outage(&error))?;
    readback.close().await;

    let (began, figures) = (clock::now(), SharedFigures::default());
    let requests = RequestFigures::default();
    let slots = match &certificates {
        Some(certificates) => {
            let listener = DeviceListener::of(config)?;
            assignment::own(args, &listener, &fleet, certificates, began, &requests)?
        }
        None => assignment::shared(args, &config.broker, &fleet, began)?,
    };
    let connections = assignment::connect(args, slots, began, &figures).await?;
    let (span, ledgers) = publish(args, connections, &figures, output).await?;
    let messages = sent(began, tenants, &ledgers, quarantined_before);
    let has_duties = args.duties.of_each(fleet.valid().len(), true).is_some();
    let mut summary = LoadSummary {
        seconds: span.as_secs_f64(),
        sent: figures.sent(),
        rate: per_second(figures.sent(), span),
        acknowledged: figures.acknowledged(),
        without_subscriber: figures.without_subscriber(),
        refused: figures.refused(),
        latency: figures.latency().quantiles(),
        requests: has_duties.then(|| requests.summary()),
        renewals: renew(args, config, &fleet, certificates).await?,
        messages,
        findings: None,
    };
    if args.check.verify {
        summary.findings = Some(read_back(operator, &summary.messages).await?);
    }
    print(output, &summary, &summary.lines())?;
    let exit = summary.findings.as_ref().map_or(Exit::Done, exit_of);
    Ok(if summary.is_answered() { exit } else { Exit::Negative })
}

/// Renews the certificates of the first devices; `None` without --renew.
async fn renew(
    args: &SimulateArgs,
    config: &Config,
    fleet: &SimulatedFleet,
    certificates: Option<Vec<DeviceCertificate>>,
) -> Result<Option<RenewalSummary>, Failure> {
    let count = fleet.valid().len().min(args.duties.renew as usize);
    let Some(certificates) = certificates.filter(|_| count > 0) else { return Ok(None) };
    let renewing = certificates.into_iter().take(count);
    let renewing = renewing.map(|of| RenewingDevice { device: of.device, pem: of.pem }).collect();
    Ok(Some(renewals::renew_all(renewing, &DeviceListener::of(config)?).await))
}

/// Registers the fleet in one statement for each table.
async fn enroll(operator: &CommandContext, fleet: &SimulatedFleet) -> Result<(), Failure> {
    let (pool, actor) = (operator.database.pool(), &operator.actor);
    let now = clock::now().to_utc();
    let enrolled = bulk_enroll::enroll(pool, actor, &fleet.registrations(), now).await;
    enrolled.map_err(|error| outage(&error))
}

/// Returns a certificate for each device of the fleet, faulty ones included.
async fn issue(
    args: &SimulateArgs,
    config: &Config,
    operator: &CommandContext,
    fleet: &SimulatedFleet,
    tenants: &[String],
) -> Result<Vec<DeviceCertificate>, Failure> {
    let internal = |error: IdError| Failure::new(Exit::Internal, error.to_string());
    let tenants: Result<Vec<TenantId>, _> = tenants.iter().map(|tenant| tenant.parse()).collect();
    let action =
        ActionContext { database: &operator.database, actor: &operator.actor, now: clock::now() };
    let mut folder = CertificateFolder::open(
        &args.fleet.certificates,
        &tenants.map_err(internal)?,
        config,
        action,
    )
    .await?;
    let mut certificates = Vec::new();
    for device in fleet.devices() {
        let key = device.key().map_err(internal)?;
        certificates.push(if device.is_stray() {
            folder.ensure_stray(&key, action.now)?
        } else {
            folder.ensure(&key, action).await?
        });
    }
    // Pending takeovers, such as those of --disband, would end the new fleet's sessions.
    CrlWatch::open(&operator.database, folder.issuer()).await?.wait_settled(TENANT_PREFIX).await?;
    Ok(certificates)
}

async fn disband(operator: &CommandContext, output: OutputFormat) -> Result<Exit, Failure> {
    let gone = bulk_enroll::disband(operator.database.pool(), &operator.actor, TENANTS)
        .await
        .map_err(|error| outage(&error))?;
    let lines = [
        ("Tenants removed", gone.tenants.to_string()),
        ("Devices removed", gone.devices.to_string()),
        ("Certificates revoked", gone.certificates_revoked.to_string()),
    ];
    printed(table::fields(output, &gone, &lines))
}

/// Runs all connections and draws the progress; returns the time it took.
async fn publish(
    args: &SimulateArgs,
    connections: Vec<LoadConnection>,
    figures: &SharedFigures,
    output: OutputFormat,
) -> Result<(Duration, Vec<SentNumbers>), Failure> {
    let (stop, mut tasks) = (CancellationToken::new(), Tasks::default());
    let (ledgers_in, mut ledgers) = mpsc::channel(usize::from(CONNECTIONS_MAX));
    let (wanted, started) = (connections.len(), Instant::now());
    for connection in connections {
        tasks.spawn("load connection", connection.run(stop.clone(), ledgers_in.clone()));
    }
    drop(ledgers_in);
    let mut progress = (output == OutputFormat::Table)
        .then(|| LoadProgress::new(Duration::from_secs(args.publishing.seconds.into())));
    let mut ticks = tokio::time::interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut done = Vec::new();
    while done.len() < wanted {
        tokio::select! {
            ledger = ledgers.recv() => match ledger {
                Some(Ok(ledger)) => done.push(ledger),
                Some(Err(error)) => return Err(broker_failure(error)),
                None => return Err(Failure::new(Exit::Internal, "a connection of the fleet ended without a result")),
            },
            _ = ticks.tick() => if let Some(progress) = &mut progress {
                progress.draw(started.elapsed(), figures);
            },
            // The first Ctrl-C stops in order. Without signal handling, --seconds ends the run.
            Ok(()) = tokio::signal::ctrl_c(), if !stop.is_cancelled() => stop.cancel(),
        }
    }
    if let Some(progress) = &mut progress {
        progress.draw(started.elapsed(), figures);
        progress.end();
    }
    Ok((started.elapsed(), done))
}

// === private helpers ===

/// What the tables must hold, over all connections.
fn sent(
    began: Timestamp,
    tenants: Vec<String>,
    ledgers: &[SentNumbers],
    quarantined_before: BTreeMap<String, i64>,
) -> Sent {
    let mut bad = BTreeMap::new();
    for (reason, count) in ledgers.iter().flat_map(|ledger| &ledger.bad) {
        *bad.entry(reason.label().to_owned()).or_insert(0) += count.cast_signed();
    }
    let published = ledgers.iter().filter(|ledger| ledger.valid > 0);
    let mut numbers: Vec<_> = published
        .map(|ledger| (ledger.first, ledger.first + ledger.valid.cast_signed() - 1))
        .collect();
    numbers.sort_unstable();
    let refused = ledgers.iter().flat_map(|ledger| ledger.refused.iter().copied()).collect();
    Sent { began_us: began.micros(), tenants, numbers, refused, bad, quarantined_before }
}

async fn read_back(operator: &CommandContext, sent: &Sent) -> Result<VerifyFindings, Failure> {
    let mut readback = Readback::open(&operator.database).await.map_err(|error| outage(&error))?;
    let findings = verify::verify(&mut readback, sent).await.map_err(|error| outage(&error))?;
    readback.close().await;
    Ok(findings)
}

fn print<T: serde::Serialize>(output: OutputFormat, value: &T, lines: &[String]) -> io::Result<()> {
    match output {
        OutputFormat::Json => table::json(value),
        OutputFormat::Table => writeln!(io::stdout(), "{}", lines.join("\n")),
    }
}

fn exit_of(findings: &VerifyFindings) -> Exit {
    if findings.complete { Exit::Done } else { Exit::Negative }
}

fn secret() -> Result<[u8; 32], Failure> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map(|()| secret).map_err(|error| {
        Failure::new(
            Exit::Internal,
            format!("the system provides no random numbers for tokens: {error}"),
        )
    })
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes the value")]
fn broker_failure(error: BrokerError) -> Failure {
    Failure::unavailable(error.to_string())
}
