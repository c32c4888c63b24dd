//! How fast a connection publishes: the limits of the other broker, halved when it throttles.
//!
//! It sends nothing and reads no clock: the caller passes the time.

use std::time::Duration;

use tokio::time::Instant;

use crate::link::limits::LinkLimits;

/// Part of a limit that is spent steadily; the rest is the burst. Both together never exceed the
/// limit within one second.
const STEADY: f64 = 0.95;

/// The slowest rate after throttling, in messages a second.
const SLOWEST: f64 = 1.0;

/// The rate is halved at most once in this time: one answer of the broker concerns all messages
/// that were on their way.
const HALVING_PAUSE: Duration = Duration::from_secs(1);

/// The rate rises by a tenth each time.
const RAISE_AFTER: Duration = Duration::from_mins(1);
const RAISE: f64 = 1.1;

/// The rate that is halved where there is no limit, if fewer messages were sent.
const FEWEST: f64 = 10.0;

/// Messages and bytes that one connection may publish.
#[derive(Debug)]
pub(super) struct LanePace {
    messages: PaceBucket,
    bytes: PaceBucket,
    /// Set while the broker throttles.
    throttled: Option<Throttled>,
    /// Messages of this second and of the one before, to know the rate where there is no limit.
    counted_since: Instant,
    counted: f64,
    measured: f64,
}

#[derive(Clone, Copy, Debug)]
struct Throttled {
    /// Share of the full rate.
    share: f64,
    full: f64,
    halved_at: Instant,
    raised_at: Instant,
}

/// A token bucket; a rate of `None` is no limit.
#[derive(Debug)]
struct PaceBucket {
    limit: Option<f64>,
    level: f64,
    filled_at: Instant,
}

// === impl LanePace ===

impl LanePace {
    /// A full allowance.
    pub(super) fn new(limits: &LinkLimits, now: Instant) -> Self {
        Self {
            messages: PaceBucket::new(limits.rate, now),
            bytes: PaceBucket::new(limits.bytes_per_second, now),
            throttled: None,
            counted_since: now,
            counted: 0.0,
            measured: 0.0,
        }
    }

    /// When a message of this size may be sent; `None` means now.
    pub(super) fn wait_for(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        self.raise(now);
        let (share, full) = self.throttled.map_or((1.0, None), |at| (at.share, Some(at.full)));
        let messages = self.messages.wait_for(1.0, share, full, now);
        let bytes = self.bytes.wait_for(as_f64(bytes), share, None, now);
        messages.max(bytes)
    }

    /// Spends the allowance for a message that is sent.
    pub(super) fn spend(&mut self, bytes: usize, now: Instant) {
        self.messages.level -= 1.0;
        self.bytes.level -= as_f64(bytes);
        let elapsed = now.saturating_duration_since(self.counted_since).as_secs_f64();
        if elapsed >= 1.0 {
            self.measured = self.counted / elapsed;
            (self.counted, self.counted_since) = (0.0, now);
        }
        self.counted += 1.0;
    }

    /// The broker throttles: halves the rate. Returns whether it was halved.
    pub(super) fn throttle(&mut self, now: Instant) -> bool {
        if let Some(throttled) = &mut self.throttled {
            if now.saturating_duration_since(throttled.halved_at) < HALVING_PAUSE {
                return false;
            }
            let least = SLOWEST / throttled.full;
            throttled.share = (throttled.share / 2.0).max(least);
            (throttled.halved_at, throttled.raised_at) = (now, now);
            return true;
        }
        let full =
            self.messages.limit.unwrap_or_else(|| self.measured.max(self.counted).max(FEWEST));
        self.throttled = Some(Throttled { share: 0.5, full, halved_at: now, raised_at: now });
        self.messages.level = self.messages.level.min(0.0);
        true
    }

    /// The present limit of messages a second while it is throttled.
    pub(super) fn throttled_rate(&self) -> Option<f64> {
        self.throttled.map(|throttled| throttled.full * throttled.share)
    }

    /// Whether the broker has throttled just now: then a message that it refuses must not be
    /// overtaken by the next one of its device.
    pub(super) fn is_careful(&self, now: Instant) -> bool {
        self.throttled.is_some_and(|throttled| now < throttled.halved_at + RAISE_AFTER)
    }

    fn raise(&mut self, now: Instant) {
        let Some(throttled) = &mut self.throttled else { return };
        while now.saturating_duration_since(throttled.raised_at) >= RAISE_AFTER {
            throttled.raised_at += RAISE_AFTER;
            throttled.share *= RAISE;
            if throttled.share >= 1.0 {
                self.throttled = None;
                return;
            }
        }
    }
}

// === impl PaceBucket ===

impl PaceBucket {
    fn new(limit: u32, now: Instant) -> Self {
        let limit = (limit != u32::MAX).then(|| f64::from(limit).max(1.0));
        let level = limit.map_or(0.0, |limit| limit * (1.0 - STEADY));
        Self { limit, level, filled_at: now }
    }

    /// When `units` can be spent at `share` of the limit, or of `full` where there is no limit.
    fn wait_for(
        &mut self,
        units: f64,
        share: f64,
        full: Option<f64>,
        now: Instant,
    ) -> Option<Instant> {
        let limit = (self.limit.or(full))? * share;
        let (rate, burst) = (limit * STEADY, limit * (1.0 - STEADY));
        let earned = now.saturating_duration_since(self.filled_at).as_secs_f64() * rate;
        self.filled_at = now;
        self.level = (self.level + earned).min(burst.max(1.0));
        // What is larger than the burst may be sent with a full bucket, and is paid for afterwards.
        let missing = units.min(burst.max(1.0)) - self.level;
        (missing > 1e-9).then(|| now + Duration::from_secs_f64(missing / rate))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a packet has far fewer than 2^52 bytes")]
fn as_f64(bytes: usize) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::kind::LinkKind;

    fn pace(rate: u32, bytes_per_second: u32) -> (LanePace, Instant) {
        let now = Instant::now();
        let limits = LinkLimits { rate, bytes_per_second, ..LinkLimits::of(LinkKind::Mqtt) };
        (LanePace::new(&limits, now), now)
    }

    /// Sends as fast as allowed for some seconds; returns when each message was sent.
    fn sent(pace: &mut LanePace, start: Instant, seconds: u64, bytes: usize) -> Vec<Duration> {
        let (mut now, mut times) = (start, Vec::new());
        while now < start + Duration::from_secs(seconds) {
            match pace.wait_for(bytes, now) {
                None => {
                    pace.spend(bytes, now);
                    times.push(now - start);
                }
                Some(at) => now = at.max(now + Duration::from_micros(1)),
            }
        }
        times
    }

    #[test]
    fn no_second_has_more_messages_than_the_limit() {
        let (mut pace, now) = pace(100, u32::MAX);
        let times = sent(&mut pace, now, 5, 10);
        for from in &times {
            let within = |time: &&Duration| (*from..*from + Duration::from_secs(1)).contains(*time);
            assert!(times.iter().filter(within).count() <= 100);
        }
        assert!(times.len() > 470, "{}", times.len());
    }

    #[test]
    fn bytes_are_limited_too_and_a_message_over_the_burst_is_sent() {
        let (mut pace, now) = pace(u32::MAX, 1000);
        assert!((9..=10).contains(&sent(&mut pace, now, 10, 1000).len()));
    }

    #[test]
    fn throttling_halves_the_rate_once_a_second_and_a_minute_raises_it_by_a_tenth() {
        let (mut pace, now) = pace(100, u32::MAX);
        assert!(pace.throttle(now) && !pace.throttle(now), "one answer for many messages");
        let halved = sent(&mut pace, now, 10, 1).len();
        assert!((400..=500).contains(&halved), "{halved}");
        let later = now + Duration::from_secs(10);
        assert!(pace.throttle(later));
        assert!((230..=250).contains(&sent(&mut pace, later, 10, 1).len()));
        let minute = later + Duration::from_mins(1);
        pace.wait_for(1, minute);
        assert_eq!(pace.throttled_rate().map(f64::round), Some(28.0));
        pace.wait_for(1, minute + Duration::from_mins(30));
        assert_eq!(pace.throttled_rate(), None);
    }

    #[test]
    fn a_link_without_a_limit_is_throttled_from_what_it_sent() {
        let (mut pace, now) = pace(u32::MAX, u32::MAX);
        for millis in 0..3000 {
            let at = now + Duration::from_millis(millis);
            assert_eq!(pace.wait_for(1, at), None);
            pace.spend(1, at);
        }
        let at = now + Duration::from_secs(3);
        pace.throttle(at);
        let rate = pace.throttled_rate().unwrap();
        assert!((490.0..=510.0).contains(&rate), "{rate}");
        assert!(sent(&mut pace, at, 2, 1).len() <= 1000);
    }
}
