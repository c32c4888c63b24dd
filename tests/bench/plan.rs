//! What is measured, in which order, and what is wanted of it.

use std::collections::BTreeMap;

use crate::consoles;
use crate::draining;
use crate::engines::{self, Engines};
use crate::hooks;
use crate::links;
use crate::measure::{Consumer, Load, Round, Way, copy_alone, redelivery, round};
use crate::registry;
use crate::stage::{Outcome, Stage};
use crate::way_back;

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

pub type Run = Box<dyn Fn(&Stage) -> Outcome<Round>>;

/// Cases that are compared with each other. They run one right after the other, in turn forwards
/// and backwards, so that a machine which becomes faster or slower does so for all of
/// them.
pub struct Set {
    pub cases: Vec<Case>,
    /// How often in each round.
    pub times: usize,
}

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

/// At QoS 0 nothing slows the publisher down: a rate that all can follow with ease, ...
const QOS0_RATE: u64 = 20_000;

/// ... and one that they just can follow, which is as near to full rate as it gets.
const QOS0_MUCH: u64 = 40_000;

/// What a lone message is: so far from the next that nothing is shared.
const LONE_RATE: u64 = 5;

/// Messages that one session can hold unacknowledged, and a little less.
const HOARD: u64 = 50_000;

/// How often the sets that most depends on run in each round.
const OFTEN: usize = 3;

/// The cases that most targets look at.
const FULL: &str = "sluice, QoS 1";
const SLOW: &str = "sluice at 2,000/s";

const SLOWED_ONE: &str = "sluice, one lane, Postgres slowed";
const SLOWED_TWO: &str = "sluice, two lanes, Postgres slowed";

/// By name, all rounds.
pub type Measured = BTreeMap<String, Vec<Round>>;

pub fn sets(engines: &Engines, extent: Extent) -> Vec<Set> {
    let messages = extent.messages;
    let way = Way::Usual;
    let full =
        Load { qos: 1, devices: SMALL, messages, rate: 0, bad: 0, warm: true, on_top: false, way };
    let mut sets = at_full_rate(full);
    sets.extend(of_many_devices_and_refusals(full));
    sets.extend(at_fixed_rates(extent, full));
    sets.push(of_hooks(extent));
    sets.extend(way_back::sets(extent, full));
    sets.extend(links::sets(extent, full));
    sets.extend(consoles::sets(extent, full));
    sets.extend(draining::sets(extent, full));
    sets.extend(registry::sets());
    sets.extend(engines::sets(engines, extent, full));
    if extent.grow > 0 {
        sets.push(alone(grown("sluice on few rows", extent.grow / 20, full)));
        sets.push(alone(grown("sluice on many rows", extent.grow, full)));
    }
    sets
}

/// Each server alone, then Sluice and the bare consumer at QoS 1.
fn at_full_rate(full: Load) -> Vec<Set> {
    let copy =
        move |stage: &Stage| stage.clear().and_then(|()| copy_alone(stage, SMALL, full.messages));
    vec![
        alone(case("broker alone, QoS 1", Consumer::Drain, full)),
        alone(Case { run: Box::new(copy), ..sluice("database alone, COPY", full) }),
        Set {
            cases: vec![
                case("bare consumer, QoS 1", Consumer::Bare, full),
                sluice("sluice, QoS 1", full),
                sluice("sluice, 10 % quarantined", Load { bad: 10, ..full }),
            ],
            times: OFTEN,
        },
    ]
}

/// What makes a message at full rate more expensive.
fn of_many_devices_and_refusals(full: Load) -> Vec<Set> {
    let many = Load { devices: LARGE, ..full };
    let again =
        move |stage: &Stage| redelivery(stage, Load { messages: full.messages.min(HOARD), ..full });
    vec![
        together([
            sluice("sluice, 100,000 devices", many),
            sluice("sluice, 100,000 devices never seen", Load { warm: false, ..many }),
        ]),
        alone(sluice("sluice, 1 % quarantined", Load { bad: 1, ..full })),
        alone(sluice("sluice, 50 % quarantined", Load { bad: 50, ..full })),
        alone(case("sluice, two replicas", Consumer::Sluice(2), full)),
        alone(sluice(
            "sluice, authenticated by tokens",
            Load { warm: false, way: Way::Tokens, ..full },
        )),
        alone(sluice("sluice, Postgres by TCP", Load { way: Way::Tcp, ..full })),
        Set {
            cases: vec![
                sluice("sluice, one lane", full),
                sluice("sluice, two lanes", Load { way: Way::Lanes, ..full }),
            ],
            times: OFTEN,
        },
        Set {
            cases: vec![
                sluice(SLOWED_ONE, Load { way: Way::Slowed(1), ..full }),
                sluice(SLOWED_TWO, Load { way: Way::Slowed(2), ..full }),
            ],
            times: OFTEN,
        },
        alone(Case { run: Box::new(again), ..sluice("sluice, everything delivered again", full) }),
    ]
}

/// Rates that every consumer can follow, at QoS 0 and 1.
fn at_fixed_rates(extent: Extent, full: Load) -> Vec<Set> {
    let at = |rate: u64| Load { messages: rate * extent.seconds, rate, ..full };
    let [qos0, much_qos0] = [QOS0_RATE, QOS0_MUCH].map(|rate| Load { qos: 0, ..at(rate) });
    vec![
        together([
            case("broker alone, QoS 0 at 20,000/s", Consumer::Drain, qos0),
            case("bare consumer, QoS 0 at 20,000/s", Consumer::Bare, qos0),
            sluice("sluice, QoS 0 at 20,000/s", qos0),
        ]),
        together([
            case("bare consumer, QoS 0 at 40,000/s", Consumer::Bare, much_qos0),
            sluice("sluice, QoS 0 at 40,000/s", much_qos0),
        ]),
        alone(sluice("sluice at 500/s", at(500))),
        alone(case("bare consumer at 2,000/s", Consumer::Bare, at(2_000))),
        Set {
            cases: vec![
                sluice("sluice at 2,000/s", at(2_000)),
                sluice("sluice at 2,000/s, 10 % quarantined", Load { bad: 10, ..at(2_000) }),
            ],
            times: OFTEN,
        },
        alone(sluice("sluice at 2,000/s, Postgres by TCP", Load { way: Way::Tcp, ..at(2_000) })),
        alone(sluice("sluice at 10,000/s", at(10_000))),
        alone(sluice("sluice, lone messages", at(LONE_RATE))),
    ]
}

/// The broker's hook requests, on one connection and on four.
fn of_hooks(extent: Extent) -> Set {
    together([1, 4].map(|connections| Case {
        name: format!("broker's questions at {}/s, {connections} conn.", hooks::RATE),
        ground: 0,
        run: Box::new(move |stage: &Stage| hooks::round(stage, connections, extent.seconds)),
    }))
}

fn together(cases: impl Into<Vec<Case>>) -> Set {
    Set { cases: cases.into(), times: 1 }
}

pub fn alone(case: Case) -> Set {
    together([case])
}

fn case(name: &str, consumer: Consumer, load: Load) -> Case {
    Case { name: name.into(), ground: 0, run: Box::new(move |stage| round(stage, consumer, load)) }
}

pub fn sluice(name: &str, load: Load) -> Case {
    case(name, Consumer::Sluice(1), load)
}

fn grown(name: &str, ground: u64, load: Load) -> Case {
    Case { ground, ..case(name, Consumer::Sluice(1), Load { on_top: true, ..load }) }
}

/// The targets, as far as what they compare was measured. Two cases are compared by the median of
/// their ratios, each of two rounds that ran one right after the other (rounds on few and on many
/// rows: as near as the number of rows allows).
pub fn targets(measured: &Measured) -> Vec<Target> {
    let mut targets = at_full_rate_targets(measured);
    targets.extend(at_fixed_rate_targets(measured));
    targets.extend(growth_targets(measured));
    targets.extend(way_back::targets(measured));
    targets.extend(links::targets(measured));
    targets.extend(consoles::targets(measured));
    targets.extend(draining::targets(measured));
    targets.extend(registry::targets(measured));
    targets.extend(engines::targets(measured));
    targets.push(most(
        "messages missing or doubled, answers wrong, in all",
        Some(measured.values().flatten().map(|round| round.wrong).sum()),
        0.0,
    ));
    targets
}

fn at_full_rate_targets(measured: &Measured) -> Vec<Target> {
    let full = of(measured, FULL);
    let qos0 = of(measured, "sluice, QoS 0 at 40,000/s");
    let rate = |round: &Round| round.rate;
    vec![
        least(
            "rate at QoS 1, of the bare consumer's",
            ratio(measured, FULL, "bare consumer, QoS 1", rate),
            0.9,
        ),
        most("own CPU at QoS 1, us a message", full.map(|round| round.own), 7.0),
        most("own CPU at QoS 1, of Mosquitto's", full.map(|round| round.own / round.broker), 0.5),
        most("own CPU at QoS 0, us a message", qos0.map(|round| round.own), 4.0),
        most(
            "10 % quarantined at full rate, CPU of both, of the clean",
            ratio(measured, "sluice, 10 % quarantined", FULL, cpu_of_both),
            1.2,
        ),
        least(
            "rate with 100,000 devices never seen, of the warm",
            ratio(measured, "sluice, 100,000 devices never seen", "sluice, 100,000 devices", rate),
            0.7,
        ),
        least("rate of two lanes, of one", ratio(measured, SLOWED_TWO, SLOWED_ONE, rate), 1.5),
    ]
}

fn at_fixed_rate_targets(measured: &Measured) -> Vec<Target> {
    let quantile = |name: &str, place: usize| Some(of(measured, name)?.latency?[place]);
    vec![
        most("latency at 2,000/s, p50 ms", quantile(SLOW, 0), 6.0),
        most("latency at 2,000/s, p99 ms", quantile(SLOW, 1), 15.0),
        most("latency of a lone message, p50 ms", quantile("sluice, lone messages", 0), 5.0),
        most(
            "CPU of Sluice and Postgres at 2,000/s, us a message",
            of(measured, SLOW).map(|round| cpu_of_both(&round)),
            60.0,
        ),
        most(
            "10 % quarantined at 2,000/s, CPU of both, of the clean",
            ratio(measured, "sluice at 2,000/s, 10 % quarantined", SLOW, cpu_of_both),
            1.2,
        ),
        most(
            "the broker's question, one connection, p99 ms",
            quantile("broker's questions at 5000/s, 1 conn.", 1),
            1.0,
        ),
    ]
}

fn growth_targets(measured: &Measured) -> Vec<Target> {
    vec![
        most(
            "memory with 100,000 devices, MiB",
            of(measured, "sluice, 100,000 devices").map(|round| round.memory_mib),
            96.0,
        ),
        most(
            "CPU of both on many rows, of few",
            ratio(measured, "sluice on many rows", "sluice on few rows", cpu_of_both),
            1.3,
        ),
    ]
}

pub fn most(what: &'static str, value: Option<f64>, bound: f64) -> Target {
    Target { what, value, bound, at_least: false }
}

pub fn least(what: &'static str, value: Option<f64>, bound: f64) -> Target {
    Target { what, value, bound, at_least: true }
}

pub fn of(measured: &Measured, name: &str) -> Option<Round> {
    Some(median(measured.get(name)?))
}

pub fn ratio(
    measured: &Measured,
    name: &str,
    other: &str,
    figure: fn(&Round) -> f64,
) -> Option<f64> {
    let pairs = measured.get(name)?.iter().zip(measured.get(other)?);
    Some(middle(pairs.map(|(round, other)| figure(round) / figure(other))))
}

/// CPU of Sluice and Postgres.
pub fn cpu_of_both(round: &Round) -> f64 {
    round.own + round.database
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
    let of = |figure: fn(&Round) -> f64| middle(rounds.iter().map(figure));
    let quantile =
        |place: usize| middle(rounds.iter().filter_map(|round| Some(round.latency?[place])));
    Round {
        rate: of(|round| round.rate),
        own: of(|round| round.own),
        broker: of(|round| round.broker),
        database: of(|round| round.database),
        publisher: of(|round| round.publisher),
        memory_mib: of(|round| round.memory_mib),
        latency: rounds.iter().find_map(|round| round.latency).map(|_| [0, 1, 2, 3].map(quantile)),
        wrong: rounds.iter().map(|round| round.wrong).sum(),
        smaller: rounds.iter().find_map(|round| round.smaller),
    }
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) }
}
