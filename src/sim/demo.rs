//! `sluice demo`: a simulated fleet publishes to its own daemon, and the screen shows what happens
//! to the messages.
//!
//! In reading order: [`mod@prepare`] registers the fleet, [`daemon_process`] starts the daemon,
//! [`traffic`] publishes, [`revocation`] revokes one device and [`revocation_report`] describes it,
//! [`screen`] draws, [`summary`] adds up. `scripts/demo` starts it with a broker and a database of
//! its own. It fails when an acknowledged message is missing from the database, when nothing is
//! stored, or when the revoked device gets in; it ends early when the broker refuses a device its
//! own topics.

pub mod daemon_process;
pub mod prepare;
pub mod revocation;
pub mod revocation_report;
pub mod screen;
pub mod summary;
pub mod traffic;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::daemon_metrics::{self, DaemonFigures};
use super::fleet::demo_fleet::{DemoFleet, DemoFleetSpec, REVOKED_DEVICE};
use super::fleet::device_listener::DeviceListener;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::config::{Config, Sources};
use crate::domain::rate_limit::RateLimit;
use crate::lifecycle::Tasks;
use daemon_process::{DaemonProcess, Launch};
use prepare::{ASK_EVERY, EnrolledFleet, PATIENCE, no_figures};
use revocation::{ConnectAttempts, DeviceToRevoke, RevocationPlan};
use revocation_report::RevocationReport;
use screen::Screen;
use summary::DemoSummary;
use traffic::{DeviceGroup, TrafficTally};

/// Tasks that the fleet's devices are divided among.
const GROUPS: u8 = 4;

/// Interval between two redraws.
const REDRAW: Duration = Duration::from_secs(1);

/// Without `--seconds`: time from the start to the first revocation.
const FIRST_REVOCATION: Duration = Duration::from_secs(10);

/// Time from a revocation to the new certificate, and from there to the next revocation.
const AGAIN: Duration = Duration::from_secs(20);

/// Capacity of the queue of reports; one device produces them.
const REPORT_QUEUE: usize = 4;

/// Reports the summary keeps; a run of a day has thousands.
const REPORTS_KEPT: usize = 3;

/// Each device has its own connection, and a process, such as the broker, may have 1024 files open
/// by default.
const DEVICES_MAX: i64 = 500;

/// How large and how loud the demonstration is.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Publish for so many seconds, then print the summary; else until Ctrl-C
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Messages a second, of all devices together
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Devices that behave, each a connection of its own; some that misbehave are added
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=DEVICES_MAX))]
    devices: u16,
    /// Where the daemon's log goes; it begins anew each time
    #[arg(long, value_name = "FILE", default_value = ".sluice/sluice.log")]
    log: PathBuf,
    /// Where the devices' certificates and keys are kept
    #[arg(long, value_name = "DIR", default_value = ".sluice/devices")]
    certificates: PathBuf,
}

/// The state of a running demonstration.
struct DemoContext {
    daemon: DaemonProcess,
    /// The daemon's figures before the first message of this run.
    before: DaemonFigures,
    tally: TrafficTally,
    attempts: ConnectAttempts,
    /// The last revocations, at most `REPORTS_KEPT`.
    reports: Vec<RevocationReport>,
    /// Revocations whose every step completed.
    held: u64,
    /// Revocations with a step that failed.
    broken: u64,
    screen: Screen,
    output: OutputFormat,
    started: Instant,
}

/// The connected devices.
struct DemoDevices {
    groups: Vec<DeviceGroup>,
    device_to_revoke: DeviceToRevoke,
}

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
    let (mut context, devices) = tokio::select! {
        prepared = prepare(args, config, sources, output) => prepared?,
        () = stop.cancelled() => return Err(Failure::new(Exit::Done, "stopped before the first message")),
    };
    let span = context.publish(devices, args.seconds.map(Duration::from_secs), stop).await?;
    let last = context.wait_until_kept().await?;
    let stopped = context.daemon.stop().await;
    let summary = DemoSummary::new(span, &context.tally, &last).with_revocations(
        context.reports,
        context.held,
        context.broken,
    );
    let summary = summary.with_attempts(context.attempts.refused(), context.attempts.let_in());
    let exit = print_summary(&summary, &last, output)?;
    stopped.map(|()| exit)
}

/// Prepares everything up to the first message.
async fn prepare(
    args: &DemoArgs,
    config: &Config,
    sources: &Sources,
    output: OutputFormat,
) -> Result<(DemoContext, DemoDevices), Failure> {
    let rate_limit = args.rate_limit();
    let fleet = DemoFleet::new(args.fleet_spec(config, rate_limit));
    // First: without a broker nothing else is worth starting.
    let publisher = prepare::connect_publisher(&config.broker).await?;
    let listener = DeviceListener::of(config)?;
    print_note(output, "registering the devices, and issuing their certificates")?;
    let (enrolled, watch) = prepare::enroll(&fleet, config, &args.certificates).await?;
    let (faulty, issued) = (
        fleet.faulty(),
        enrolled.certificates.values().filter(|certificate| certificate.is_new).count(),
    );
    let known = enrolled.certificates.len() - issued;
    let devices = format!(
        "{} devices, {faulty} that misbehave, and one, {REVOKED_DEVICE}, that will be revoked",
        args.devices
    );
    print_note(
        output,
        &format!("{devices}\n{issued} certificates were issued now, {known} are from before"),
    )?;
    let (ops, shutdown_timeout) = (config.http.ops_bind, config.process.shutdown_timeout);
    let mut daemon =
        Launch { sources, ops, rate_limit, log: &args.log, shutdown_timeout }.start().await?;
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
    if before.kept() > 0 {
        let kept = before.kept();
        print_note(
            output,
            &format!(
                "{kept} messages of an earlier run were still with the broker; they are stored now"
            ),
        )?;
    }
    let (tally, attempts) = (TrafficTally::default(), ConnectAttempts::default());
    let devices = args.connect_devices(fleet, enrolled, listener, &tally, &attempts).await?;
    print_note(output, "")?;
    let (reports, screen, started) = (Vec::new(), Screen::new(), Instant::now());
    let context = DemoContext {
        daemon,
        before,
        tally,
        attempts,
        reports,
        held: 0,
        broken: 0,
        screen,
        output,
        started,
    };
    Ok((context, devices))
}

// === impl DemoArgs ===

impl DemoArgs {
    /// Far above what a good device sends, also after a pause.
    fn rate_limit(&self) -> RateLimit {
        let per_device = (f64::from(self.rate) / f64::from(self.devices)).ceil();
        // The device to revoke publishes five times a second at any rate.
        RateLimit { per_second: (2.0 * per_device).max(10.0), burst: (5.0 * per_device).max(100.0) }
    }

    /// Leaves out the hasty device where its outburst would be most of the traffic.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number far below 2^31"
    )]
    fn fleet_spec(&self, config: &Config, limit: RateLimit) -> DemoFleetSpec {
        // More than the rate limit admits during the outburst.
        let outburst = (limit.burst + limit.per_second / 5.0) as usize + 20;
        let bearable = outburst <= (self.rate as usize).max(150);
        let oversize = config.ingest.max_payload_bytes;
        DemoFleetSpec {
            devices: self.devices.into(),
            oversize,
            outburst: bearable.then_some(outburst),
        }
    }

    /// Connects every device with its certificate.
    async fn connect_devices(
        &self,
        fleet: DemoFleet,
        enrolled: EnrolledFleet,
        listener: DeviceListener,
        tally: &TrafficTally,
        attempts: &ConnectAttempts,
    ) -> Result<DemoDevices, Failure> {
        let EnrolledFleet { operator, folder, mut certificates } = enrolled;
        let mut specs = fleet.into_groups(GROUPS.into());
        let (Some(group), Some(own)) = (specs.pop(), certificates.remove(REVOKED_DEVICE)) else {
            return Err(Failure::new(Exit::Internal, "the fleet has no device to revoke"));
        };
        let pace = f64::from(self.rate) / f64::from(GROUPS);
        let mut groups = Vec::new();
        for spec in specs {
            groups.push(
                DeviceGroup::connect(&listener, &certificates, spec, pace, tally.clone()).await?,
            );
        }
        let (tally, attempts) = (tally.clone(), attempts.clone());
        Ok(DemoDevices {
            groups,
            device_to_revoke: DeviceToRevoke {
                operator,
                folder,
                certificate: own,
                listener,
                group,
                tally,
                attempts,
            },
        })
    }

    /// Revokes once at half of `limit`, or repeatedly without a limit.
    fn revocation_plan(limit: Option<Duration>) -> RevocationPlan {
        let first = limit.map_or(FIRST_REVOCATION, |limit| limit / 2);
        RevocationPlan { first, again: limit.is_none().then_some(AGAIN) }
    }
}

// === impl DemoContext ===

impl DemoContext {
    /// Runs the devices and redraws the figures; returns how long they published.
    async fn publish(
        &mut self,
        devices: DemoDevices,
        limit: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<Duration, Failure> {
        let (mut tasks, enough) = (Tasks::default(), stop.child_token());
        let (failure_sender, mut failures) = mpsc::channel(1);
        let (report_sender, mut reports) = mpsc::channel(REPORT_QUEUE);
        self.started = Instant::now();
        for group in devices.groups {
            tasks.spawn("crew", group.run(enough.clone(), failure_sender.clone()));
        }
        drop(failure_sender);
        tasks.spawn(
            "doomed",
            devices.device_to_revoke.run(
                DemoArgs::revocation_plan(limit),
                enough.clone(),
                report_sender,
            ),
        );
        let watched = tokio::select! {
            watched = self.watch(&mut reports) => watched,
            Some(failure) = failures.recv() => Err(failure),
            () = pause(limit) => Ok(()),
            () = stop.cancelled() => Ok(()),
        };
        enough.cancel();
        let span = self.started.elapsed();
        // A revocation that has begun completes.
        tasks.finish(PATIENCE + PATIENCE).await;
        watched?;
        while let Ok(report) = reports.try_recv() {
            self.record(report?);
        }
        failures.recv().await.map_or(Ok(span), Err)
    }

    /// Redraws every second. Returns when the screen is gone, or when the broker refuses devices
    /// their own topics.
    async fn watch(
        &mut self,
        reports: &mut mpsc::Receiver<Result<RevocationReport, Failure>>,
    ) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(report) = reports.recv() => self.record(report?),
                failure = self.daemon.died() => return Err(failure),
            }
            let figures = daemon_metrics::figures(self.daemon.ops()).await.map_err(no_figures)?;
            if let Err(error) = self.draw(&figures.since(&self.before)) {
                tracing::debug!(%error, "nobody is watching any more");
                return Ok(());
            }
            if self.tally.own_topic_refused() > 0 {
                return Ok(());
            }
        }
    }

    /// Prints a revocation report and keeps it for the summary.
    fn record(&mut self, report: RevocationReport) {
        if report.is_whole() {
            self.held += 1;
        } else {
            self.broken += 1;
        }
        if self.output == OutputFormat::Table {
            // The next redraw reports a closed output.
            let _ = self.screen.print_above(&report.lines());
        }
        if self.reports.len() == REPORTS_KEPT {
            self.reports.remove(0);
        }
        self.reports.push(report);
    }

    fn draw(&mut self, figures: &DaemonFigures) -> io::Result<()> {
        match self.output {
            OutputFormat::Table => {
                self.screen.draw(self.started.elapsed(), self.tally.published(), figures)
            }
            OutputFormat::Json => Ok(()),
        }
    }

    /// Waits until every message the broker acknowledged is kept; returns the last figures.
    async fn wait_until_kept(&mut self) -> Result<DaemonFigures, Failure> {
        let (mut progress, mut seen) = (Instant::now(), 0);
        loop {
            let figures = daemon_metrics::figures(self.daemon.ops())
                .await
                .map_err(no_figures)?
                .since(&self.before);
            if figures.kept() != seen {
                (progress, seen) = (Instant::now(), figures.kept());
            }
            let complete = seen >= self.tally.acknowledged() && figures.in_flight == 0;
            if complete || progress.elapsed() > PATIENCE {
                // A closed output must not hide the result.
                let _ = self.draw(&figures);
                return Ok(figures);
            }
            tokio::select! {
                failure = self.daemon.died() => return Err(failure),
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
        }
    }
}

// === private helpers ===

/// Returns at the second signal. The first one, SIGHUP included, stops the demonstration in order.
async fn follow_signals(stop: &CancellationToken) -> Failure {
    let kinds = (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
    let (Ok(mut int), Ok(mut term), Ok(mut hup)) =
        (signal(kinds.0), signal(kinds.1), signal(kinds.2))
    else {
        return Failure::new(
            Exit::Internal,
            "signals cannot be heard, so the demonstration could never be stopped",
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
        "a second signal: ended at once; the broker keeps what was not stored",
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

/// Waits for `limit`; `None` never returns.
async fn pause(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
