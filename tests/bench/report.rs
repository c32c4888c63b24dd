//! What was measured, as a table for people, as JSON for programs, and as a picture.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::measure::Round;
use crate::plan::Target;

/// The parts of a bar, and their colours.
const PARTS: [(&str, &str); 3] =
    [("Sluice or yardstick", "#0b7285"), ("Mosquitto", "#adb5bd"), ("Postgres", "#5c7cfa")];

const BAR_HEIGHT: usize = 20;
const LABELS: usize = 270;
const BARS: usize = 460;

pub fn heading() -> String {
    format!(
        "{:<38}{:>9}{:>8}{:>8}{:>10}{:>11}{:>6}{:>8}{:>8}{:>8}{:>7}",
        "",
        "msg/s",
        "own us",
        "broker",
        "database",
        "publisher",
        "MiB",
        "p50 ms",
        "p99",
        "p99.9",
        "wrong"
    )
}

pub fn line(name: &str, round: &Round) -> String {
    let quantile = |place: usize| match round.latency.map(|latency| latency[place]) {
        None => String::new(),
        Some(short) if short < 1.0 => format!("{short:.3}"),
        Some(long) => format!("{long:.1}"),
    };
    format!(
        "{name:<38}{:>9.0}{:>8.1}{:>8.1}{:>10.1}{:>11.1}{:>6.0}{:>8}{:>8}{:>8}{:>7.0}",
        round.rate,
        round.own,
        round.broker,
        round.database,
        round.publisher,
        round.memory_mib,
        quantile(0),
        quantile(1),
        quantile(2),
        round.wrong
    )
}

pub fn verdict(target: &Target) -> String {
    let side = if target.at_least { "at least" } else { "at most" };
    let met = match target.met() {
        None => "not measured",
        Some(true) => "met",
        Some(false) => "MISSED",
    };
    let value = target.value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    format!("{:<60}{value:>8}  {side} {:<6}{met}", target.what, target.bound)
}

pub fn json(cases: &[(&str, &[Round], Round)], targets: &[Target], extent: &Value) -> Value {
    let cases = cases.iter().map(|(name, rounds, median)| {
        json!({ "name": name, "median": figures(median), "rounds": rounds.iter().map(figures).collect::<Vec<_>>() })
    });
    let targets = targets.iter().map(|target| {
        json!({ "what": target.what, "value": target.value, "bound": target.bound, "at_least": target.at_least,
            "met": target.met() })
    });
    json!({ "extent": extent, "cases": cases.collect::<Vec<_>>(), "targets": targets.collect::<Vec<_>>() })
}

fn figures(round: &Round) -> Value {
    let latency = round
        .latency
        .map(|[p50, p99, p999, max]| json!({ "p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "max_ms": max }));
    json!({
        "messages_per_second": round.rate,
        "cpu_us_per_message": {
            "own": round.own, "broker": round.broker, "database": round.database, "publisher": round.publisher,
        },
        "memory_mib": round.memory_mib, "latency": latency, "missing_or_doubled": round.wrong, "times_smaller": round.smaller,
    })
}

/// The quantiles that a round reports, in milliseconds.
pub fn quantiles(mut waits: Vec<Duration>) -> [f64; 4] {
    waits.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place within the list"
    )]
    let place = |share: f64| ((waits.len() as f64 * share) as usize).min(waits.len() - 1);
    [0.5, 0.99, 0.999, 1.0].map(|share| waits[place(share)].as_secs_f64() * 1e3)
}

/// A bar for each case at full rate: CPU time of a message, by process.
pub fn svg(cases: &[(&str, Round)]) -> String {
    let sum = |round: &Round| round.own + round.broker + round.database;
    let most = cases.iter().map(|(_, round)| sum(round)).fold(1.0, f64::max);
    let height = (cases.len() + 3) * (BAR_HEIGHT + 8);
    let width = LABELS + BARS + 190;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">CPU microseconds a message, and messages a second</text>\n"
    );
    let mut x = LABELS;
    for (name, colour) in PARTS {
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"32\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"
        );
        let _ = writeln!(svg, "<text x=\"{}\" y=\"43\">{name}</text>", x + 17);
        x += 150;
    }
    for (place, (name, round)) in cases.iter().enumerate() {
        let y = 56 + place * (BAR_HEIGHT + 8);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>",
            LABELS - 8,
            y + 14
        );
        let mut x = LABELS as f64;
        for (part, (_, colour)) in [round.own, round.broker, round.database].into_iter().zip(PARTS)
        {
            let length = part / most * BARS as f64;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{colour}\"/>"
            );
            x += length;
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\">{:.1} us, {:.0}/s</text>",
            x + 6.0,
            y + 14,
            sum(round),
            round.rate
        );
    }
    svg + "</svg>\n"
}
