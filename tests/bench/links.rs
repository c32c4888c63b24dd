//! What forwarding costs: every accepted message goes to another broker over one lane, to a Mosquitto
//! without a subscriber.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::measure::{self, Load, Round, Way};
use crate::plan::{
    Case, Extent, Measured, Run, Set, Target, alone, cpu_of_both, least, most, of, ratio, sluice,
};
use crate::processes::{Owned, cpu, peak_mib};
use crate::stage::{Outcome, Stage};

const OFF: &str = "sluice at 2,000/s, no link";
const ON: &str = "sluice at 2,000/s, all forwarded";
const FAST: &str = "sluice at 5,000/s, all forwarded";
const AWAY: &str = "sluice at 2,000/s, other broker away";
const BACKLOG: &str = "a backlog over one lane";

/// Pairs of rounds with and without a link.
const PAIRS: usize = 3;

/// Messages that wait when the other broker returns.
const WAITING: u64 = 50_000;

/// How often the outbox is looked at.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// When it does not become empty by then, it will not.
const PATIENCE: Duration = Duration::from_mins(2);

/// The other broker; it ends when this is dropped.
pub struct OtherBroker {
    process: Owned,
    links: String,
}

pub fn sets(extent: Extent, full: Load) -> Vec<Set> {
    let at = |rate: u64| Load { messages: rate * extent.seconds, rate, ..full };
    let forwarded = |load| Load { way: Way::Forwarded, ..load };
    let waiting = forwarded(Load { messages: WAITING.min(full.messages), ..full });
    let run: Run = Box::new(move |stage| backlog(stage, waiting));
    vec![
        Set {
            cases: vec![
                sluice(OFF, at(2_000)),
                sluice(ON, forwarded(at(2_000))),
                sluice(AWAY, Load { way: Way::Outage, ..at(2_000) }),
            ],
            times: PAIRS,
        },
        alone(sluice(FAST, forwarded(at(5_000)))),
        alone(Case { name: BACKLOG.into(), ground: 0, run }),
    ]
}

pub fn targets(measured: &Measured) -> Vec<Target> {
    let p99 = |name: &str| Some(of(measured, name)?.latency?[1]);
    vec![
        most("CPU of both, all forwarded, of none", ratio(measured, ON, OFF, cpu_of_both), 1.5),
        most("latency at 2,000/s, all forwarded, p99 ms", p99(ON), 15.0),
        most("latency at 2,000/s, other broker away, p99 ms", p99(AWAY), 15.0),
        least(
            "messages a second over one lane",
            of(measured, BACKLOG).map(|round| round.rate),
            5_000.0,
        ),
    ]
}

/// The rate at which a lane empties the outbox after an outage of the other broker.
fn backlog(stage: &Stage, load: Load) -> Outcome<Round> {
    stage.clear()?;
    let other = OtherBroker::of(stage, load.way)?.ok_or("no other broker")?;
    let daemons = [stage.daemon("bench-0", &[other.setting()])?];
    let warming = Load { messages: load.devices, ..load };
    stage.fleet(&warming.arguments())?.finish()?;
    measure::wait(&daemons, warming.messages)?;
    wait(stage)?;
    stage.clear()?;
    let before = daemons[0].done()?.all();
    other.signal("STOP")?;
    let (said, _) = stage.fleet(&load.arguments())?.finish()?;
    let summary: Value = serde_json::from_str(&said)?;
    let sent = summary["sent"].as_u64().ok_or("no count")?;
    measure::wait(&daemons, before + sent)?;
    let [daemon] = daemons;
    let own = cpu(daemon.process.id());
    let database = stage.postgres.cpu();
    let begun = Instant::now();
    other.signal("CONT")?;
    wait(stage)?;
    let rate = sent as f64 / begun.elapsed().as_secs_f64();
    let each = |micros: u64| micros as f64 / sent as f64;
    let round = Round {
        rate,
        own: each(cpu(daemon.process.id()) - own),
        database: each(stage.postgres.cpu().saturating_sub(database)),
        memory_mib: peak_mib(daemon.process.id()),
        wrong: unsent(stage)?,
        ..Round::default()
    };
    stage.dismiss(daemon)?;
    Ok(round)
}

/// Freezes the other broker when its outage is measured: before that everything has been sent.
pub fn begin_outage(other: Option<&OtherBroker>, way: Way) -> Outcome<()> {
    match other {
        Some(other) if way == Way::Outage => other.signal("STOP"),
        _ => Ok(()),
    }
}

/// Removes what waits, so that the next round begins without it.
pub fn forget(stage: &Stage) -> Outcome<()> {
    stage
        .database()?
        .query("TRUNCATE link_outbox, link_counts, link_gaps, link_refused")
        .map(drop)?;
    Ok(())
}

/// Waits until nothing waits for the other broker any more.
pub fn wait(stage: &Stage) -> Outcome<()> {
    let mut database = stage.database()?;
    let begun = Instant::now();
    while database.value("SELECT EXISTS (SELECT FROM link_outbox)")? == "t" {
        if begun.elapsed() > PATIENCE {
            return Err("the outbox does not become empty".into());
        }
        thread::sleep(ASK_EVERY);
    }
    Ok(())
}

/// Messages that are not at the other broker: refused by it, or behind a gap.
pub fn unsent(stage: &Stage) -> Outcome<f64> {
    let unsent = stage.database()?.value(
        "SELECT (SELECT count(*) FROM link_outbox) + (SELECT count(*) FROM link_refused) \
         + (SELECT coalesce(sum(messages), 0) FROM link_gaps)",
    )?;
    Ok(unsent.parse()?)
}

impl OtherBroker {
    /// One that takes what is forwarded; none where nothing is.
    pub fn of(stage: &Stage, way: Way) -> Outcome<Option<Self>> {
        if !matches!(way, Way::Forwarded | Way::Outage) {
            return Ok(None);
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = stage.out.join("other.conf");
        let settings = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n\
             max_inflight_messages 0\nlog_type error\nlog_dest stderr\n"
        );
        fs::write(&config, settings)?;
        let log = fs::File::create(stage.out.join("other.log"))?;
        let process = Owned::start(Command::new("mosquitto").arg("-c").arg(config).stderr(log))?;
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > PATIENCE {
                return Err("the other broker does not start; see other.log".into());
            }
            thread::sleep(ASK_EVERY);
        }
        let links = stage.out.join("links.toml");
        let text = format!(
            "[link.other]\nkind = \"mqtt\"\nhost = \"127.0.0.1\"\nport = {port}\n\
             transport = \"tcp\"\nclient_id = \"bench-link\"\nauth = \"none\"\n\
             publish = [{{ from = \"tenant/+/device/+/#\", \
             to = \"forwarded/{{tenant}}/{{device}}/{{type}}\", mode = \"binary\" }}]\n"
        );
        fs::write(&links, text)?;
        let links = links.to_str().ok_or("a path")?.to_owned();
        Ok(Some(Self { process, links }))
    }

    /// The setting of a daemon that forwards to it.
    pub fn setting(&self) -> (&'static str, &str) {
        ("LINKS_PATH", &self.links)
    }

    fn signal(&self, name: &str) -> Outcome<()> {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status()?;
        if sent.success() { Ok(()) } else { Err("the other broker is gone".into()) }
    }
}
