//! What is measured, in which order, and what is wanted of it.

use std::collections::BTreeMap;

use crate::hooks;
use crate::measure::{Consumer, Load, Round, Way, copy_alone, redelivery, round};
use crate::stage::{Outcome, Stage};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Messages of a round at full rate.
    pub messages: u64,
    /// Seconds of a round at a fixed rate.
    pub seconds: u64,
    pub rounds: usize,
    /// Rows there are when the cost of growing is measured; 0: it is not.
    pub grow: u64,
}

/// One thing that is measured.
pub struct Case {
    pub name: String,
    /// Rows that lie in the table before its rounds, which come after those of all others; 0: none.
    pub ground: u64,
    pub run: Run,
}

type Run = Box<dyn Fn(&Stage) -> Outcome<Round>>;

/// One thing that is wanted.
pub struct Target {
    pub what: &'static str,
    pub value: Option<f64>,
    pub bound: f64,
    /// Whether the bound is the least or the most.
    pub at_least: bool,
}

/// Devices of the small and of the large fleet.
pub const SMALL: u64 = 10_000;
pub const LARGE: u64 = 100_000;

/// At QoS 0 nobody slows the publisher down: a rate that all can follow.
const QOS0_RATE: u64 = 20_000;

/// What a lone message is: so far from the next that nothing is shared.
const LONE_RATE: u64 = 5;

/// Messages that one session can hold unacknowledged, and a little less.
const HOARD: u64 = 50_000;

/// By name, the median round.
pub type Medians = BTreeMap<String, Round>;

pub fn cases(extent: Extent) -> Vec<Case> {
    let messages = extent.messages;
    let way = Way::Usual;
    let full = Load { qos: 1, devices: SMALL, messages, rate: 0, bad: 0, warm: true, on_top: false, way };
    let at = |rate: u64| Load { messages: rate * extent.seconds, rate, ..full };
    let at_most_once = Load { qos: 0, ..at(QOS0_RATE) };
    let mut cases = vec![
        case("broker alone, QoS 1", Consumer::Drain, full),
        case("broker alone, QoS 0 at 20,000/s", Consumer::Drain, at_most_once),
        Case {
            name: "database alone, COPY".into(),
            ground: 0,
            run: Box::new(move |stage| stage.clear().and_then(|()| copy_alone(stage, SMALL, full.messages))),
        },
        case("bare consumer, QoS 1", Consumer::Bare, full),
        case("bare consumer, QoS 0 at 20,000/s", Consumer::Bare, at_most_once),
        case("sluice, QoS 1", Consumer::Sluice(1), full),
        case("sluice, QoS 0 at 20,000/s", Consumer::Sluice(1), at_most_once),
        case("sluice, 100,000 devices", Consumer::Sluice(1), Load { devices: LARGE, ..full }),
        case("sluice, 100,000 devices never seen", Consumer::Sluice(1), Load { devices: LARGE, warm: false, ..full }),
        case("sluice, 1 % quarantined", Consumer::Sluice(1), Load { bad: 1, ..full }),
        case("sluice, 10 % quarantined", Consumer::Sluice(1), Load { bad: 10, ..full }),
        case("sluice, 50 % quarantined", Consumer::Sluice(1), Load { bad: 50, ..full }),
        case("sluice, two replicas", Consumer::Sluice(2), full),
        case("sluice, believed by tokens", Consumer::Sluice(1), Load { warm: false, way: Way::Tokens, ..full }),
        case("sluice, Postgres by TCP", Consumer::Sluice(1), Load { way: Way::Tcp, ..full }),
        Case {
            name: "sluice, everything delivered again".into(),
            ground: 0,
            run: Box::new(move |stage| redelivery(stage, Load { messages: full.messages.min(HOARD), ..full })),
        },
        case("sluice at 500/s", Consumer::Sluice(1), at(500)),
        case("bare consumer at 2,000/s", Consumer::Bare, at(2_000)),
        case("sluice at 2,000/s", Consumer::Sluice(1), at(2_000)),
        case("sluice at 2,000/s, Postgres by TCP", Consumer::Sluice(1), Load { way: Way::Tcp, ..at(2_000) }),
        case("sluice at 2,000/s, 10 % quarantined", Consumer::Sluice(1), Load { bad: 10, ..at(2_000) }),
        case("sluice at 10,000/s", Consumer::Sluice(1), at(10_000)),
        case("sluice, lone messages", Consumer::Sluice(1), at(LONE_RATE)),
    ];
    cases.extend([1, 4].map(|connections| {
        let name = format!("broker's questions at {}/s, {connections} conn.", hooks::RATE);
        let asked = Box::new(move |stage: &Stage| hooks::round(stage, connections, extent.seconds));
        Case { run: asked, ..case(&name, Consumer::Sluice(1), full) }
    }));
    if extent.grow > 0 {
        cases.extend([
            grown("sluice on few rows", extent.grow / 20, full),
            grown("sluice on many rows", extent.grow, full),
        ]);
    }
    cases
}

fn case(name: &str, consumer: Consumer, load: Load) -> Case {
    Case { name: name.into(), ground: 0, run: Box::new(move |stage| round(stage, consumer, load)) }
}

fn grown(name: &str, ground: u64, load: Load) -> Case {
    Case { ground, ..case(name, Consumer::Sluice(1), Load { on_top: true, ..load }) }
}

/// The targets, as far as what they compare was measured.
pub fn targets(medians: &Medians) -> Vec<Target> {
    let of = |name: &str| medians.get(name);
    let ratio = |name: &str, other: &str, figure: fn(&Round) -> f64| Some(figure(of(name)?) / figure(of(other)?));
    let both = |round: &Round| round.own + round.database;
    let quantile = |name: &str, place: usize| Some(of(name)?.latency?[place]);
    let most = |what, value, bound| Target { what, value, bound, at_least: false };
    let least = |what, value, bound| Target { what, value, bound, at_least: true };
    let (full, slow) = ("sluice, QoS 1", "sluice at 2,000/s");
    vec![
        least("rate at QoS 1, of the bare consumer's", ratio(full, "bare consumer, QoS 1", |round| round.rate), 0.9),
        most("own CPU at QoS 1, us a message", of(full).map(|round| round.own), 7.0),
        most("own CPU at QoS 1, of Mosquitto's", of(full).map(|round| round.own / round.broker), 0.5),
        most("own CPU at QoS 0, us a message", of("sluice, QoS 0 at 20,000/s").map(|round| round.own), 4.0),
        most("latency at 2,000/s, p50 ms", quantile(slow, 0), 6.0),
        most("latency at 2,000/s, p99 ms", quantile(slow, 1), 15.0),
        most("latency of a lone message, p50 ms", quantile("sluice, lone messages", 0), 5.0),
        most("CPU of Sluice and Postgres at 2,000/s, us a message", of(slow).map(both), 60.0),
        most(
            "10 % quarantined at full rate, CPU of both, of the clean",
            ratio("sluice, 10 % quarantined", full, both),
            1.2,
        ),
        most(
            "10 % quarantined at 2,000/s, CPU of both, of the clean",
            ratio("sluice at 2,000/s, 10 % quarantined", slow, both),
            1.2,
        ),
        least(
            "rate with 100,000 devices never seen, of the warm",
            ratio("sluice, 100,000 devices never seen", "sluice, 100,000 devices", |round| round.rate),
            0.7,
        ),
        most("memory with 100,000 devices, MiB", of("sluice, 100,000 devices").map(|round| round.memory_mib), 96.0),
        most("CPU of both on many rows, of few", ratio("sluice on many rows", "sluice on few rows", both), 1.3),
        most(
            "the broker's question, one connection, p99 ms",
            quantile("broker's questions at 5000/s, 1 conn.", 1),
            1.0,
        ),
        most(
            "messages missing or doubled, answers wrong, in all",
            Some(medians.values().map(|round| round.wrong).sum()),
            0.0,
        ),
    ]
}

impl Target {
    /// None where it was not measured.
    pub fn met(&self) -> Option<bool> {
        let value = self.value?;
        Some(if self.at_least { value >= self.bound } else { value <= self.bound })
    }
}

/// The median of each figure; of what is wrong, the sum.
pub fn median(rounds: &[Round]) -> Round {
    let middle = |figure: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        let half = values.len() / 2;
        if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) }
    };
    let latency = rounds[0].latency.map(|_| {
        [0, 1, 2, 3].map(|place| middle(&move |round| round.latency.map_or(f64::NAN, |latency| latency[place])))
    });
    Round {
        rate: middle(&|round| round.rate),
        own: middle(&|round| round.own),
        broker: middle(&|round| round.broker),
        database: middle(&|round| round.database),
        publisher: middle(&|round| round.publisher),
        memory_mib: middle(&|round| round.memory_mib),
        latency,
        wrong: rounds.iter().map(|round| round.wrong).sum(),
    }
}
