//! `sluice demo`: a simulated fleet before a running daemon, and what becomes of its messages, live.
//!
//! It is started by `scripts/demo`, between a broker and a database that nobody else uses: it registers its fleet there and
//! starts a daemon of its own. It ends with a sum: what the broker took over is what the database has, or it fails.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::demo_daemon::{Daemon, Launch};
use super::demo_screen::{Screen, Summary};
use super::fleet::{Fleet, MakeUp, Registration, TENANT};
use super::operator::{Operator, outage};
use super::output::{self, Output};
use super::scrape::{self, Figures};
use super::traffic::{Crew, Tally};
use super::{Exit, Failure};
use crate::broker::publisher::Publisher;
use crate::broker::trouble::Trouble;
use crate::config::broker::BrokerConfig;
use crate::config::ingest::RateLimit;
use crate::config::{Config, Sources};
use crate::domain::ids::{DeviceKey, TenantId};
use crate::lifecycle::Tasks;
use crate::store::devices::{self, DeviceError, NewDevice};
use crate::store::tenants::{self, TenantError};

/// Connections the fleet publishes on.
const CREWS: u8 = 4;

/// How often the figures are drawn.
const REDRAW: Duration = Duration::from_secs(1);

/// How often they are asked for while something is waited for.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// When nothing more is stored for so long although something is missing, it will not come.
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);

/// How large and how loud the demonstration is.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Publish for so many seconds, then print the summary; else until Ctrl-C
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Messages a second, of all devices together
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Devices that behave; some that misbehave are added
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=5000))]
    devices: u16,
    /// Where the daemon's log goes; it begins anew each time
    #[arg(long, value_name = "FILE", default_value = ".sluice/sluice.log")]
    log: PathBuf,
}

/// The demonstration while messages flow.
struct Stage {
    daemon: Daemon,
    /// The figures before the first message of this run.
    before: Figures,
    tally: Tally,
    screen: Screen,
    output: Output,
    started: Instant,
}

/// Runs the demonstration until its time is up or a signal comes; a second signal ends it at once.
pub async fn run(args: DemoArgs, config: &Config, sources: &Sources, output: Output) -> Result<Exit, Failure> {
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
    output: Output,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let (mut stage, crews) = tokio::select! {
        prepared = prepare(args, config, sources, output) => prepared?,
        () = stop.cancelled() => return Err(Failure::new(Exit::Done, "stopped before the first message")),
    };
    let span = stage.play(crews, args.seconds.map(Duration::from_secs), stop).await?;
    let last = stage.settle().await?;
    let stopped = stage.daemon.stop().await;
    if stage.tally.refused() > 0 {
        say(output, &format!("{} messages were refused by the broker", stage.tally.refused()))?;
    }
    let exit = conclude(&Summary::new(span, stage.tally.acknowledged(), &last), &last, output)?;
    stopped.map(|()| exit)
}

/// Everything up to the first message.
async fn prepare(
    args: &DemoArgs,
    config: &Config,
    sources: &Sources,
    output: Output,
) -> Result<(Stage, Vec<Crew>), Failure> {
    let rate_limit = args.rate_limit();
    let fleet = Fleet::new(args.make_up(config, rate_limit), secret()?);
    let (registrations, faulty) = (fleet.registrations(), fleet.faulty());
    // First of all: without a broker, nothing else is worth starting.
    let tally = Tally::default();
    let mut crews = Vec::new();
    for (number, squad) in fleet.into_squads(CREWS.into()).into_iter().enumerate() {
        let crew = Crew::connect(&config.broker, number, squad, f64::from(args.rate) / f64::from(CREWS), tally.clone());
        crews.push(crew.await.map_err(broker_failure)?);
    }
    let registered = register(registrations, config).await?;
    say(output, &format!("{} devices, and {faulty} that misbehave: {registered}", args.devices))?;
    let (ops, shutdown_timeout) = (config.http.ops_bind, config.process.shutdown_timeout);
    let mut daemon = Launch { sources, ops, rate_limit, log: &args.log, shutdown_timeout }.start().await?;
    let ops = daemon.ops();
    say(output, &format!("metrics      http://{ops}/metrics\nreadiness    http://{ops}/readyz"))?;
    let before = tokio::select! {
        before = overture(ops, &config.broker) => before?,
        failure = daemon.died() => return Err(failure),
    };
    if before.kept() > 0 {
        let kept = before.kept();
        say(output, &format!("{kept} messages of an earlier run were still with the broker; they are stored now"))?;
    }
    say(output, "")?;
    Ok((Stage { daemon, before, tally, screen: Screen::new(), output, started: Instant::now() }, crews))
}

// === impl DemoArgs ===

impl DemoArgs {
    /// Far above what a device that behaves sends, also after a moment in which nothing went out.
    fn rate_limit(&self) -> RateLimit {
        let per_device = (f64::from(self.rate) / f64::from(self.devices)).ceil();
        RateLimit { per_second: 2.0 * per_device, burst: (5.0 * per_device).max(100.0) }
    }

    /// The hasty device is left out where its outburst would be most of the traffic.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number far below 2^31")]
    fn make_up(&self, config: &Config, limit: RateLimit) -> MakeUp {
        let outburst = limit.burst as usize + 20;
        let bearable = outburst <= (self.rate as usize).max(150);
        let oversize = config.ingest.max_payload_bytes;
        MakeUp { devices: self.devices.into(), oversize, outburst: bearable.then_some(outburst) }
    }
}

// === impl Stage ===

impl Stage {
    /// Lets the crews publish and draws the figures; how long that was.
    async fn play(
        &mut self,
        crews: Vec<Crew>,
        limit: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<Duration, Failure> {
        let (mut tasks, enough) = (Tasks::default(), stop.child_token());
        let (trouble_in, mut troubles) = mpsc::channel(1);
        self.started = Instant::now();
        for crew in crews {
            tasks.spawn("crew", crew.work(enough.clone(), trouble_in.clone()));
        }
        drop(trouble_in);
        let watched = tokio::select! {
            watched = self.watch() => watched,
            Some(trouble) = troubles.recv() => Err(broker_failure(trouble)),
            () = pause(limit) => Ok(()),
            () = stop.cancelled() => Ok(()),
        };
        enough.cancel();
        let span = self.started.elapsed();
        tasks.finish(SETTLE_PATIENCE).await;
        watched?;
        troubles.recv().await.map_or(Ok(span), |trouble| Err(broker_failure(trouble)))
    }

    /// Draws again and again; ends only when something is wrong.
    async fn watch(&mut self) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                failure = self.daemon.died() => return Err(failure),
            }
            let figures = scrape::figures(self.daemon.ops()).await.map_err(no_figures)?;
            if let Err(error) = self.draw(&figures.since(&self.before)) {
                tracing::debug!(%error, "nobody is watching any more");
                return Ok(());
            }
        }
    }

    fn draw(&mut self, figures: &Figures) -> io::Result<()> {
        match self.output {
            Output::Table => self.screen.draw(self.started.elapsed(), self.tally.published(), figures),
            Output::Json => Ok(()),
        }
    }

    /// Waits until all that the broker took over is kept and acknowledged; the last figures.
    async fn settle(&mut self) -> Result<Figures, Failure> {
        let (mut progress, mut seen) = (Instant::now(), 0);
        loop {
            let figures = scrape::figures(self.daemon.ops()).await.map_err(no_figures)?.since(&self.before);
            if figures.kept() != seen {
                (progress, seen) = (Instant::now(), figures.kept());
            }
            let complete = seen >= self.tally.acknowledged() && figures.in_flight == 0;
            if complete || progress.elapsed() > SETTLE_PATIENCE {
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

/// Brings the schema up to date and the registry in line with the fleet. Every run has tokens of its own: they are in no
/// file, and those of an earlier run are void.
async fn register(registrations: Vec<Registration>, config: &Config) -> Result<String, Failure> {
    let operator = Operator::open(config)?;
    let (pool, actor) = (operator.database.pool(), &operator.actor);
    operator.database.migrate().await.map_err(|error| Failure::unavailable(error.to_string()))?;
    let tenant: TenantId = TENANT.parse().map_err(|_| Failure::new(Exit::Internal, "the demo's tenant has no name"))?;
    match tenants::add(pool, actor, &tenant, "Simulated by sluice demo").await {
        Ok(()) | Err(TenantError::Exists(_)) => {}
        Err(TenantError::Outage(error)) => return Err(outage(&error)),
        Err(error) => return Err(Failure::usage(error.to_string())),
    }
    let (mut added, mut known) = (0, 0);
    for registration in registrations {
        let key = DeviceKey::new(TENANT, &registration.device)
            .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        let (status, token) = (registration.status, Some(registration.token));
        let device =
            NewDevice { key, site: Some(registration.site.into()), status, token, metadata: serde_json::Map::new() };
        match devices::add(pool, actor, &device).await {
            Ok(()) => added += 1,
            Err(DeviceError::Exists(key)) => {
                known += 1;
                devices::set_token(pool, actor, &key, token.as_ref()).await.map_err(device_failure)?;
            }
            Err(error) => return Err(device_failure(error)),
        }
    }
    operator.database.close().await;
    Ok(format!("{added} registered now, {known} known from before, one left unregistered on purpose"))
}

/// Waits until everything an earlier run left with the broker is stored, so that it is not counted as this run's. Behind it
/// goes a message that is ignored, and of which nothing is ever left over: it is published at QoS 0.
async fn overture(ops: SocketAddr, broker: &BrokerConfig) -> Result<Figures, Failure> {
    let config = BrokerConfig { client_id: format!("{}-overture", broker.client_id), ..broker.clone() };
    let mut publisher = Publisher::connect(&config, 1).await.map_err(broker_failure)?;
    let topic = format!("tenant/{TENANT}/device/overture/commands");
    let begun = Instant::now();
    loop {
        publisher.publish_at_most_once(&topic, "{}").await.map_err(broker_failure)?;
        publisher.flush().await.map_err(broker_failure)?;
        let figures = scrape::figures(ops).await.map_err(no_figures)?;
        let all_kept = figures.received == figures.kept() + figures.ignored && figures.in_flight == 0;
        if figures.ignored > 0 && all_kept {
            publisher.close().await.map_err(broker_failure)?;
            return Ok(figures);
        }
        if begun.elapsed() > SETTLE_PATIENCE && figures.received == 0 {
            return Err(Failure::unavailable(
                "the daemon receives nothing of what is published: do both use one broker?",
            ));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn conclude(summary: &Summary, figures: &Figures, output: Output) -> Result<Exit, Failure> {
    match output {
        Output::Json => output::json(summary)?,
        Output::Table => writeln!(io::stdout(), "{}", summary.lines(figures).join("\n"))?,
    }
    Ok(if summary.adds_up { Exit::Done } else { Exit::Negative })
}

/// Words for people; a program asked for the summary alone.
fn say(output: Output, words: &str) -> Result<(), Failure> {
    if output == Output::Table {
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

fn secret() -> Result<[u8; 32], Failure> {
    let mut secret = [0; 32];
    let filled = getrandom::fill(&mut secret);
    filled
        .map_err(|error| Failure::new(Exit::Internal, format!("the system gave no randomness for tokens: {error}")))?;
    Ok(secret)
}

fn device_failure(error: DeviceError) -> Failure {
    match error {
        DeviceError::Outage(error) => outage(&error),
        error => Failure::usage(error.to_string()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where map_err wants a function of the value")]
fn broker_failure(trouble: Trouble) -> Failure {
    Failure::unavailable(trouble.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where map_err wants a function of the value")]
fn no_figures(error: io::Error) -> Failure {
    Failure::unavailable(format!("the daemon's metrics cannot be read: {error}"))
}
