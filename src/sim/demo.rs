//! `sluice demo`: a simulated fleet before a running daemon, and what becomes of its messages, live.
//!
//! It is started by `scripts/demo`, between a broker and a database that nobody else uses: it registers its fleet there and
//! starts a daemon of its own. It ends with a sum: what the broker took over is what the database has, or it fails; and the
//! device that was revoked on the way is out, or it fails. It also fails when nothing is stored, and ends early when the
//! broker refuses a device its own topics.

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
use super::fleet::demo_fleet::{DOOMED, DemoFleet, DemoFleetSpec};
use super::fleet::device_listener::DeviceListener;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::config::sections::ingest::RateLimit;
use crate::config::{Config, Sources};
use crate::lifecycle::Tasks;
use daemon_process::{DaemonProcess, Launch};
use prepare::{ASK_EVERY, EnrolledFleet, PATIENCE, no_figures};
use revocation::{ConnectAttempts, DeviceToRevoke, RevocationPlan};
use revocation_report::RevocationReport;
use screen::Screen;
use summary::DemoSummary;
use traffic::{DeviceGroup, TrafficTally};

/// Tasks the fleet's devices are shared out among.
const CREWS: u8 = 4;

/// How often the figures are drawn.
const REDRAW: Duration = Duration::from_secs(1);

/// Without an end, this long after the start a device loses its certificate, ...
const FIRST_REVOCATION: Duration = Duration::from_secs(10);

/// ... and this long after that it has a new one, and this long after that it loses it again.
const AGAIN: Duration = Duration::from_secs(20);

/// Stories that wait to be told; there is one device to tell of.
const STORIES: usize = 4;

/// Stories the summary tells; a run of a day has thousands.
const STORIES_KEPT: usize = 3;

/// Each device is a connection of its own, and an ordinary process, the broker too, may have 1024 files open.
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

/// The demonstration while messages flow.
struct DemoContext {
    daemon: DaemonProcess,
    /// The figures before the first message of this run.
    before: DaemonFigures,
    tally: TrafficTally,
    knocks: ConnectAttempts,
    /// The last revocations.
    stories: Vec<RevocationReport>,
    /// All of them that held.
    held: u64,
    /// All of them that did not.
    broken: u64,
    screen: Screen,
    output: OutputFormat,
    started: Instant,
}

/// The devices.
struct DemoDevices {
    crews: Vec<DeviceGroup>,
    doomed: DeviceToRevoke,
}

/// Runs the demonstration until its time is up or a signal comes; a second signal ends it at once.
pub async fn run(args: DemoArgs, config: &Config, sources: &Sources, output: OutputFormat) -> Result<Exit, Failure> {
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
    let (mut stage, cast) = tokio::select! {
        prepared = prepare(args, config, sources, output) => prepared?,
        () = stop.cancelled() => return Err(Failure::new(Exit::Done, "stopped before the first message")),
    };
    let span = stage.play(cast, args.seconds.map(Duration::from_secs), stop).await?;
    let last = stage.settle().await?;
    let stopped = stage.daemon.stop().await;
    let summary = DemoSummary::new(span, &stage.tally, &last).with_revocations(stage.stories, stage.held, stage.broken);
    let summary = summary.with_knocks(stage.knocks.refused(), stage.knocks.let_in());
    let exit = conclude(&summary, &last, output)?;
    stopped.map(|()| exit)
}

/// Everything up to the first message.
async fn prepare(
    args: &DemoArgs,
    config: &Config,
    sources: &Sources,
    output: OutputFormat,
) -> Result<(DemoContext, DemoDevices), Failure> {
    let rate_limit = args.rate_limit();
    let fleet = DemoFleet::new(args.make_up(config, rate_limit));
    // First of all: without a broker, nothing else is worth starting.
    let overture = prepare::greet(&config.broker).await?;
    let gate = DeviceListener::of(config)?;
    say(output, "registering the devices, and issuing their certificates")?;
    let (enrolled, watch) = prepare::enroll(&fleet, config, &args.certificates).await?;
    let (faulty, issued) = (fleet.faulty(), enrolled.papers.values().filter(|papers| papers.is_new).count());
    let known = enrolled.papers.len() - issued;
    let devices = format!("{} devices, {faulty} that misbehave, and one, {DOOMED}, that will be revoked", args.devices);
    say(output, &format!("{devices}\n{issued} certificates were issued now, {known} are from before"))?;
    let (ops, shutdown_timeout) = (config.http.ops_bind, config.process.shutdown_timeout);
    let mut daemon = Launch { sources, ops, rate_limit, log: &args.log, shutdown_timeout }.start().await?;
    let ops = daemon.ops();
    say(output, &format!("metrics      http://{ops}/metrics\nreadiness    http://{ops}/readyz"))?;
    let ready = async {
        prepare::await_chain(watch).await?;
        prepare::overture(ops, overture).await
    };
    let before = tokio::select! {
        before = ready => before?,
        failure = daemon.died() => return Err(failure),
    };
    if before.kept() > 0 {
        let kept = before.kept();
        say(output, &format!("{kept} messages of an earlier run were still with the broker; they are stored now"))?;
    }
    let (tally, knocks) = (TrafficTally::default(), ConnectAttempts::default());
    let cast = args.cast(fleet, enrolled, gate, &tally, &knocks).await?;
    say(output, "")?;
    let (stories, screen, started) = (Vec::new(), Screen::new(), Instant::now());
    let stage = DemoContext { daemon, before, tally, knocks, stories, held: 0, broken: 0, screen, output, started };
    Ok((stage, cast))
}

// === impl DemoArgs ===

impl DemoArgs {
    /// Far above what a device that behaves sends, also after a moment in which nothing went out.
    fn rate_limit(&self) -> RateLimit {
        let per_device = (f64::from(self.rate) / f64::from(self.devices)).ceil();
        // The doomed one speaks five times a second, whatever the others do.
        RateLimit { per_second: (2.0 * per_device).max(10.0), burst: (5.0 * per_device).max(100.0) }
    }

    /// The hasty device is left out where its outburst would be most of the traffic.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number far below 2^31")]
    fn make_up(&self, config: &Config, limit: RateLimit) -> DemoFleetSpec {
        // More than the limit lets pass while it bursts out.
        let outburst = (limit.burst + limit.per_second / 5.0) as usize + 20;
        let bearable = outburst <= (self.rate as usize).max(150);
        let oversize = config.ingest.max_payload_bytes;
        DemoFleetSpec { devices: self.devices.into(), oversize, outburst: bearable.then_some(outburst) }
    }

    /// Connects every device with its certificate.
    async fn cast(
        &self,
        fleet: DemoFleet,
        enrolled: EnrolledFleet,
        gate: DeviceListener,
        tally: &TrafficTally,
        knocks: &ConnectAttempts,
    ) -> Result<DemoDevices, Failure> {
        let EnrolledFleet { operator, wallet, mut papers } = enrolled;
        let mut squads = fleet.into_squads(CREWS.into());
        let (Some(squad), Some(own)) = (squads.pop(), papers.remove(DOOMED)) else {
            return Err(Failure::new(Exit::Internal, "the fleet has no device to revoke"));
        };
        let pace = f64::from(self.rate) / f64::from(CREWS);
        let mut crews = Vec::new();
        for squad in squads {
            crews.push(DeviceGroup::connect(&gate, &papers, squad, pace, tally.clone()).await?);
        }
        let (tally, knocks) = (tally.clone(), knocks.clone());
        Ok(DemoDevices { crews, doomed: DeviceToRevoke { operator, wallet, papers: own, gate, squad, tally, knocks } })
    }

    /// Half way, or again and again.
    fn plan(limit: Option<Duration>) -> RevocationPlan {
        let first = limit.map_or(FIRST_REVOCATION, |limit| limit / 2);
        RevocationPlan { first, again: limit.is_none().then_some(AGAIN) }
    }
}

// === impl Stage ===

impl DemoContext {
    /// Lets the devices publish and draws the figures; how long that was.
    async fn play(
        &mut self,
        cast: DemoDevices,
        limit: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<Duration, Failure> {
        let (mut tasks, enough) = (Tasks::default(), stop.child_token());
        let (trouble_in, mut troubles) = mpsc::channel(1);
        let (story_in, mut stories) = mpsc::channel(STORIES);
        self.started = Instant::now();
        for crew in cast.crews {
            tasks.spawn("crew", crew.work(enough.clone(), trouble_in.clone()));
        }
        drop(trouble_in);
        tasks.spawn("doomed", cast.doomed.work(DemoArgs::plan(limit), enough.clone(), story_in));
        let watched = tokio::select! {
            watched = self.watch(&mut stories) => watched,
            Some(failure) = troubles.recv() => Err(failure),
            () = pause(limit) => Ok(()),
            () = stop.cancelled() => Ok(()),
        };
        enough.cancel();
        let span = self.started.elapsed();
        // Also a revocation that has begun comes to its end.
        tasks.finish(PATIENCE + PATIENCE).await;
        watched?;
        while let Ok(story) = stories.try_recv() {
            self.tell(story?);
        }
        troubles.recv().await.map_or(Ok(span), Err)
    }

    /// Draws again and again; ends only when something is wrong: also when devices may not publish, which would only go on.
    async fn watch(&mut self, stories: &mut mpsc::Receiver<Result<RevocationReport, Failure>>) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(story) = stories.recv() => self.tell(story?),
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

    /// Shows how a certificate ended, and remembers it for the summary.
    fn tell(&mut self, story: RevocationReport) {
        if story.is_whole() {
            self.held += 1;
        } else {
            self.broken += 1;
        }
        if self.output == OutputFormat::Table {
            // Who no longer watches is noticed when the figures are drawn.
            let _ = self.screen.tell(&story.lines());
        }
        if self.stories.len() == STORIES_KEPT {
            self.stories.remove(0);
        }
        self.stories.push(story);
    }

    fn draw(&mut self, figures: &DaemonFigures) -> io::Result<()> {
        match self.output {
            OutputFormat::Table => self.screen.draw(self.started.elapsed(), self.tally.published(), figures),
            OutputFormat::Json => Ok(()),
        }
    }

    /// Waits until all that the broker took over is kept and acknowledged; the last figures.
    async fn settle(&mut self) -> Result<DaemonFigures, Failure> {
        let (mut progress, mut seen) = (Instant::now(), 0);
        loop {
            let figures = daemon_metrics::figures(self.daemon.ops()).await.map_err(no_figures)?.since(&self.before);
            if figures.kept() != seen {
                (progress, seen) = (Instant::now(), figures.kept());
            }
            let complete = seen >= self.tally.acknowledged() && figures.in_flight == 0;
            if complete || progress.elapsed() > PATIENCE {
                // Who no longer watches may still want to know how it ended.
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

/// Ends at the second signal. The first one, and the end of the terminal too, ends the demonstration in order.
async fn follow_signals(stop: &CancellationToken) -> Failure {
    let kinds = (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
    let (Ok(mut int), Ok(mut term), Ok(mut hup)) = (signal(kinds.0), signal(kinds.1), signal(kinds.2)) else {
        return Failure::new(Exit::Internal, "signals cannot be heard, so the demonstration could never be stopped");
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
    Failure::new(Exit::Internal, "a second signal: ended at once; the broker keeps what was not stored")
}

fn conclude(summary: &DemoSummary, figures: &DaemonFigures, output: OutputFormat) -> Result<Exit, Failure> {
    match output {
        OutputFormat::Json => {
            table::json(summary)?;
            // The program that reads the summary has the figures; whoever started it has the reason.
            if let Some(why) = summary.shortcoming() {
                writeln!(io::stderr(), "{why}")?;
            }
        }
        OutputFormat::Table => writeln!(io::stdout(), "{}", summary.lines(figures).join("\n"))?,
    }
    Ok(if summary.is_good() { Exit::Done } else { Exit::Negative })
}

/// Words for people; a program asked for the summary alone.
fn say(output: OutputFormat, words: &str) -> Result<(), Failure> {
    if output == OutputFormat::Table {
        writeln!(io::stdout(), "{words}")?;
    }
    Ok(())
}

/// Waits so long, or for ever.
async fn pause(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
