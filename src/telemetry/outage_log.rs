//! Says a trouble that comes and goes in few lines: one when it begins, one for each new reason, one when it is over, and at
//! most a reminder a minute between, however often it is tried.
//!
//! It writes nothing itself, and knows no clock: who uses it brings both.

use std::time::{Duration, Instant};

/// At most one reminder in this time; a trouble that comes back within it is the same one.
const REMINDER: Duration = Duration::from_mins(1);

/// A trouble that came back is over only when it has stayed away this long.
const QUIET: Duration = Duration::from_secs(10);

/// Reasons that are told in one spell; what follows is told by the reminder.
const REASONS_MAX: usize = 8;

/// One trouble, from its first failure to its end.
#[derive(Clone, Debug, Default)]
pub struct Spell {
    reasons: Vec<String>,
    /// Failures since the last line.
    held_back: u64,
    /// Failures in all.
    failures: u64,
    last_line: Option<Instant>,
    last_failure: Option<Instant>,
    /// The end was told, and may have been told too early.
    is_over: bool,
    came_back: bool,
}

// === impl Spell ===

impl Spell {
    /// It failed, for this reason. Whether to say so now: how many failures were held back since the last line.
    pub fn failed(&mut self, reason: &str, now: Instant) -> Option<u64> {
        if self.is_over && self.last_failure.is_none_or(|last| now.duration_since(last) >= REMINDER) {
            *self = Self::default();
        }
        self.came_back |= std::mem::take(&mut self.is_over);
        self.failures += 1;
        self.last_failure = Some(now);
        let is_new = self.reasons.len() < REASONS_MAX && !self.reasons.iter().any(|told| told == reason);
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

    /// It worked. Whether to say now that it is over: how many failures there were.
    pub fn worked(&mut self, now: Instant) -> Option<u64> {
        let last = self.last_failure.filter(|_| !self.is_over)?;
        if self.came_back && now.duration_since(last) < QUIET {
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
        let (mut spell, start) = (Spell::default(), Instant::now());
        assert_eq!(spell.worked(start), None);
        let told = ["away", "away", "full", "away", "full"].map(|reason| spell.failed(reason, start).is_some());
        assert_eq!(told, [true, false, true, false, false]);
        assert_eq!(spell.failed("away", after(start, 60)), Some(2), "the reminder");
        assert_eq!(spell.worked(after(start, 61)), Some(6));
        assert_eq!(spell.worked(after(start, 62)), None);
        assert_eq!(spell.failed("away", after(start, 130)), Some(0), "another one");
    }

    #[test]
    fn a_trouble_that_comes_and_goes_costs_three_lines_and_a_reminder_a_minute() {
        let (mut spell, start) = (Spell::default(), Instant::now());
        let mut lines = 0;
        for tenth in 0..1_200 {
            let now = start + Duration::from_millis(100 * tenth);
            let reason = if tenth % 6 == 0 { "reset" } else { "closed" };
            lines += u32::from(if tenth % 3 == 0 { spell.failed(reason, now) } else { spell.worked(now) }.is_some());
        }
        assert!((3..=5).contains(&lines), "{lines}");
        assert!(spell.worked(after(start, 125)).is_none(), "it may come back");
        assert!(spell.worked(after(start, 131)).is_some());
    }
}
