//! The places of one listener: which connections hold them, and which one closes when all are
//! taken.
//!
//! A connection with a running request or a stream of events never closes. It knows no HTTP and reads no socket.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::telemetry::http::ListenerMetrics;

/// How long a peer may accept no bytes of a response.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How soon a new connection searches for a place again, while all connections have running
/// requests.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How long a new connection is safe from eviction; an honest client sends its head sooner.
const GRACE: Duration = Duration::from_millis(100);

/// The lowest rank of a connection that has sent a complete request.
const PROVEN: u8 = 3;

/// Newcomers are a crowd if they hold more than one place in this many.
const CROWD: usize = 4;

/// The progress of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The head of a request is incomplete, or no byte has arrived.
    Head,
    /// The head is complete, the body is not.
    Body,
    /// The request runs.
    Work,
    /// The response is being written.
    Answer,
    /// The response is written; the next request has not begun.
    Idle,
    /// The response is a stream of events.
    Stream,
}

/// The deadlines of the parts of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The head, from the connection or its first byte to its end.
    pub head: Duration,
    /// The silence between a response and the next request.
    pub idle: Duration,
}

/// The places of one listener.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    held: Arc<Mutex<BTreeMap<u64, Arc<HeldPlace>>>>,
    pace: Pace,
    metrics: ListenerMetrics,
}

/// One place. Dropping it frees the place.
pub(super) struct Place {
    number: u64,
    held: Arc<HeldPlace>,
    places: Places,
    _permit: OwnedSemaphorePermit,
}

/// The connection was closed to free its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evicted;

/// The state of the connection in a place.
#[derive(Debug)]
pub(super) struct HeldPlace {
    peer: IpAddr,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Whether it has sent a complete, accepted request.
    is_proven: bool,
    is_evicted: bool,
    /// The end of a stream, and since when its peer has accepted no byte.
    stream_end: Option<Instant>,
    blocked_since: Option<Instant>,
    waker: Option<Waker>,
}

// === impl Places ===

impl Places {
    pub(super) fn new(connections: usize, pace: Pace, metrics: ListenerMetrics) -> Self {
        Self { free: Arc::new(Semaphore::new(connections)), held: Arc::default(), pace, metrics }
    }

    /// Takes a place for a new connection. If none is free, it closes the least valuable one, and waits
    /// only while all have running requests. `None` means the listener has ended.
    pub(super) async fn take(&self, number: u64, peer: IpAddr) -> Option<Place> {
        let permit = loop {
            let free = Arc::clone(&self.free);
            if free.available_permits() == 0 {
                self.evict();
            }
            if let Ok(permit) = timeout(RETRY_PAUSE, free.acquire_owned()).await {
                break permit.ok()?;
            }
        };
        let state = State {
            phase: Phase::Head,
            since: Instant::now(),
            is_proven: false,
            is_evicted: false,
            stream_end: None,
            blocked_since: None,
            waker: None,
        };
        let held = Arc::new(HeldPlace { peer, state: Mutex::new(state) });
        self.lock().insert(number, Arc::clone(&held));
        self.metrics.open.inc();
        Some(Place { number, held, places: self.clone(), _permit: permit })
    }

    /// Closes one connection. In order of preference: one without a complete request, a slow one,
    /// the one that was silent longest. Among equals it is one of the peer with the most places.
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
        let value = |one: &HeldPlace| {
            let (rank, since) = one.value()?;
            Some((rank, Reverse(by_peer.get(&one.peer).copied().unwrap_or_default()), since))
        };
        let closable = held.values().filter_map(|one| value(one).map(|value| (value, one)));
        let Some(((rank, ..), one)) = closable.min_by_key(|(value, _)| *value) else { return };
        // A crowd of newcomers never evicts a proven connection; it waits until their grace time is
        // over.
        if rank < PROVEN || newcomers * CROWD <= held.len() {
            one.evict();
            self.metrics.evicted.inc();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<HeldPlace>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl Place {
    /// The state that the middleware reports to.
    pub(super) fn held(&self) -> Arc<HeldPlace> {
        Arc::clone(&self.held)
    }

    /// The deadline of the current phase. An eviction wakes the caller.
    pub(super) fn deadline(&self, cx: &Context<'_>) -> Result<Option<Instant>, Evicted> {
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
            Phase::Answer => Some(state.since + STALL_TIMEOUT),
            Phase::Idle => Some(state.since + pace.idle),
            Phase::Stream => state.blocked_since.map(|since| since + STALL_TIMEOUT),
            // Handlers limit these phases by themselves, and send a response at the deadline.
            Phase::Body | Phase::Work => None,
        })
    }

    /// Records that bytes arrived.
    pub(super) fn was_read(&self) {
        let mut state = self.held.lock();
        if state.phase == Phase::Idle {
            state.enter(Phase::Head);
        }
    }

    /// Records that the peer accepted bytes of a response.
    pub(super) fn was_written(&self) {
        let mut state = self.held.lock();
        if state.phase == Phase::Stream {
            state.blocked_since = None;
        } else {
            state.enter(Phase::Answer);
        }
    }

    /// Records that the peer accepts no byte at the moment; true for a stream.
    pub(super) fn was_blocked(&self) -> bool {
        let mut state = self.held.lock();
        let is_stream = state.phase == Phase::Stream;
        if is_stream {
            state.blocked_since.get_or_insert_with(Instant::now);
        }
        is_stream
    }

    /// The end of a stream; `None`: it is none.
    pub(super) fn stream_end(&self) -> Option<Instant> {
        self.held.lock().stream_end
    }

    /// Records that everything is written; returns whether this was the end of a response.
    pub(super) fn was_flushed(&self) -> bool {
        let mut state = self.held.lock();
        let is_end = state.phase == Phase::Answer;
        if is_end {
            state.enter(Phase::Idle);
        }
        is_end
    }

    /// Counts a missed deadline.
    pub(super) fn timed_out(&self) {
        self.places.metrics.timed_out.inc();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.number);
        self.places.metrics.open.dec();
    }
}

// === impl HeldPlace ===

impl HeldPlace {
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Records a complete head; `has_body` means a body follows.
    pub(super) fn record_head(&self, has_body: bool) {
        self.lock().enter(if has_body { Phase::Body } else { Phase::Work });
    }

    /// Records a complete body.
    pub(super) fn arrived(&self) {
        self.lock().enter(Phase::Work);
    }

    /// Records the response; `is_proven` means the request was accepted.
    pub(super) fn record_response(&self, is_proven: bool) {
        let mut state = self.lock();
        state.enter(Phase::Answer);
        state.is_proven |= is_proven;
    }

    /// Records that the response is a stream of events, which lasts at most this long.
    pub(super) fn record_stream(&self, lifetime: Duration) {
        let mut state = self.lock();
        state.enter(Phase::Stream);
        state.stream_end = Some(Instant::now() + lifetime);
        state.is_proven = true;
    }

    /// The value of the connection, the least first. `None` means it must not close.
    fn value(&self) -> Option<(u8, Instant)> {
        let state = self.lock();
        let rank = match (state.phase, state.is_proven) {
            (Phase::Work | Phase::Stream, _) => return None,
            _ if state.is_evicted || state.is_newcomer() => return None,
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
        state.waker.take().into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Whether the first head may still arrive within the grace time.
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
            let metrics = Metrics::new().unwrap().http.api;
            Self { places: Places::new(connections, PACE, metrics), taken: 0 }
        }

        async fn enter(&mut self, peer: &str) -> Place {
            self.taken += 1;
            let taken = timeout(
                Duration::from_mins(1),
                self.places.take(self.taken, peer.parse().unwrap()),
            );
            taken.await.expect("a place is free").unwrap()
        }
    }

    fn is_evicted(place: &Place) -> bool {
        place.deadline(&Context::from_waker(Waker::noop())).is_err()
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
        halting.held().record_head(true);
        slow.held().record_response(false);
        tokio::time::sleep(Duration::from_millis(1)).await;
        for one in [idle, fresh] {
            one.held().record_response(true);
            one.was_flushed();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        busy.held().record_head(false);
        for gone in [silent, halting, slow, idle, fresh] {
            assert!(!is_evicted(gone));
            room.places.evict();
            assert!(is_evicted(gone));
            // The evicted connection has not closed yet, so no other one must close.
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
