//! Which of many decisions become lines: at most [`LINES_PER_SECOND`] in a second, spread evenly over
//! it if the rate is the one of the second before.
//!
//! It reads no clock.

use crate::domain::time::{MICROS_PER_SECOND, Timestamp};

/// The most lines of a listener in a second.
pub const LINES_PER_SECOND: u64 = 20;

/// Chooses lines of one listener.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LineSampler {
    /// The second that runs.
    second: i64,
    /// Decisions of this second, and those that became lines.
    seen: u64,
    admitted: u64,
    /// One in this many becomes a line; 0 is as 1.
    step: u64,
}

// === impl LineSampler ===

impl LineSampler {
    /// Whether a decision at this time becomes a line.
    pub(super) fn admits(&mut self, now: Timestamp) -> bool {
        let second = now.micros().div_euclid(MICROS_PER_SECOND);
        if second != self.second {
            let follows = second == self.second + 1;
            let step = if follows { self.seen.div_ceil(LINES_PER_SECOND) } else { 1 };
            *self = Self { second, seen: 0, admitted: 0, step };
        }
        let is_next = self.seen.is_multiple_of(self.step.max(1));
        self.seen += 1;
        let is_admitted = is_next && self.admitted < LINES_PER_SECOND;
        self.admitted += u64::from(is_admitted);
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(sampler: &mut LineSampler, second: i64, decisions: i64) -> Vec<i64> {
        let at = |number| {
            let micros = second * MICROS_PER_SECOND + number * MICROS_PER_SECOND / decisions;
            Timestamp::from_micros(micros)
        };
        (0..decisions).filter(|number| sampler.admits(at(*number))).collect()
    }

    #[test]
    fn a_second_has_at_most_its_lines_and_the_next_one_spreads_them() {
        let mut sampler = LineSampler::default();
        assert_eq!(admitted(&mut sampler, 10, 5).len(), 5, "few are all shown");
        let burst = admitted(&mut sampler, 11, 80_000);
        assert_eq!(burst, (0..20).collect::<Vec<_>>(), "a burst begins with its first");
        let spread = admitted(&mut sampler, 12, 80_000);
        assert_eq!((spread.len(), spread[1], spread[19]), (20, 4_000, 76_000));
        assert_eq!(admitted(&mut sampler, 13, 1).len(), 1, "the first of a second is shown");
        assert_eq!(admitted(&mut sampler, 99, 3).len(), 3, "after a pause all are shown");
        assert_eq!(admitted(&mut sampler, 50, 3).len(), 3, "a clock that was set back");
    }
}
