//! Lines for the log of the broker, which only its own thread may write.
//!
//! The list is bounded: further lines are counted, and the count is a line.

/// The level of a line: the broker's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Level {
    /// `MOSQ_LOG_NOTICE`.
    Notice = 2,
    /// `MOSQ_LOG_WARNING`.
    Warning = 4,
    /// `MOSQ_LOG_ERR`.
    Error = 8,
}

/// The most lines that wait.
const LINES_MAX: usize = 64;

/// Lines that wait for the thread of the broker.
#[derive(Debug, Default)]
pub struct WaitingLines {
    lines: Vec<(Level, String)>,
    lost: u64,
}

impl WaitingLines {
    /// Adds a line.
    pub fn push(&mut self, level: Level, text: impl Into<String>) {
        if self.lines.len() < LINES_MAX {
            self.lines.push((level, format!("sluice plugin: {}", text.into())));
        } else {
            self.lost += 1;
        }
    }

    /// Takes all lines.
    pub fn take(&mut self) -> Vec<(Level, String)> {
        let mut lines = std::mem::take(&mut self.lines);
        if self.lost > 0 {
            lines.push((
                Level::Warning,
                format!("sluice plugin: {} further lines were dropped", self.lost),
            ));
            self.lost = 0;
        }
        lines
    }

    /// Whether a line waits.
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}
