//! Bounds the log lines that a device or the other broker can cause: a device chooses its topics, and a
//! broker ends connections as often as it likes.
//!
//! It leaves out lines and nothing else: counters, dead letters and `sluice link status` are complete.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::link::LinkName;

/// Lines of one kind in a period.
const LINES: u32 = 20;

/// The time after which lines are written again.
const PERIOD: Duration = Duration::from_hours(1);

/// The lines of one kind.
#[derive(Debug, Default)]
pub(super) struct LineBudget {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

/// The budgets of a lane.
#[derive(Debug, Default)]
pub(super) struct LineBudgets {
    /// Topics that are refused, and messages that end connections.
    pub(super) refusals: LineBudget,
    /// Topics that are accepted again.
    pub(super) releases: LineBudget,
    /// What a connection grants or lacks.
    pub(super) connections: LineBudget,
    /// Rates that are halved.
    pub(super) rates: LineBudget,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFate {
    /// It is written; so many were left out before it.
    Written(u64),
    /// It is written at debug, and a line says that further ones are left out for an hour.
    FirstLeftOut,
    /// It is written at debug.
    LeftOut,
}

// === impl LineBudget ===

impl LineBudget {
    /// Decides about the next line.
    pub(super) fn next(&mut self, now: Instant) -> LineFate {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            (self.since, self.lines) = (Some(now), 0);
        }
        self.lines = self.lines.saturating_add(1);
        if self.lines <= LINES {
            return LineFate::Written(std::mem::take(&mut self.left_out));
        }
        self.left_out += 1;
        if self.lines == LINES + 1 { LineFate::FirstLeftOut } else { LineFate::LeftOut }
    }
}

/// Warns within a budget; `what` names the kind in the line that says that further ones are left out.
pub(super) fn warn_within(budget: &mut LineBudget, link: &LinkName, text: &str, what: &str) {
    match budget.next(Instant::now()) {
        LineFate::Written(suppressed) => tracing::warn!(%link, suppressed, "{text}"),
        LineFate::FirstLeftOut => {
            tracing::debug!(%link, "{text}");
            tracing::warn!(
                %link,
                "{what} again and again on the link {link}; Sluice logs it at debug for an hour; `sluice link \
                 status {link}` shows the state"
            );
        }
        LineFate::LeftOut => tracing::debug!(%link, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_lines_an_hour_are_written_and_one_says_that_more_are_left_out() {
        let (mut budget, start) = (LineBudget::default(), Instant::now());
        let mut fates = (0..1000).map(|_| budget.next(start)).collect::<Vec<_>>();
        assert_eq!(fates.remove(20), LineFate::FirstLeftOut);
        assert!(fates[..20].iter().all(|fate| *fate == LineFate::Written(0)));
        assert!(fates[20..].iter().all(|fate| *fate == LineFate::LeftOut));
        let almost = start + PERIOD - Duration::from_millis(1);
        assert_eq!(budget.next(almost), LineFate::LeftOut);
        assert_eq!(budget.next(start + PERIOD), LineFate::Written(981));
        assert_eq!(budget.next(start + PERIOD), LineFate::Written(0));
    }
}
