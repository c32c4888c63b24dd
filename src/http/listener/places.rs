//! The places of one listener: who holds one, how far its request is, and who gives its place up when all are taken.
//!
//! A connection whose request is being worked on never gives way. It knows no HTTP and reads no socket.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::telemetry::http::ListenerMetrics;

/// How long a peer that takes nothing of an answer is waited for.
const STALL: Duration = Duration::from_secs(5);

/// How soon a newcomer looks again for somebody who can give way, while all are being worked for.
const AGAIN: Duration = Duration::from_millis(20);

/// However many come, each has so long to send a head before it can be made to give way: who asks in earnest needs less.
const GRACE: Duration = Duration::from_millis(100);

/// From this rank on a connection has sent a complete request.
const PROVEN: u8 = 3;

/// More newcomers than one of so many places are a crowd.
const CROWD: usize = 4;

/// How far the request of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The head of a request is not complete, or nothing has come yet.
    Head,
    /// The head is complete, the body is not.
    Body,
    /// The request is being worked on.
    Work,
    /// The answer is being written.
    Answer,
    /// The answer is written; the next request has not begun.
    Idle,
}

/// How long each part of a request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// A head, from the connection or its first byte to its end.
    pub head: Duration,
    /// Silence between an answer and the next request.
    pub idle: Duration,
}

/// The places of one listener.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    held: Arc<Mutex<BTreeMap<u64, Arc<Held>>>>,
    pace: Pace,
    numbers: ListenerMetrics,
}

/// One place; free again when this is dropped.
pub(super) struct Place {
    number: u64,
    held: Arc<Held>,
    places: Places,
    _permit: OwnedSemaphorePermit,
}

/// A connection was closed to make room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evicted;

/// What is known of the connection in a place.
#[derive(Debug)]
pub(super) struct Held {
    peer: IpAddr,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Whether it has sent a complete request that the listener answers to the end.
    is_proven: bool,
    is_evicted: bool,
    waker: Option<Waker>,
}

// === impl Places ===

impl Places {
    pub(super) fn new(connections: usize, pace: Pace, numbers: ListenerMetrics) -> Self {
        Self { free: Arc::new(Semaphore::new(connections)), held: Arc::default(), pace, numbers }
    }

    /// A place for a new connection. When none is free, the one least worth keeping is closed. Waits only while all are
    /// being worked for; none: the listener has ended.
    pub(super) async fn take(&self, number: u64, peer: IpAddr) -> Option<Place> {
        let permit = loop {
            let free = Arc::clone(&self.free);
            if free.available_permits() == 0 {
                self.evict();
            }
            if let Ok(permit) = timeout(AGAIN, free.acquire_owned()).await {
                break permit.ok()?;
            }
        };
        let phase = Phase::Head;
        let state = State { phase, since: Instant::now(), is_proven: false, is_evicted: false, waker: None };
        let held = Arc::new(Held { peer, state: Mutex::new(state) });
        self.lock().insert(number, Arc::clone(&held));
        self.numbers.open.inc();
        Some(Place { number, held, places: self.clone(), _permit: permit })
    }

    /// Who never sent a complete request goes first, then who sends or reads slowly, then who has been silent longest;
    /// among equals one of the peer that holds most places.
    fn evict(&self) {
        let held = self.lock();
        let mut by_peer: BTreeMap<IpAddr, usize> = BTreeMap::new();
        let mut newcomers = 0;
        for one in held.values() {
            let state = one.lock();
            if state.is_evicted {
                return;
            }
            newcomers += usize::from(state.is_newcomer());
            *by_peer.entry(one.peer).or_default() += 1;
        }
        let worth = |one: &Held| {
            let (rank, since) = one.worth()?;
            Some((rank, Reverse(by_peer.get(&one.peer).copied().unwrap_or_default()), since))
        };
        let closable = held.values().filter_map(|one| worth(one).map(|worth| (worth, one)));
        let Some(((rank, ..), one)) = closable.min_by_key(|(worth, _)| *worth) else { return };
        // A crowd of newcomers sends nobody away who has proven itself: it waits until their moment is over.
        if rank < PROVEN || newcomers * CROWD <= held.len() {
            one.evict();
            self.numbers.evicted.inc();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl Place {
    /// What the middleware reports to.
    pub(super) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held)
    }

    /// By when it must go on; the caller is woken when it is closed to make room.
    pub(super) fn look(&self, cx: &Context<'_>) -> Result<Option<Instant>, Evicted> {
        let mut state = self.held.lock();
        if state.is_evicted {
            return Err(Evicted);
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        let pace = &self.places.pace;
        Ok(match state.phase {
            Phase::Head => Some(state.since + pace.head),
            Phase::Answer => Some(state.since + STALL),
            Phase::Idle => Some(state.since + pace.idle),
            // These have deadlines of their own, which end in an answer.
            Phase::Body | Phase::Work => None,
        })
    }

    /// Bytes came.
    pub(super) fn was_read(&self) {
        let mut state = self.held.lock();
        if state.phase == Phase::Idle {
            state.enter(Phase::Head);
        }
    }

    /// Bytes of an answer were taken.
    pub(super) fn was_written(&self) {
        self.held.lock().enter(Phase::Answer);
    }

    /// Nothing is left to be written; whether that was the end of an answer.
    pub(super) fn was_flushed(&self) -> bool {
        let mut state = self.held.lock();
        let is_end = state.phase == Phase::Answer;
        if is_end {
            state.enter(Phase::Idle);
        }
        is_end
    }

    /// It took too long.
    pub(super) fn timed_out(&self) {
        self.places.numbers.timed_out.inc();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.number);
        self.places.numbers.open.dec();
    }
}

// === impl Held ===

impl Held {
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// A head is complete; the body follows, or there is none.
    pub(super) fn asked(&self, has_body: bool) {
        self.lock().enter(if has_body { Phase::Body } else { Phase::Work });
    }

    /// The body has come.
    pub(super) fn arrived(&self) {
        self.lock().enter(Phase::Work);
    }

    /// The answer is there; `is_proven` when it was one to a request that was understood.
    pub(super) fn answered(&self, is_proven: bool) {
        let mut state = self.lock();
        state.enter(Phase::Answer);
        state.is_proven |= is_proven;
    }

    /// How much is lost by closing it, least first; none: it must not be closed.
    fn worth(&self) -> Option<(u8, Instant)> {
        let state = self.lock();
        let rank = match (state.phase, state.is_proven) {
            _ if state.is_evicted => return None,
            (Phase::Work, _) => return None,
            _ if state.is_newcomer() => return None,
            (Phase::Head, false) => 0,
            (Phase::Body, false) => 1,
            (Phase::Answer, _) | (Phase::Idle, false) => 2,
            (Phase::Idle, true) => PROVEN,
            (Phase::Head | Phase::Body, true) => PROVEN + 1,
        };
        Some((rank, state.since))
    }

    fn evict(&self) {
        let mut state = self.lock();
        state.is_evicted = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Whether its first head may still come.
    fn is_newcomer(&self) -> bool {
        self.phase == Phase::Head && !self.is_proven && self.since.elapsed() < GRACE
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    const PACE: Pace = Pace { head: Duration::from_secs(5), idle: Duration::from_mins(1) };

    struct Room {
        places: Places,
        taken: u64,
    }

    impl Room {
        fn new(connections: usize) -> Self {
            let numbers = Metrics::new().unwrap().http.api;
            Self { places: Places::new(connections, PACE, numbers), taken: 0 }
        }

        async fn enter(&mut self, peer: &str) -> Place {
            self.taken += 1;
            let taken = timeout(Duration::from_mins(1), self.places.take(self.taken, peer.parse().unwrap()));
            taken.await.expect("a place is free").unwrap()
        }
    }

    fn is_evicted(place: &Place) -> bool {
        place.look(&Context::from_waker(Waker::noop())).is_err()
    }

    #[tokio::test]
    async fn who_gives_way_is_the_one_least_worth_keeping_and_never_one_that_is_worked_for() {
        let mut room = Room::new(6);
        let mut all = Vec::new();
        for peer in ["127.0.0.1"; 6] {
            all.push(room.enter(peer).await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(GRACE).await;
        // In the order in which they are to go.
        let [silent, halting, slow, idle, fresh, busy] = &all[..] else { panic!("six") };
        halting.held().asked(true);
        slow.held().answered(false);
        tokio::time::sleep(Duration::from_millis(1)).await;
        for one in [idle, fresh] {
            one.held().answered(true);
            one.was_flushed();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        busy.held().asked(false);
        for gone in [silent, halting, slow, idle, fresh] {
            assert!(!is_evicted(gone));
            room.places.evict();
            assert!(is_evicted(gone));
            // It has not gone yet: nobody else has to.
            room.places.evict();
            room.places.lock().remove(&gone.number);
        }
        room.places.evict();
        assert!(!is_evicted(busy));
    }

    #[tokio::test]
    async fn among_equals_one_of_the_peer_that_holds_most_places_gives_way() {
        let mut room = Room::new(3);
        let lone = room.enter("192.0.2.1").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (first, second) = (room.enter("192.0.2.9").await, room.enter("192.0.2.9").await);
        tokio::time::sleep(GRACE).await;
        room.places.evict();
        assert_eq!([&lone, &first, &second].map(is_evicted), [false, true, false]);
        drop(first);
        let _newest = room.enter("192.0.2.3").await;
    }
}
