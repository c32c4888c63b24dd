//! What the demo shows while it runs: a table that is redrawn in place on a terminal, a line each
//! second elsewhere.
//!
//! It formats figures and decides nothing.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::sim::daemon_metrics::{DaemonFigures, Latency};

/// Clears the rest of the previous line.
const CLEAR_LINE: &str = "\x1b[K";

/// Turns off wrapping while drawing: a wrapped line would take two, and the redraw would drift.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// Seconds over which rates and latency are computed.
const WINDOW: usize = 5;

/// The demo's output on the terminal.
#[derive(Debug)]
pub struct Screen {
    in_place: bool,
    drawn: usize,
    recent: Vec<(Duration, u64, DaemonFigures)>,
}

// === impl Screen ===

impl Screen {
    /// Draws on standard output.
    pub fn on_stdout() -> Self {
        Self { in_place: io::stdout().is_terminal(), drawn: 0, recent: Vec::new() }
    }

    /// Draws the figures as of this time since the start.
    pub fn draw(
        &mut self,
        at: Duration,
        published: u64,
        figures: &DaemonFigures,
    ) -> io::Result<()> {
        if self.recent.len() > WINDOW {
            self.recent.remove(0);
        }
        self.recent.push((at, published, figures.clone()));
        let frame = if self.in_place {
            let lines = self.table(at, published, figures);
            let climb =
                if self.drawn > 0 { format!("\x1b[{}A\r", self.drawn) } else { String::new() };
            self.drawn = lines.len();
            format!(
                "{NO_WRAP}{climb}{}{CLEAR_LINE}\n{WRAP}",
                lines.join(&format!("{CLEAR_LINE}\n"))
            )
        } else {
            self.line(at, published, figures) + "\n"
        };
        let mut out = io::stdout().lock();
        out.write_all(frame.as_bytes())?;
        out.flush()
    }

    /// Prints lines once; the next table is drawn below them.
    pub fn print_above(&mut self, lines: &[String]) -> io::Result<()> {
        let clear = match self.drawn {
            0 => String::new(),
            drawn => format!("\x1b[{drawn}A\r\x1b[J"),
        };
        self.drawn = 0;
        let mut out = io::stdout().lock();
        write!(out, "{clear}{}\n\n", lines.join("\n"))?;
        out.flush()
    }

    /// The figures on the left, the reasons on the right.
    fn table(&self, at: Duration, published: u64, figures: &DaemonFigures) -> Vec<String> {
        let (published_rate, stored_rate, latency) = self.lately();
        let row = |name: &str, count: u64, rate: String| {
            format!("{name:<12}{:>12}{rate:>11}", grouped(count))
        };
        let per_second = |rate: f64| format!("{}/s", grouped(whole(rate)));
        let left = [
            format!("{:<12}{:>23}", "running", clock(at)),
            row("published", published, per_second(published_rate)),
            row("received", figures.received, String::new()),
            row("stored", figures.stored, per_second(stored_rate)),
            row("duplicates", figures.duplicates, String::new()),
            row("quarantined", figures.quarantined, String::new()),
            row("in flight", figures.in_flight, String::new()),
            format!("{:<12}{:>23}", "latency p50", seconds(latency.quantile(0.5))),
            format!("{:<12}{:>23}", "latency p99", seconds(latency.quantile(0.99))),
        ];
        let mut right = vec!["quarantined, by reason".to_owned()];
        right.extend(
            figures
                .by_reason
                .iter()
                .map(|(reason, count)| format!("{:<33} {:>8}", reason.label(), grouped(*count))),
        );
        // The table never shrinks, or old lines would remain.
        let height = left.len().max(right.len()).max(self.drawn);
        let cell = |column: &[String], place: usize| column.get(place).cloned().unwrap_or_default();
        (0..height)
            .map(|place| {
                format!("{:<35}  {}", cell(&left, place), cell(&right, place)).trim_end().to_owned()
            })
            .collect()
    }

    fn line(&self, at: Duration, published: u64, figures: &DaemonFigures) -> String {
        let (_, rate, latency) = self.lately();
        format!(
            "{} published {published} received {} stored {} ({}/s) duplicates {} quarantined {} in flight {} latency p50 {} p99 {}",
            clock(at),
            figures.received,
            figures.stored,
            whole(rate),
            figures.duplicates,
            figures.quarantined,
            figures.in_flight,
            seconds(latency.quantile(0.5)),
            seconds(latency.quantile(0.99)),
        )
    }

    /// Publish rate, store rate and latency over the last `WINDOW` seconds.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn lately(&self) -> (f64, f64, Latency) {
        let (Some((from, published, old)), Some((to, published_now, new))) =
            (self.recent.first(), self.recent.last())
        else {
            return (0.0, 0.0, Latency::default());
        };
        let span = to.saturating_sub(*from).as_secs_f64().max(0.001);
        let lately = new.since(old);
        ((published_now - published) as f64 / span, lately.stored as f64 / span, lately.latency)
    }
}

// === private helpers ===

/// A number with thousands separators.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate that is shown; `as` saturates"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

fn clock(span: Duration) -> String {
    let seconds = span.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

pub(super) fn seconds(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds.is_infinite() => "over 10 s".to_owned(),
        Some(seconds) if seconds >= 1.0 => format!("{seconds:.1} s"),
        Some(seconds) => format!("{:.1} ms", seconds * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_keeps_its_height_and_fits_eighty_columns() {
        let mut screen = Screen { in_place: true, drawn: 14, recent: Vec::new() };
        let by_reason = vec![(crate::domain::refusal::Reason::SiteMismatch, 1_234_567)];
        let figures = DaemonFigures { by_reason, stored: 1_234_567, ..DaemonFigures::default() };
        screen.recent.push((Duration::ZERO, 0, DaemonFigures::default()));
        screen.recent.push((Duration::from_secs(1), 0, figures.clone()));
        let table = screen.table(Duration::from_secs(3_725), 0, &figures);
        assert_eq!(table.len(), 14);
        assert!(table[0].contains("01:02:05"), "{table:?}");
        assert!(table.iter().all(|line| line.len() <= 80), "{table:?}");
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [Some(0.0042), Some(2.0), Some(f64::INFINITY), None].map(seconds),
            ["4.2 ms", "2.0 s", "over 10 s", "-"]
        );
    }
}
