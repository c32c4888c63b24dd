//! `sluice demo`: a simulated fleet publishes to its own daemon, and the screen shows what happens
//! to the messages.
//!
//! In reading order: [`args`] are the arguments, [`mod@prepare`] registers the fleet and
//! [`idle_devices`] devices for the console,
//! [`daemon_process`] starts the daemon, [`running`] is the run itself: [`traffic`] publishes,
//! [`revocation`] revokes one device and [`revocation_report`] describes it, [`way_back`] is the
//! device that answers a command and renews its certificate, [`screen`] draws.
//! [`summary`] adds up. `scripts/demo` runs the command with its own broker and database.
//!
//! The demo fails when an acknowledged message is missing from the database, when nothing is
//! stored, or when the broker accepts the revoked device. It ends early when the broker refuses a
//! device its own topics.

pub(crate) mod args;
pub(crate) mod daemon_process;
pub(crate) mod idle_devices;
pub(crate) mod prepare;
pub(crate) mod revocation;
pub(crate) mod revocation_report;
pub(crate) mod running;
pub(crate) mod screen;
pub(crate) mod summary;
pub(crate) mod traffic;
pub(crate) mod way_back;

use std::io::{self, Write};
use std::net::SocketAddr;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::daemon_metrics::DaemonFigures;
use super::fleet::demo_fleet::{self, ANSWERING_DEVICE, REVOKED_DEVICE};
use super::fleet::device_listener::DeviceListener;
use super::fleet::simulated_fleet::SimulatedFleet;
use crate::clock;
use crate::command::context::CommandContext;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::config::{Config, Sources};
use crate::domain::caller::CallerRole;
use crate::domain::operator::Person;
use crate::registry::operators::{self, LINK_SECONDS};
use args::DemoArgs;
use daemon_process::Launch;
use prepare::EnrolledFleet;
use revocation::{ConnectAttempts, DeviceToRevoke};
use running::{DemoDevices, RunningDemo};
use screen::Screen;
use summary::{DemoSummary, RevocationResults};
use traffic::{DeviceGroup, TrafficTally};
use way_back::WayBack;

/// Tasks that the fleet's devices are divided among.
const GROUPS: u8 = 4;

/// Runs until `--seconds` elapse or a signal arrives; a second signal ends it at once.
pub async fn run(
    args: DemoArgs,
    config: &Config,
    sources: &Sources,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let stop = CancellationToken::new();
    tokio::select! {
        ended = demonstrate(&args, config, sources, output, &stop) => ended,
        failure = follow_signals(&stop) => Err(failure),
    }
}

async fn demonstrate(
    args: &DemoArgs,
    config: &Config,
    sources: &Sources,
    output: OutputFormat,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let (mut demo, devices) = tokio::select! {
        prepared = prepare(args, config, sources, output) => prepared?,
        () = stop.cancelled() => return Err(Failure::new(Exit::Done, "stopped before the first message")),
    };
    let span = demo.publish(devices, args.revocation_plan(), args.limit(), stop).await?;
    let last = demo.wait_until_kept().await?;
    let stopped = demo.daemon.stop().await;
    let summary = DemoSummary::new(span, &demo.tally, &last)
        .with_revocations(demo.revocations)
        .with_way_back(demo.way_back)
        .with_attempts(&demo.attempts);
    let exit = print_summary(&summary, &last, output)?;
    stopped.map(|()| exit)
}

/// Prepares everything up to the first message.
async fn prepare(
    args: &DemoArgs,
    config: &Config,
    sources: &Sources,
    output: OutputFormat,
) -> Result<(RunningDemo, DemoDevices), Failure> {
    let rate_limit = args.rate_limit();
    let fleet = args.fleet_spec(config, rate_limit).fleet(prepare::secret()?);
    // First: without a broker nothing else is worth starting.
    let publisher = prepare::connect_publisher(&config.broker).await?;
    DeviceListener::of(config)?;
    print_note(output, "registering the devices and issuing their certificates")?;
    let (enrolled, watch) = prepare::enroll(&fleet, config, &args.certificates).await?;
    print_note(output, &describe_fleet(args, &fleet, &enrolled))?;
    let (ops, api) = (config.http.ops_bind, config.http.api_bind);
    let shutdown_timeout = config.process.shutdown_timeout;
    let mut daemon =
        Launch { sources, ops, api, rate_limit, log: &args.log, shutdown_timeout }.start().await?;
    let ops = daemon.ops();
    print_note(
        output,
        &format!("metrics      http://{ops}/metrics\nreadiness    http://{ops}/readyz"),
    )?;
    let ready = async {
        prepare::wait_for_revocations(watch).await?;
        prepare::wait_for_leftovers(ops, publisher).await
    };
    let before = tokio::select! {
        before = ready => before?,
        failure = daemon.died() => return Err(failure),
    };
    note_earlier_messages(output, before.kept())?;
    note_console(output, config, daemon.api(), &enrolled.operator).await?;
    let (tally, attempts) = (TrafficTally::default(), ConnectAttempts::default());
    let devices = connect_devices(args, config, &fleet, enrolled, &tally, &attempts).await?;
    print_note(output, "")?;
    let demo = RunningDemo {
        daemon,
        before,
        tally,
        attempts,
        revocations: RevocationResults::default(),
        way_back: None,
        screen: Screen::on_stdout(),
        output,
        started: Instant::now(),
    };
    Ok((demo, devices))
}

/// Says that messages of an earlier run waited at the broker, if any did.
fn note_earlier_messages(output: OutputFormat, kept: u64) -> Result<(), Failure> {
    if kept == 0 {
        return Ok(());
    }
    let note =
        format!("the broker still had {kept} messages of an earlier run; Sluice has stored them");
    print_note(output, &note)
}

/// Prints a link that signs in at the console.
async fn note_console(
    output: OutputFormat,
    config: &Config,
    api: SocketAddr,
    operator: &CommandContext,
) -> Result<(), Failure> {
    if output != OutputFormat::Table || !config.console.is_on {
        return Ok(());
    }
    let person = Person { name: operator.user().to_owned(), role: CallerRole::Admin, tenant: None };
    let code = operators::make_link(operator.action_context(), &person).await;
    let code = code.map_err(|error| Failure::unavailable(error.to_string()))?;
    let note = format!(
        "console      http://{api}/console/link?code={code}\n             \
         The link signs you in once, within {LINK_SECONDS} s. `sluice console` prints another."
    );
    print_note(output, &note)
}

/// Connects every device with its certificate.
async fn connect_devices(
    args: &DemoArgs,
    config: &Config,
    fleet: &SimulatedFleet,
    enrolled: EnrolledFleet,
    tally: &TrafficTally,
    attempts: &ConnectAttempts,
) -> Result<DemoDevices, Failure> {
    let EnrolledFleet { operator, folder, mut certificates } = enrolled;
    let listener = DeviceListener::of(config)?;
    let way_back = match certificates.remove(ANSWERING_DEVICE) {
        None => None,
        Some(certificate) => Some(WayBack {
            operator: CommandContext::before_the_schema(config)?,
            settings: config.downlink.clone(),
            listener: listener.clone(),
            certificate,
            tally: tally.clone(),
        }),
    };
    let mut specs =
        demo_fleet::groups(fleet, GROUPS.into(), clock::now()).map_err(prepare::broker_failure)?;
    let (Some(group), Some(certificate)) = (specs.pop(), certificates.remove(REVOKED_DEVICE))
    else {
        return Err(Failure::new(Exit::Internal, "the fleet has no device to revoke"));
    };
    let pace = f64::from(args.rate) / f64::from(GROUPS);
    let mut groups = Vec::new();
    for spec in specs {
        groups
            .push(DeviceGroup::connect(&listener, &certificates, spec, pace, tally.clone()).await?);
    }
    let device_to_revoke = DeviceToRevoke {
        operator,
        folder,
        certificate,
        listener,
        group,
        tally: tally.clone(),
        attempts: attempts.clone(),
    };
    Ok(DemoDevices { groups, device_to_revoke, way_back })
}

// === private helpers ===

fn describe_fleet(args: &DemoArgs, fleet: &SimulatedFleet, enrolled: &EnrolledFleet) -> String {
    let faulty = fleet.faulty().len();
    let issued = enrolled.certificates.values().filter(|certificate| certificate.is_new).count();
    let reused = enrolled.certificates.len() - issued;
    format!(
        "{} valid devices, {faulty} faulty devices, and the device {REVOKED_DEVICE}, which will be revoked\n\
         {issued} certificates issued, {reused} reused from an earlier run",
        args.devices
    )
}

/// Returns at the second signal. The first one, SIGHUP included, stops the demonstration in order.
async fn follow_signals(stop: &CancellationToken) -> Failure {
    let kinds = (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
    let (Ok(mut int), Ok(mut term), Ok(mut hup)) =
        (signal(kinds.0), signal(kinds.1), signal(kinds.2))
    else {
        return Failure::new(
            Exit::Internal,
            "cannot install signal handlers; exiting, because the demo could not be stopped cleanly",
        );
    };
    for _ in 0..2 {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
        if stop.is_cancelled() {
            break;
        }
        stop.cancel();
    }
    Failure::new(
        Exit::Internal,
        "ended at once by a second signal; the broker keeps the messages that are not stored",
    )
}

fn print_summary(
    summary: &DemoSummary,
    figures: &DaemonFigures,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    match output {
        OutputFormat::Json => {
            table::json(summary)?;
            // Standard output carries the JSON; the reason goes to standard error.
            if let Some(why) = summary.shortcoming() {
                writeln!(io::stderr(), "{why}")?;
            }
        }
        OutputFormat::Table => writeln!(io::stdout(), "{}", summary.lines(figures).join("\n"))?,
    }
    Ok(if summary.is_good() { Exit::Done } else { Exit::Negative })
}

/// Prints `line` in table mode; JSON mode prints the summary alone.
fn print_note(output: OutputFormat, line: &str) -> Result<(), Failure> {
    if output == OutputFormat::Table {
        writeln!(io::stdout(), "{line}")?;
    }
    Ok(())
}
