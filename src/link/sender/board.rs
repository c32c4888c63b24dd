//! The board of a link, on which its lanes show their states: for metrics, the table of states and
//! readiness.
//!
//! It writes no row and no log line.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::link::LinkName;
use crate::domain::time::{Clock, Timestamp};
use crate::telemetry::links::LinkMetrics;

/// The state of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LaneState {
    /// Connected, and everything is granted.
    Up,
    /// Connected, and the other broker limits the rate.
    Throttled,
    /// Not connected; an attempt is under way or due.
    Connecting,
    /// The other broker refuses the login, a subscription or all messages.
    Refused,
    /// The other broker ends each connection at once.
    Flapping,
    /// Another replica sends.
    Standby,
}

/// What a lane reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStanding {
    /// Its state.
    pub state: LaneState,
    /// Since when.
    pub since: Timestamp,
    /// What happened last; `None`: nothing to report.
    pub detail: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// Acknowledged messages since the start.
    pub published: u64,
    /// Messages without an acknowledgement.
    pub in_flight: usize,
}

/// The reports of all lanes of a link.
#[derive(Debug)]
pub struct LinkBoard {
    /// The link.
    pub link: LinkName,
    lanes: Mutex<Vec<LaneStanding>>,
    /// Seconds for which the oldest message has waited.
    oldest: Mutex<f64>,
    changed: Notify,
    /// Set when the link is stopped for good: its series are no longer updated.
    is_retired: AtomicBool,
    /// Set when the link is no longer in the links file.
    is_removed: AtomicBool,
    metrics: LinkMetrics,
    clock: Clock,
}

// === impl LaneState ===

impl LaneState {
    /// All, for metrics.
    pub const ALL: [Self; 6] =
        [Self::Up, Self::Throttled, Self::Connecting, Self::Refused, Self::Flapping, Self::Standby];

    /// Its name in metrics, table and commands.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Throttled => "throttled",
            Self::Connecting => "connecting",
            Self::Refused => "refused",
            Self::Flapping => "flapping",
            Self::Standby => "standby",
        }
    }

    /// Whether the lane is connected.
    const fn is_connected(self) -> bool {
        matches!(self, Self::Up | Self::Throttled)
    }
}

// === impl LinkBoard ===

impl LinkBoard {
    /// All lanes are connecting.
    pub fn new(link: LinkName, lanes: u16, metrics: LinkMetrics, clock: Clock) -> Self {
        let first = LaneStanding {
            state: LaneState::Connecting,
            since: clock(),
            detail: None,
            advice: None,
            published: 0,
            in_flight: 0,
        };
        let lanes = Mutex::new(vec![first; usize::from(lanes.max(1))]);
        metrics.begin(link.as_str());
        let report = Self {
            link,
            lanes,
            oldest: Mutex::default(),
            changed: Notify::new(),
            is_retired: AtomicBool::new(false),
            is_removed: AtomicBool::new(false),
            metrics,
            clock,
        };
        report.show(&report.lanes());
        report
    }

    /// Sets the state of a lane, what happened and what to do about it.
    pub fn set(&self, lane: u16, state: LaneState, detail: Option<String>, advice: Option<String>) {
        let mut lanes = self.lanes();
        let Some(report) = lanes.get_mut(usize::from(lane)) else { return };
        if report.state == state && report.detail == detail && report.advice == advice {
            return;
        }
        if report.state != state {
            report.since = (self.clock)();
        }
        (report.state, report.detail, report.advice) = (state, detail, advice);
        self.show(&lanes);
        drop(lanes);
        self.changed.notify_one();
    }

    /// Sets all lanes to a state, in which nothing is sent.
    pub fn set_all(&self, state: LaneState) {
        self.set_oldest(0.0);
        let number = self.lanes().len();
        for lane in 0..number {
            self.set(u16::try_from(lane).unwrap_or(u16::MAX), state, None, None);
        }
    }

    /// Counts acknowledged messages, and those in flight.
    pub fn progress(&self, lane: u16, published: u64, in_flight: usize) {
        let mut lanes = self.lanes();
        let Some(report) = lanes.get_mut(usize::from(lane)) else { return };
        report.published += published;
        report.in_flight = in_flight;
        if self.is_retired.load(Ordering::Relaxed) {
            return;
        }
        let all: usize = lanes.iter().map(|report| report.in_flight).sum();
        let all = i64::try_from(all).unwrap_or(i64::MAX);
        self.metrics.inflight.with_label_values(&[self.link.as_str()]).set(all);
    }

    /// The reports, by lane.
    pub fn all(&self) -> Vec<LaneStanding> {
        self.lanes().clone()
    }

    /// The worst lane.
    pub fn worst(&self) -> Option<LaneStanding> {
        self.lanes().iter().max_by_key(|report| report.state).cloned()
    }

    /// Records for how many seconds the oldest message has waited.
    pub(super) fn set_oldest(&self, seconds: f64) {
        *self.oldest.lock().unwrap_or_else(PoisonError::into_inner) = seconds;
    }

    /// For how many seconds the oldest message has waited; 0 on a replica that does not send.
    pub fn oldest_seconds(&self) -> f64 {
        *self.oldest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the updates of the metrics: another board shows the link now, or none.
    pub fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    /// The link is no longer in the links file: its sender removes what shows it.
    pub fn remove(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
        self.retire();
    }

    /// Whether the link is no longer in the links file.
    pub(super) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    /// The time of the states.
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Waits until a state has changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<LaneStanding>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, lanes: &[LaneStanding]) {
        if self.is_retired.load(Ordering::Relaxed) {
            return;
        }
        let link = self.link.as_str();
        for (lane, report) in lanes.iter().enumerate() {
            let up = self.metrics.up.with_label_values(&[link, &lane.to_string()]);
            up.set(report.state.is_connected().into());
        }
        let worst = lanes.iter().map(|report| report.state).max();
        for state in LaneState::ALL {
            let gauge = self.metrics.state.with_label_values(&[link, state.label()]);
            gauge.set((Some(state) == worst).into());
        }
    }
}
