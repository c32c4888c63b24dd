//! A replica that leaves while much waits for it: two share a group, one stands still until 100,000
//! messages wait for it, and is then ordered to drain.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::measure::{Consumer, Load, Round, wait};
use crate::plan::{Case, Extent, Measured, Set, Target, alone, most, of};
use crate::rows::wrong;
use crate::stage::{Outcome, Stage};

const DRAIN: &str = "100,000 queued messages drained";

/// Those of both members: the broker deals them in turn.
const MESSAGES: u64 = 200_000;

const SHARED: [(&str, &str); 1] = [("MQTT_SHARE_GROUP", "bench-drain")];

pub fn sets(extent: Extent, full: Load) -> Vec<Set> {
    // A quick run queues fewer, and says nothing of the target.
    let load = Load { messages: MESSAGES.min(extent.messages), ..full };
    let run = Box::new(move |stage: &Stage| round(stage, load));
    vec![alone(Case { name: DRAIN.into(), ground: 0, run })]
}

pub fn targets(measured: &Measured) -> Vec<Target> {
    let seconds = of(measured, DRAIN).and_then(|round| Some(round.latency?[3] / 1e3));
    vec![most("drain of the messages that wait, seconds", seconds, 10.0)]
}

fn round(stage: &Stage, load: Load) -> Outcome<Round> {
    stage.clear()?;
    let stays = stage.daemon("bench-stays", &SHARED)?;
    let leaves = stage.daemon("bench-leaves", &SHARED)?;
    let leaving = Pid::from_raw(leaves.process.id().cast_signed()).ok_or("no process")?;
    kill_process(leaving, Signal::STOP)?;
    let (said, content) = stage.fleet(&load.arguments())?.finish()?;
    if !content {
        return Err(format!("the fleet failed; see fleet.log in {}", stage.out.display()).into());
    }
    let summary: Value = serde_json::from_str(&said)?;
    let sent = summary["sent"].as_u64().ok_or("no count")?;
    wait(std::slice::from_ref(&stays), sent)?;
    let waiting = sent - stays.done()?.all();
    kill_process(leaving, Signal::CONT)?;
    let begun = Instant::now();
    kill_process(leaving, Signal::USR1)?;
    let (_, drained) = leaves.process.finish()?;
    let took = begun.elapsed();
    println!("{waiting} messages waited; the replica ended after {:.2} s", took.as_secs_f64());
    let doubted = if drained { 0.0 } else { 1.0 };
    let wrong = wrong(stage, Consumer::Sluice(2), &summary)? + doubted;
    stage.dismiss(stays)?;
    let rate = waiting as f64 / took.as_secs_f64().max(Duration::from_millis(1).as_secs_f64());
    Ok(Round { rate, latency: Some([took.as_secs_f64() * 1e3; 4]), wrong, ..Round::default() })
}
