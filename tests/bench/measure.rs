//! One round: a load, a consumer, and what each process and each message took.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::asking;
use crate::consoles::{Consoles, OpenConsoles};
use crate::links;
use crate::links::OtherBroker;
use crate::processes::{Owned, cpu, cpu_of_ended, peak_mib};
use crate::rows::{commit_latency, last_commit, wrong};
use crate::slowed::Slowed;
use crate::stage::{Daemon, Outcome, Stage};

/// Who takes the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// The bare subscriber: the broker alone.
    Drain,
    /// The bare consumer: speed of light.
    Bare,
    /// Sluice, with this many replicas.
    Sluice(usize),
}

/// In what else a round differs from the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Devices are authenticated by their certificates, Postgres is reached by its Unix socket.
    Usual,
    /// They are authenticated by the tokens in their messages; every run of the fleet makes new
    /// ones.
    Tokens,
    /// Postgres is reached by TCP.
    Tcp,
    /// With two lanes of the writer.
    Lanes,
    /// With this many lanes, and the processes of Postgres at most a fifth of a core each.
    Slowed(usize),
    /// Telemetry lies on an engine, which need not say when a row was committed.
    Engine,
    /// Devices may send requests, and none does.
    Api,
    /// Every device has sent a request.
    Asked,
    /// Every message is forwarded to another broker.
    Forwarded,
    /// The same, and the other broker is frozen.
    Outage,
    /// Five consoles and a tail are open.
    Watched,
}

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub qos: u8,
    pub devices: u64,
    pub messages: u64,
    /// Messages a second; 0: as fast as the broker takes them.
    pub rate: u64,
    /// The share that must be quarantined, in per cent.
    pub bad: u64,
    /// Whether the daemon has seen the devices before.
    pub warm: bool,
    /// Whether the rows that are there stay.
    pub on_top: bool,
    pub way: Way,
}

/// What a round gave. CPU times are microseconds for each message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    pub rate: f64,
    pub own: f64,
    pub broker: f64,
    pub database: f64,
    pub publisher: f64,
    pub memory_mib: f64,
    /// From the device's clock to the commit: p50, p99, p99.9, largest; milliseconds.
    pub latency: Option<[f64; 4]>,
    /// Messages that are missing or doubled.
    pub wrong: f64,
    /// How many times smaller rows became, where that was measured.
    pub smaller: Option<f64>,
}

/// When nothing more happens for so long, nothing more will.
const STALLED: Duration = Duration::from_secs(10);

/// How often a daemon is asked how far it is: not so often that it would notice.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// CPU times at one moment.
struct Clocks {
    own: u64,
    broker: u64,
    database: u64,
    ended: u64,
}

enum Taker {
    Yardstick(Owned),
    Daemons(Vec<Daemon>),
}

/// Runs one round.
pub fn round(stage: &Stage, consumer: Consumer, load: Load) -> Outcome<Round> {
    if !load.on_top {
        stage.clear()?;
    }
    let other = OtherBroker::of(stage, load.way)?;
    let consoles = Consoles::of(load.way)?;
    let mut taker = Taker::start(stage, consumer, load, (other.as_ref(), consoles.as_ref()))?;
    if load.warm
        && let Taker::Daemons(daemons) = &taker
    {
        let warming = Load { messages: load.devices, rate: 0, qos: 1, bad: 0, ..load };
        stage.fleet(&warming.arguments())?.finish()?;
        wait(daemons, warming.messages)?;
        if load.way == Way::Asked {
            asking::each_once(stage, load.devices)?;
        }
        other.as_ref().map_or(Ok(()), |_| links::wait(stage))?;
        if !load.on_top {
            stage.clear()?;
        }
    }
    links::begin_outage(other.as_ref(), load.way)?;
    let open = consoles.as_ref().map(Consoles::open).transpose()?;
    let slowed = Slowed::of(stage, load.way);
    let (done_before, before) = (taker.done()?, Clocks::read(stage, &taker));
    let fleet = stage.fleet(&load.arguments())?;
    let (said, content) = fleet.finish()?;
    let publisher = cpu_of_ended() - before.ended;
    if !content {
        return Err(format!("the fleet failed; see fleet.log in {}", stage.out.display()).into());
    }
    let summary: Value = serde_json::from_str(&said)?;
    let sent = summary["sent"].as_u64().ok_or("no count")?;
    let said_done = taker.wait(done_before + sent)?;
    drop(slowed);
    if load.way == Way::Forwarded {
        links::wait(stage)?;
    }
    let (after, memory_mib) = (Clocks::read(stage, &taker), taker.memory());
    let unseen = open.map_or(0.0, OpenConsoles::close);
    // On top of many rows it would take long to look.
    let by_daemon = consumer == Consumer::Drain || load.on_top || load.way == Way::Engine;
    let ended = if by_daemon { said_done } else { last_commit(stage)? };
    let latency =
        if load.rate > 0 && consumer != Consumer::Drain { commit_latency(stage)? } else { None };
    let each = |micros: u64| micros as f64 / sent as f64;
    let span = ended - summary["messages"]["began_us"].as_i64().ok_or("no time")? as f64;
    let round = Round {
        rate: sent as f64 / span * 1e6,
        own: each(after.own - before.own),
        broker: each(after.broker - before.broker),
        database: each(after.database.saturating_sub(before.database)),
        publisher: each(publisher),
        memory_mib,
        latency,
        wrong: wrong(stage, consumer, &summary)?
            + unseen
            + if load.way == Way::Forwarded { links::unsent(stage)? } else { 0.0 },
        smaller: None,
    };
    taker.stop(stage)?;
    if load.way == Way::Outage {
        links::forget(stage)?;
    }
    Ok(round)
}

/// The database alone: this many rows into the table as it is.
pub fn copy_alone(stage: &Stage, devices: u64, messages: u64) -> Outcome<Round> {
    copy_rows(stage, devices, messages, 1_000)
}

/// The same in batches of this many rows.
pub fn copy_rows(stage: &Stage, devices: u64, messages: u64, batch: u64) -> Outcome<Round> {
    let before = stage.postgres.settled_cpu();
    let begun = Instant::now();
    let arguments = [
        "copy".to_owned(),
        stage.socket.display().to_string(),
        stage.postgres.port.to_string(),
        devices.to_string(),
        messages.to_string(),
        batch.to_string(),
    ];
    Stage::yardstick(&arguments)?.finish()?;
    let rate = messages as f64 / begun.elapsed().as_secs_f64();
    let database = (stage.postgres.settled_cpu() - before) as f64 / messages as f64;
    Ok(Round { rate, database, ..Round::default() })
}

/// Fills the table with this many rows.
pub fn lay(stage: &Stage, devices: u64, rows: u64) -> Outcome<()> {
    println!("laying a ground of {rows} rows");
    stage.clear()?;
    copy_alone(stage, devices, rows)?;
    stage.database()?.query("CHECKPOINT").map(drop)?;
    Ok(())
}

/// Everything is delivered again: messages that one session holds unacknowledged while another
/// daemon has stored them all.
pub fn redelivery(stage: &Stage, load: Load) -> Outcome<Round> {
    stage.clear()?;
    let hoard = [
        "hoard".to_owned(),
        stage.mqtt_port.to_string(),
        "bench-late".into(),
        load.messages.to_string(),
    ];
    let hoarder = Stage::yardstick(&hoard)?;
    let first = stage.daemon("bench-first", &[])?;
    let (said, _) = stage.fleet(&load.arguments())?.finish()?;
    wait(std::slice::from_ref(&first), load.messages)?;
    stage.dismiss(first)?;
    hoarder.finish()?;
    let database = stage.postgres.cpu();
    let broker = cpu(stage.mosquitto);
    let begun = Instant::now();
    let daemons = [stage.daemon("bench-late", &[])?];
    wait(&daemons, load.messages)?;
    let each = |micros: u64| micros as f64 / load.messages as f64;
    let [daemon] = daemons;
    let done = daemon.done()?;
    let round = Round {
        rate: load.messages as f64 / begun.elapsed().as_secs_f64(),
        own: each(cpu(daemon.process.id())),
        broker: each(cpu(stage.mosquitto) - broker),
        database: each(stage.postgres.cpu() - database),
        memory_mib: peak_mib(daemon.process.id()),
        wrong: wrong(stage, Consumer::Sluice(1), &serde_json::from_str(&said)?)?
            + done.stored as f64,
        ..Round::default()
    };
    stage.dismiss(daemon)?;
    Ok(round)
}

impl Round {
    /// One that came to no end.
    pub fn failed() -> Self {
        let none = f64::NAN;
        Self {
            rate: none,
            own: none,
            broker: none,
            database: none,
            publisher: none,
            memory_mib: none,
            latency: None,
            wrong: 1.0,
            smaller: None,
        }
    }
}

impl Load {
    pub fn arguments(self) -> Vec<String> {
        let Self { qos, devices, messages, rate, bad, .. } = self;
        let auth = if self.way == Way::Tokens { "token" } else { "certificate --keep" };
        let connections = if rate == 0 || rate > 1000 { 4 } else { 1 };
        format!(
            "--auth {auth} --tenants 20 --seconds 600 --qos {qos} --devices {devices} --messages {messages} \
             --rate {rate} --bad {} --connections {connections}",
            bad as f64 / 100.0
        )
        .split_whitespace()
        .map(str::to_owned)
        .collect()
    }
}

impl Clocks {
    fn read(stage: &Stage, taker: &Taker) -> Self {
        Self {
            own: taker.ids().into_iter().map(cpu).sum(),
            broker: cpu(stage.mosquitto),
            database: stage.postgres.cpu(),
            ended: cpu_of_ended(),
        }
    }
}

impl Taker {
    fn start(
        stage: &Stage,
        consumer: Consumer,
        load: Load,
        (other, consoles): (Option<&OtherBroker>, Option<&Consoles>),
    ) -> Outcome<Self> {
        let (port, qos, messages) =
            (stage.mqtt_port.to_string(), load.qos.to_string(), load.messages.to_string());
        let socket = stage.socket.display().to_string();
        let by_tcp = stage.database_url(Some(stage.tcp_port));
        let settings = match load.way {
            Way::Usual | Way::Engine | Way::Slowed(1) => vec![],
            Way::Watched => consoles.map(Consoles::settings).unwrap_or_default(),
            Way::Forwarded | Way::Outage => other.map(OtherBroker::setting).into_iter().collect(),
            Way::Tokens => vec![("CERT_AUTH_ENABLED", "0"), ("REQUIRE_TOKEN", "1")],
            Way::Tcp => vec![("DATABASE_URL", by_tcp.as_str())],
            Way::Lanes | Way::Slowed(_) => vec![("WRITER_LANES", "2")],
            Way::Api | Way::Asked => asking::OPEN.to_vec(),
        };
        Ok(match consumer {
            Consumer::Drain => {
                Self::Yardstick(Stage::yardstick(&["drain".into(), port, qos, messages])?)
            }
            Consumer::Bare => {
                Self::Yardstick(Stage::yardstick(&["consume".into(), port, qos, socket, messages])?)
            }
            Consumer::Sluice(1) => Self::Daemons(vec![stage.daemon("bench-0", &settings)?]),
            Consumer::Sluice(replicas) => {
                let shared = [("MQTT_SHARE_GROUP", "bench")];
                let daemons =
                    (0..replicas).map(|number| stage.daemon(&format!("bench-{number}"), &shared));
                Self::Daemons(daemons.collect::<Outcome<_>>()?)
            }
        })
    }

    fn ids(&self) -> Vec<u32> {
        match self {
            Self::Yardstick(process) => vec![process.id()],
            Self::Daemons(daemons) => daemons.iter().map(|daemon| daemon.process.id()).collect(),
        }
    }

    fn memory(&self) -> f64 {
        self.ids().into_iter().map(peak_mib).fold(0.0, f64::max)
    }

    fn done(&self) -> Outcome<u64> {
        match self {
            Self::Yardstick(_) => Ok(0),
            Self::Daemons(daemons) => done(daemons),
        }
    }

    /// Waits until all is done; when that was, in microseconds since 1970.
    fn wait(&mut self, messages: u64) -> Outcome<f64> {
        match self {
            Self::Yardstick(process) => {
                let line = process.line()?;
                Ok(line.strip_prefix("done ").ok_or("a yardstick did not finish")?.parse()?)
            }
            Self::Daemons(daemons) => wait(daemons, messages),
        }
    }

    fn stop(self, stage: &Stage) -> Outcome<()> {
        match self {
            Self::Yardstick(process) => Ok(process.finish().map(drop)?),
            Self::Daemons(daemons) => {
                daemons.into_iter().try_for_each(|daemon| stage.dismiss(daemon))
            }
        }
    }
}

fn done(daemons: &[Daemon]) -> Outcome<u64> {
    daemons.iter().map(|daemon| Ok(daemon.done()?.all())).sum()
}

/// Waits until the daemons have done so many; when that was. At QoS 0 the broker may have dropped
/// some: then until nothing more happens, which ends it with the last that did.
pub fn wait(daemons: &[Daemon], messages: u64) -> Outcome<f64> {
    let (mut seen, mut progress, mut at) = (0, Instant::now(), now_micros());
    loop {
        let now = done(daemons)?;
        if now != seen {
            (seen, progress, at) = (now, Instant::now(), now_micros());
        }
        if seen >= messages || progress.elapsed() > STALLED {
            return Ok(at);
        }
        thread::sleep(ASK_EVERY);
    }
}

/// Waits until a daemon has done so many.
pub fn wait_for_idle(daemon: &Daemon, messages: u64) -> Outcome<()> {
    let begun = Instant::now();
    while daemon.done()?.all() < messages && begun.elapsed() < STALLED {
        thread::sleep(ASK_EVERY);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the bench has no clock to be handed")]
fn now_micros() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_micros() as f64)
}
