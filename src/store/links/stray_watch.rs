//! Where rows may appear that a batch of earlier settings puts into the lane of that time.
//!
//! It reads no table: [`super::lanes`] looks, and moves them.

use std::time::Duration;

use tokio::time::Instant;

/// How long after a change of lanes batches of earlier settings may commit.
const STRAYS_FOR: Duration = Duration::from_mins(5);

/// Where rows of earlier settings may appear.
#[derive(Debug)]
pub(super) struct StrayWatch {
    until: Instant,
    /// No row appears at or below this id any more.
    floor: i64,
    /// The floor, once all transactions before this one have ended: transaction and id.
    next_floor: Option<(i64, i64)>,
}

/// A device with recent rows in a lane.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct RecentSender {
    pub(super) tenant_id: String,
    pub(super) device_id: String,
    pub(super) lane: i16,
    pub(super) last: i64,
    pub(super) oldest_transaction: i64,
    pub(super) next_transaction: i64,
}

// === impl StrayWatch ===

impl StrayWatch {
    /// The lanes have changed.
    pub(super) fn begin(now: Instant) -> Self {
        Self { until: now + STRAYS_FOR, floor: 0, next_floor: None }
    }

    /// Whether no such row is expected any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }

    /// The next look finds rows above this id.
    pub(super) fn floor(&self) -> i64 {
        self.floor
    }

    /// Learns from a look. A row gets its id in a transaction that has its number already: when every
    /// transaction that was in progress at a look has ended, no row appears any more below those of that
    /// look, and this look has seen them.
    pub(super) fn looked(&mut self, recent: &[RecentSender]) {
        let (Some(any), Some(last)) = (recent.first(), recent.iter().map(|it| it.last).max())
        else {
            return;
        };
        match self.next_floor {
            Some((transaction, id)) if transaction <= any.oldest_transaction => {
                self.floor = self.floor.max(id);
                self.next_floor = Some((any.next_transaction, last));
            }
            Some(_) => {}
            None => self.next_floor = Some((any.next_transaction, last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(last: i64, oldest_transaction: i64, next_transaction: i64) -> Vec<RecentSender> {
        let (tenant_id, device_id) = ("t".to_owned(), "d".to_owned());
        let one = RecentSender {
            tenant_id,
            device_id,
            lane: 0,
            last,
            oldest_transaction,
            next_transaction,
        };
        vec![one]
    }

    #[test]
    fn the_floor_rises_when_every_transaction_before_it_has_ended() {
        let mut watch = StrayWatch::begin(Instant::now());
        watch.looked(&seen(100, 5, 9));
        watch.looked(&seen(200, 8, 12));
        assert_eq!(watch.floor, 0, "transaction 8 may still put a row below 100");
        watch.looked(&seen(300, 9, 15));
        assert_eq!((watch.floor, watch.next_floor), (100, Some((15, 300))));
        watch.looked(&[]);
        watch.looked(&seen(400, 20, 21));
        assert_eq!(watch.floor, 300);
    }

    #[test]
    fn the_floor_never_falls_and_does_not_wait_for_an_idle_moment() {
        let mut watch = StrayWatch::begin(Instant::now());
        for look in 1..=5 {
            watch.looked(&seen(look * 10, look - 1, look + 1));
        }
        assert_eq!(watch.floor, 30, "each look finds a transaction in progress");
        watch.looked(&seen(7, 50, 51));
        watch.looked(&seen(7, 60, 61));
        assert!(watch.floor >= 30, "{}", watch.floor);
    }

    #[test]
    fn a_watch_ends_after_its_time() {
        let now = Instant::now();
        let watch = StrayWatch::begin(now);
        let last = now + STRAYS_FOR;
        assert!(!watch.is_over(now) && !watch.is_over(last - Duration::from_millis(1)));
        assert!(watch.is_over(last));
    }

    #[test]
    fn the_highest_row_of_a_look_counts_whatever_its_order() {
        let mut watch = StrayWatch::begin(Instant::now());
        let rows = [seen(30, 4, 5), seen(90, 4, 5), seen(60, 4, 5)].into_iter().flatten();
        watch.looked(&rows.collect::<Vec<_>>());
        watch.looked(&seen(100, 5, 6));
        assert_eq!(watch.floor, 90);
    }
}
