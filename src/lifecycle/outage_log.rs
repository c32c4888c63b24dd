//! Reduces a repeated failure to few log lines: one when it begins, one for each new reason, one
//! when it ends, and at most one reminder per minute.
//!
//! It writes nothing and reads no clock: the caller does both.

use std::time::{Duration, Instant};

/// Time between two reminders, unless the component has its own.
const REMINDER: Duration = Duration::from_mins(1);

/// A failure that returns within this time belongs to the same outage.
const SAME_OUTAGE: Duration = Duration::from_mins(1);

/// Time without failures after which an outage that came back has ended.
const QUIET_PERIOD: Duration = Duration::from_secs(10);

/// Most reasons of one outage that get a line of their own; later ones wait for the reminder.
const MAX_REASONS: usize = 8;

/// One outage, from its first failure to its end.
#[derive(Clone, Debug)]
pub struct OutageLog {
    reminder: Duration,
    reasons: Vec<String>,
    /// Failures since the last line.
    suppressed: u64,
    /// Failures of this outage.
    failures: u64,
    last_line: Option<Instant>,
    last_failure: Option<Instant>,
    /// The end was logged, perhaps too early.
    has_ended: bool,
    came_back: bool,
}

// === impl OutageLog ===

impl Default for OutageLog {
    fn default() -> Self {
        Self::reminding_every(REMINDER)
    }
}

impl OutageLog {
    /// No outage so far; one that lasts is repeated at this interval.
    pub const fn reminding_every(reminder: Duration) -> Self {
        Self {
            reminder,
            reasons: Vec::new(),
            suppressed: 0,
            failures: 0,
            last_line: None,
            last_failure: None,
            has_ended: false,
            came_back: false,
        }
    }

    /// Records a failure. Returns the number of failures suppressed since the last line if a line
    /// is due now; `None` suppresses it.
    pub fn failed(&mut self, reason: &str, now: Instant) -> Option<u64> {
        let is_new_outage =
            self.last_failure.is_none_or(|last| now.duration_since(last) >= SAME_OUTAGE);
        if self.has_ended && is_new_outage {
            *self = Self::reminding_every(self.reminder);
        }
        self.came_back |= std::mem::take(&mut self.has_ended);
        self.failures += 1;
        self.last_failure = Some(now);
        let is_new =
            self.reasons.len() < MAX_REASONS && !self.reasons.iter().any(|logged| logged == reason);
        if is_new {
            self.reasons.push(reason.to_owned());
        }
        let is_due = self.last_line.is_none_or(|last| now.duration_since(last) >= self.reminder);
        if !is_new && !is_due {
            self.suppressed += 1;
            return None;
        }
        self.last_line = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }

    /// Records a success. Returns the number of failures if the end of the outage is to be logged
    /// now.
    pub fn worked(&mut self, now: Instant) -> Option<u64> {
        let last = self.last_failure.filter(|_| !self.has_ended)?;
        if self.came_back && now.duration_since(last) < QUIET_PERIOD {
            return None;
        }
        self.has_ended = true;
        self.last_line = Some(now);
        self.suppressed = 0;
        Some(std::mem::take(&mut self.failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn an_outage_is_logged_at_its_begin_at_each_new_reason_and_at_its_end() {
        let (mut outage, start) = (OutageLog::default(), Instant::now());
        assert_eq!(outage.worked(start), None);
        let logged = ["away", "away", "full", "away", "full"]
            .map(|reason| outage.failed(reason, start).is_some());
        assert_eq!(logged, [true, false, true, false, false]);
        assert_eq!(outage.failed("away", after(start, 60)), Some(2), "the reminder");
        assert_eq!(outage.worked(after(start, 61)), Some(6));
        assert_eq!(outage.worked(after(start, 62)), None);
        assert_eq!(outage.failed("away", after(start, 130)), Some(0), "another one");
    }

    #[test]
    fn an_outage_that_returns_has_few_lines_and_one_reminder_a_minute() {
        let (mut outage, start) = (OutageLog::default(), Instant::now());
        let mut lines = 0;
        for tenth in 0..1_200 {
            let now = start + Duration::from_millis(100 * tenth);
            let reason = if tenth % 6 == 0 { "reset" } else { "closed" };
            lines += u32::from(
                if tenth % 3 == 0 { outage.failed(reason, now) } else { outage.worked(now) }
                    .is_some(),
            );
        }
        assert!((3..=5).contains(&lines), "{lines}");
        assert!(outage.worked(after(start, 125)).is_none(), "it may come back");
        assert!(outage.worked(after(start, 131)).is_some());
    }
}
