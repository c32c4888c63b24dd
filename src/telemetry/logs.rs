//! Sets up the log: text for people or JSON for programs, to standard error, each line with its
//! time in UTC (RFC 3339).
//!
//! It decides the format of lines and limits repeated ones, not what they say.

use std::io::{self, IsTerminal, Write};
use std::panic;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::log_writer::LogWriter;
use crate::config::sections::process::LogFormat;
use crate::domain::time::Timestamp;

/// The default level limits the database driver to warnings: at info it reports each check of
/// migrations, and each connection lost to a restart of Postgres.
const USUAL: (&str, &str) = ("info", "info,sqlx=warn,sqlx_core=warn");

/// The writer of this process; empty until the log is set up.
static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// Longest wait for the last lines before the process ends.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level is neither a level nor directives.
    #[error("LOG_LEVEL is not a level or a list of directives: {0}")]
    Level(#[from] ParseError),
    /// The log is set up already.
    #[error("the log is already set up in this process: {0}")]
    Twice(#[from] TryInitError),
    /// The writer got no thread or descriptor.
    #[error("cannot start the writer: {0}")]
    Writer(#[from] io::Error),
}

/// Passes a repeated line at most once per interval, and counts the suppressed ones.
#[derive(Clone, Debug)]
pub struct Repeated {
    interval: Duration,
    last: Option<Timestamp>,
    suppressed: u64,
}

/// Sets up the log of the process; the second call fails.
pub fn init(level: &str, format: LogFormat) -> Result<(), LogsError> {
    let directives = if level.eq_ignore_ascii_case(USUAL.0) { USUAL.1 } else { level };
    let filter = EnvFilter::builder().parse(directives)?;
    let writer = LogWriter::to_stderr()?;
    let own = writer.clone();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || own.clone());
    match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).finish().try_init()?;
        }
    }
    WRITER.get_or_init(|| writer);
    // A panic becomes a log line too: the default hook would wait for a reader that stalls.
    panic::set_hook(Box::new(|panicked| {
        let place = panicked.location().map(ToString::to_string).unwrap_or_default();
        let why = panicked.payload_as_str().unwrap_or_default();
        tracing::error!(place, why, "panic: this is a bug in Sluice; the task ends");
    }));
    Ok(())
}

/// Writes a line to standard error that is no log line. A failed write is ignored.
pub fn write_line(line: &str) {
    match WRITER.get() {
        Some(writer) => writer.enqueue(format!("{line}\n").as_bytes()),
        None => drop(writeln!(io::stderr(), "{line}")),
    }
}

/// Waits at most `LAST_LINES` for the last lines, before the process ends.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(LAST_LINES);
    }
}

// === impl Repeated ===

impl Repeated {
    /// Passes at most one line per `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { interval, last: None, suppressed: 0 }
    }

    /// Returns the number of lines suppressed since the last one if the line is due now; `None`
    /// suppresses it.
    pub fn ready(&mut self, now: Timestamp) -> Option<u64> {
        if self.last.is_some_and(|last| self.is_too_soon(last, now)) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }

    /// A clock that was set back must not suppress the line until it has caught up.
    fn is_too_soon(&self, last: Timestamp, now: Timestamp) -> bool {
        let since = now.seconds_since(last);
        (0.0..self.interval.as_secs_f64()).contains(&since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::default().plus_seconds(seconds)
    }

    #[test]
    fn a_repeated_line_is_said_once_per_interval_and_tells_how_many_it_stands_for() {
        let mut line = Repeated::new(Duration::from_secs(10));
        assert_eq!(line.ready(at(100)), Some(0));
        assert_eq!(line.ready(at(100)), None);
        assert_eq!(line.ready(at(109)), None);
        assert_eq!(line.ready(at(110)), Some(2));
        assert_eq!(line.ready(at(125)), Some(0));
    }

    #[test]
    fn a_clock_set_back_does_not_silence_it() {
        let mut line = Repeated::new(Duration::from_secs(10));
        assert_eq!(line.ready(at(1000)), Some(0));
        assert_eq!(line.ready(at(5)), Some(0));
        assert_eq!(line.ready(at(6)), None);
    }

    #[test]
    fn a_level_that_cannot_be_read_is_refused() {
        assert!(matches!(init("sluice=loud", LogFormat::Text), Err(LogsError::Level(_))));
    }
}
