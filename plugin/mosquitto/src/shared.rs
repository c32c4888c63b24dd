//! What the two threads of an instance share: its options, its state, and how they wake each other.
//!
//! It decides nothing.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sluice_shared::proof::Boot;

use crate::options::Options;
use crate::pipe::Wake;
use crate::request::Waker;
use crate::state::{Readiness, State};

/// What the thread of the broker and that of the link share.
pub struct Shared {
    /// The options.
    pub options: Options,
    /// The number of this start.
    pub boot: Boot,
    /// Whether the broker is Mosquitto 2.1 or newer.
    pub is_2_1: bool,
    /// Signals an answer, and the first snapshot.
    pub answered: Condvar,
    /// Wakes the thread of the link.
    pub wake: Wake,
    /// Wakes the thread of the broker.
    pub waker: Waker,
    /// Whether the link must end.
    pub is_stopping: AtomicBool,
    /// How many ticks the broker has called.
    pub ticks: AtomicU64,
    state: Mutex<State>,
}

impl Shared {
    /// What an instance with these options shares.
    pub fn new(options: Options, boot: Boot, is_2_1: bool, wake: Wake, waker: Waker) -> Self {
        Self {
            options,
            boot,
            is_2_1,
            answered: Condvar::new(),
            wake,
            waker,
            is_stopping: AtomicBool::new(false),
            ticks: AtomicU64::new(0),
            state: Mutex::new(State::default()),
        }
    }

    /// Whether the daemon was not heard for longer than `stale_s`.
    pub fn is_stale(&self, state: &State) -> bool {
        state.readiness(self.options.stale_after, Instant::now()) != Readiness::Ready
    }

    /// The state. A panic in a callback leaves it usable: every change is small, and each decision reads
    /// it again.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a signal of [`Self::answered`] at most until `deadline`.
    pub fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        let left = deadline.saturating_duration_since(Instant::now());
        let (state, _) =
            self.answered.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        state
    }
}
