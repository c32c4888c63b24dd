//! What is measured of the way back, and what is wanted of it: requests, commands, renewals,
//! desired documents, and what all of it costs a daemon whose devices only publish.

use crate::asking;
use crate::documents;
use crate::measure::{Load, Round, Way};
use crate::plan::{
    Case, Extent, LARGE, Measured, Run, Set, Target, alone, least, most, of, ratio, sluice,
};
use crate::renewing;
use crate::stage::Stage;

/// Requests a second, over all connections.
const REQUESTS: &str = "requests at 200/s";
const COMMANDS: &str = "command rows at 50/s";
const RENEWALS: &str = "renewals";
const DOCUMENTS: &str = "100,000 documents, 2,000/s stored";
const OFF: &str = "sluice, QoS 1, API off";
const ON: &str = "sluice, QoS 1, API on";
const LARGE_OFF: &str = "sluice, 100,000 devices, API off";
const LARGE_ON: &str = "sluice, 100,000 devices, all asked";

/// Pairs of rounds with and without the API.
const PAIRS: usize = 3;

/// Renewals of a round.
const RENEWED: u64 = 50;

/// Runs of the large pair: its memory varies little.
const ONCE: usize = 1;

pub fn sets(extent: Extent, full: Load) -> Vec<Set> {
    let seconds = extent.seconds;
    let api = Load { way: Way::Api, ..full };
    let large = Load { devices: LARGE, ..full };
    vec![
        alone(measured(REQUESTS, move |stage| asking::requests(stage, seconds))),
        alone(measured(COMMANDS, move |stage| asking::commands(stage, seconds))),
        alone(measured(RENEWALS, |stage| renewing::round(stage, RENEWED))),
        alone(measured(DOCUMENTS, move |stage| documents::round(stage, seconds))),
        Set { cases: vec![sluice(OFF, full), sluice(ON, api)], times: PAIRS },
        Set {
            cases: vec![
                sluice(LARGE_OFF, large),
                sluice(LARGE_ON, Load { way: Way::Asked, ..large }),
            ],
            times: ONCE,
        },
    ]
}

fn measured(name: &str, run: impl Fn(&Stage) -> crate::stage::Outcome<Round> + 'static) -> Case {
    let run: Run = Box::new(run);
    Case { name: name.into(), ground: 0, run }
}

pub fn targets(measured: &Measured) -> Vec<Target> {
    let quantile = |name: &str, place: usize| Some(of(measured, name)?.latency?[place]);
    let memory = |name: &str| of(measured, name).map(|round| round.memory_mib);
    let grown = memory(LARGE_ON).zip(memory(LARGE_OFF)).map(|(on, off)| on - off);
    vec![
        most("request to response, p50 ms", quantile(REQUESTS, 0), 5.0),
        most("request to response, p99 ms", quantile(REQUESTS, 1), 25.0),
        most("command row to device, p99 ms", quantile(COMMANDS, 1), 100.0),
        most("renewal, p99 ms", quantile(RENEWALS, 1), 100.0),
        least(
            "desired documents published a second",
            of(measured, DOCUMENTS).map(|round| round.rate),
            100_000.0 / 60.0,
        ),
        most("latency at 2,000/s with documents, p99 ms", quantile(DOCUMENTS, 1), 15.0),
        most("memory of the API with 100,000 devices, MiB", grown, 24.0),
        least("rate with the API on, of off", ratio(measured, ON, OFF, |round| round.rate), 0.97),
        most("own CPU with the API on, of off", ratio(measured, ON, OFF, |round| round.own), 1.03),
    ]
}
