//! Two clocks read at the same time: that of this machine and that of Postgres.
//!
//! It reads neither. Code that must not act on a wrong time uses the harmless reading, or waits
//! until both agree.

use super::time::Timestamp;

/// Clocks further apart than this, in seconds, disagree: one of them is wrong, and Sluice cannot
/// know which.
pub const MAX_CLOCK_OFFSET_SECONDS: f64 = 120.0;

/// The two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// This machine's.
    pub own: Timestamp,
    /// Postgres'.
    pub database: Timestamp,
}

/// Uses one reading for both.
impl From<Timestamp> for Clocks {
    fn from(now: Timestamp) -> Self {
        Self { own: now, database: now }
    }
}

// === impl Clocks ===

impl Clocks {
    /// Seconds that this machine's clock is ahead of that of Postgres; negative means behind.
    pub const fn offset_seconds(self) -> f64 {
        self.own.seconds_since(self.database)
    }

    /// Whether the clocks agree.
    pub fn agree(self) -> bool {
        self.offset_seconds().abs() <= MAX_CLOCK_OFFSET_SECONDS
    }

    /// The earlier reading: a period that has ended by it has ended by both.
    pub fn earlier(self) -> Timestamp {
        self.own.min(self.database)
    }

    /// The later reading: a period that lasts beyond it lasts beyond both.
    pub fn later(self) -> Timestamp {
        self.own.max(self.database)
    }

    /// A sentence for the operator; `None` while the clocks agree.
    pub fn complaint(self) -> Option<String> {
        let (offset, direction) =
            (self.offset_seconds(), if self.own < self.database { "behind" } else { "ahead of" });
        (!self.agree()).then(|| {
            format!(
                "the clock of this machine is {:.0} s {direction} the clock of Postgres; at most \
                 {MAX_CLOCK_OFFSET_SECONDS} s is accepted; synchronize both machines with a time \
                 server (chrony, systemd-timesyncd)",
                offset.abs()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree_within_the_bound_and_the_complaint_names_the_direction() {
        let at = |own: i64| {
            let database = Timestamp::from_micros(1_800_000_000_000_000);
            Clocks { own: database.plus_seconds(own), database }
        };
        for near in [at(0), at(120), at(-120)] {
            assert!(near.agree() && near.complaint().is_none(), "{near:?}");
        }
        assert!(at(121).complaint().unwrap().contains("121 s ahead of"));
        assert!(at(-3600).complaint().unwrap().contains("3600 s behind"));
        assert_eq!((at(9).earlier(), at(9).later()), (at(9).database, at(9).own));
        assert_eq!((at(-9).earlier(), at(-9).later()), (at(-9).own, at(-9).database));
    }
}
