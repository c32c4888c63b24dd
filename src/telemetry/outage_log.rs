//! Reduces a repeated failure to few log lines: one when it begins, one for each new reason, one
//! when it ends, and at most one reminder per minute.
//!
//! It writes nothing and reads no clock: the caller does both.

use std::time::{Duration, Instant};

/// Time between two reminders. A failure that returns within it belongs to the same outage.
const REMINDER: Duration = Duration::from_mins(1);

/// Time without failures after which an outage that came back is over.
const QUIET_PERIOD: Duration = Duration::from_secs(10);

/// Most reasons of one outage that get a line of their own; later ones wait for the reminder.
const MAX_REASONS: usize = 8;

/// One outage, from its first failure to its end.
#[derive(Clone, Debug, Default)]
pub struct OutageLog {
    reasons: Vec<String>,
    /// Failures since the last line.
    held_back: u64,
    /// Failures of this outage.
    failures: u64,
    last_line: Option<Instant>,
    last_failure: Option<Instant>,
    /// The end was logged, perhaps too early.
    is_over: bool,
    came_back: bool,
}

// === impl OutageLog ===

impl OutageLog {
    /// Records a failure. Returns the number of failures suppressed since the last line if a line
    /// is due now; `None` suppresses it.
    pub fn failed(&mut self, reason: &str, now: Instant) -> Option<u64> {
        if self.is_over && self.last_failure.is_none_or(|last| now.duration_since(last) >= REMINDER)
        {
            *self = Self::default();
        }
        self.came_back |= std::mem::take(&mut self.is_over);
        self.failures += 1;
        self.last_failure = Some(now);
        let is_new =
            self.reasons.len() < MAX_REASONS && !self.reasons.iter().any(|logged| logged == reason);
        if is_new {
            self.reasons.push(reason.to_owned());
        }
        let is_due = self.last_line.is_none_or(|last| now.duration_since(last) >= REMINDER);
        if !is_new && !is_due {
            self.held_back += 1;
            return None;
        }
        self.last_line = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }

    /// Records a success. Returns the number of failures if the end of the outage is to be logged
    /// now.
    pub fn worked(&mut self, now: Instant) -> Option<u64> {
        let last = self.last_failure.filter(|_| !self.is_over)?;
        if self.came_back && now.duration_since(last) < QUIET_PERIOD {
            return None;
        }
        self.is_over = true;
        self.last_line = Some(now);
        self.held_back = 0;
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
    fn a_trouble_is_told_when_it_begins_when_its_reason_is_new_and_when_it_is_over() {
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
    fn a_trouble_that_comes_and_goes_costs_three_lines_and_a_reminder_a_minute() {
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
