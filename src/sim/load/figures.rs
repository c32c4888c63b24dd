//! The figures of a run, which all connections add to.
//!
//! It decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::histogram::Histogram;

/// Figures shared by all connections of a run.
#[derive(Clone, Debug, Default)]
pub struct SharedFigures(Arc<SendFigures>);

#[derive(Debug, Default)]
struct SendFigures {
    sent: AtomicU64,
    answered: AtomicU64,
    without_subscriber: AtomicU64,
    refused: AtomicU64,
    latency: Mutex<Histogram>,
}

// === impl SharedFigures ===

impl SharedFigures {
    /// Messages sent.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Messages the broker accepted.
    pub fn acknowledged(&self) -> u64 {
        self.0.answered.load(Ordering::Relaxed)
    }

    /// Accepted messages without a subscriber.
    pub fn without_subscriber(&self) -> u64 {
        self.0.without_subscriber.load(Ordering::Relaxed)
    }

    /// Messages the broker refused.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// From sending a message to its PUBACK.
    pub fn latency(&self) -> Histogram {
        self.latencies().clone()
    }

    /// Counts messages as sent.
    pub(super) fn count_sent(&self, messages: u64) {
        self.0.sent.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts the outcomes of messages.
    pub(super) fn count_outcomes(&self, accepted: u64, without_subscriber: u64, refused: u64) {
        self.0.answered.fetch_add(accepted, Ordering::Relaxed);
        self.0.without_subscriber.fetch_add(without_subscriber, Ordering::Relaxed);
        self.0.refused.fetch_add(refused, Ordering::Relaxed);
    }

    /// Locks the latencies, across no await.
    pub(super) fn latencies(&self) -> MutexGuard<'_, Histogram> {
        self.0.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
