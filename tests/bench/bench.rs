//! The bench: the broker alone, the database alone, a bare consumer, and Sluice, side by side on
//! one machine.
//!
//! `scripts/bench` starts the servers and calls it; it touches no other. It is no part of the
//! program and uses none of its code: it measures the released binary from outside.
#![expect(clippy::unwrap_used, reason = "what cannot be measured ends the bench")]
#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]

mod asking;
mod consoles;
mod documents;
mod draining;
mod engines;
mod hooks;
mod links;
mod measure;
mod mqtt;
mod plan;
mod postgres;
mod processes;
mod registry;
mod renewing;
mod report;
mod rows;
mod slowed;
mod stage;
mod way_back;
mod yardsticks;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use serde_json::json;

use crate::engines::Engines;
use crate::measure::Round;
use crate::plan::{Case, Extent, LARGE, Measured, Set};
use crate::stage::{Outcome, Server, Stage};

/// What `scripts/bench` hands over.
struct Arguments(Vec<String>);

fn main() -> ExitCode {
    let mut arguments = Arguments(std::env::args().skip(1).collect());
    let ended = match arguments.0.first().map(String::as_str) {
        Some("--yardstick") => yardstick(&arguments.0[1..]).map(|()| true),
        Some("--stage") => bench(&mut arguments),
        _ => {
            eprintln!("scripts/bench starts the servers that this needs");
            return ExitCode::from(64);
        }
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(69)
        }
    }
}

fn yardstick(words: &[String]) -> Outcome<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["drain", port, qos, messages] => {
            yardsticks::drain(port.parse()?, qos.parse()?, messages.parse()?)?;
        }
        ["hoard", port, name, messages] => {
            yardsticks::hoard(port.parse()?, name, messages.parse()?)?;
        }
        ["consume", port, qos, socket, messages] => {
            yardsticks::consume(port.parse()?, qos.parse()?, socket.as_ref(), messages.parse()?)?;
        }
        ["copy", socket, port, devices, messages, batch] => {
            let (devices, messages) = (devices.parse()?, messages.parse()?);
            yardsticks::copy(socket.as_ref(), port.parse()?, devices, messages, batch.parse()?)?;
        }
        _ => return Err("no such yardstick".into()),
    }
    Ok(())
}

/// Measures all; whether every target is met, as far as it was asked for.
fn bench(arguments: &mut Arguments) -> Outcome<bool> {
    let socket = arguments.take::<PathBuf>("--socket")?;
    let stage = Stage {
        sluice: arguments.take::<PathBuf>("--sluice")?,
        out: arguments.take::<PathBuf>("--out")?,
        tcp_port: stage::open_tcp(&socket)?,
        socket,
        mqtt_port: arguments.take("--mqtt-port")?,
        mosquitto: arguments.take("--mosquitto")?,
        postgres: Server { port: 5432, processes: vec![arguments.take("--postgres")?] },
    };
    let engines = arguments.take::<Engines>("--engines")?;
    let extent = Extent {
        messages: arguments.take("--messages")?,
        seconds: arguments.take("--seconds")?,
        rounds: arguments.take("--rounds")?,
        grow: arguments.take("--grow")?,
    };
    let (check, only): (u8, String) = (arguments.take("--check")?, arguments.take("--only")?);
    let mut sets = plan::sets(&engines, extent);
    for set in &mut sets {
        set.cases.retain(|case| case.name.contains(&only));
    }
    stage.migrate()?;
    register(&stage, LARGE)?;
    if sets.iter().flat_map(|set| &set.cases).any(|case| case.name.contains("engine ")) {
        engines::prepare(&stage, &engines)?;
    }
    let mut measured = Measured::new();
    for number in 1..=extent.rounds {
        println!("round {number} of {}\n{}", extent.rounds, report::heading());
        for set in sets.iter().filter(|set| set.cases.iter().all(|case| case.ground == 0)) {
            for time in 0..set.times {
                run_all(set, (number + time) % 2 == 1, &stage, &mut measured);
            }
        }
    }
    for case in sets.iter().flat_map(|set| &set.cases).filter(|case| case.ground > 0) {
        measure::lay(&stage, LARGE, case.ground)?;
        for _ in 0..extent.rounds {
            run(case, &stage, &mut measured);
        }
    }
    let names: Vec<_> = sets.into_iter().flat_map(|set| set.cases).map(|case| case.name).collect();
    let extent = json!({ "messages": extent.messages, "seconds": extent.seconds, "rounds": extent.rounds,
        "grow": extent.grow, "cores": std::thread::available_parallelism().map_or(0, usize::from) });
    let met = conclude(&stage, &names, &measured, &extent)?;
    Ok(met || check == 0)
}

/// All cases of a set, one right after the other, in this direction.
fn run_all(set: &Set, forwards: bool, stage: &Stage, measured: &mut Measured) {
    let mut order: Vec<&Case> = set.cases.iter().collect();
    if !forwards {
        order.reverse();
    }
    for case in order {
        run(case, stage, measured);
    }
}

/// One round of a case. One that fails counts as wrong, and the others continue.
fn run(case: &Case, stage: &Stage, measured: &mut Measured) {
    let round = (case.run)(stage).unwrap_or_else(|error| {
        println!("{}: {error}", case.name);
        Round::failed()
    });
    println!("{}", report::line(&case.name, &round));
    measured.entry(case.name.clone()).or_default().push(round);
}

/// A fleet in the registry that all rounds share.
pub fn register(stage: &Stage, devices: u64) -> Outcome<()> {
    println!("registering {devices} devices");
    let words = format!(
        "--auth certificate --tenants 20 --devices {devices} --bad 0.5 --messages 2 --rate 0"
    );
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let (_, registered) = stage.fleet(&words)?.finish()?;
    if !registered {
        return Err(format!(
            "the fleet was not registered; see fleet.log in {}",
            stage.out.display()
        )
        .into());
    }
    // Certificates that end soon would cause a notice to each device.
    stage
        .database()?
        .query("UPDATE device_certificates SET not_after = now() + interval '1 year'")?;
    stage.database()?.query("VACUUM ANALYZE")?;
    Ok(())
}

fn conclude(
    stage: &Stage,
    names: &[String],
    measured: &Measured,
    extent: &serde_json::Value,
) -> Outcome<bool> {
    let cases: Vec<_> = names
        .iter()
        .filter_map(|name| {
            measured
                .get(name)
                .map(|rounds| (name.as_str(), rounds.as_slice(), plan::median(rounds)))
        })
        .collect();
    println!("\nmedians\n{}", report::heading());
    for (name, _, median) in &cases {
        println!("{}", report::line(name, median));
    }
    let targets = plan::targets(measured);
    println!();
    for target in &targets {
        println!("{}", report::verdict(target));
    }
    fs::write(
        stage.out.join("report.json"),
        format!("{:#}\n", report::json(&cases, &targets, extent)),
    )?;
    let full_rate =
        cases.iter().filter(|(name, ..)| !name.contains("/s") && !name.contains("lone"));
    let bars: Vec<_> = full_rate.map(|(name, _, median)| (*name, *median)).collect();
    fs::write(stage.out.join("report.svg"), report::svg(&bars))?;
    println!(
        "\n{} and report.svg beside it hold the same",
        stage.out.join("report.json").display()
    );
    Ok(targets.iter().all(|target| target.met() != Some(false)))
}

// === impl Arguments ===

impl Arguments {
    /// The word behind this one.
    fn take<T: FromStr>(&mut self, name: &str) -> Outcome<T>
    where
        T::Err: std::error::Error + 'static,
    {
        let place = self
            .0
            .iter()
            .position(|word| word == name)
            .ok_or_else(|| format!("{name} is missing"))?;
        let word = self.0.get(place + 1).ok_or_else(|| format!("{name} wants a value"))?;
        Ok(word.parse()?)
    }
}
