//! Shares one examination among all who want it: at most one runs, and a recent one is shown again.
//!
//! It examines nothing: a task of the daemon does when it is wanted.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::report::{DoctorReport, DoctorStep};
use crate::clock;

/// The examinations of a daemon. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct DoctorDesk(Arc<SharedVisits>);

#[derive(Debug)]
struct SharedVisits {
    visits: watch::Sender<DoctorVisits>,
    /// Wakes the task that examines.
    wanted: Notify,
}

/// The examination that runs, and the last one.
#[derive(Clone, Debug, Default)]
pub(crate) struct DoctorVisits {
    pub running: Option<DoctorVisit>,
    pub last: Option<DoctorVisit>,
    ended: Option<Instant>,
}

/// An examination.
#[derive(Clone, Debug)]
pub(crate) struct DoctorVisit {
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// The check that runs.
    pub check: Option<&'static str>,
    pub report: DoctorReport,
}

// === impl DoctorDesk ===

impl Default for DoctorDesk {
    fn default() -> Self {
        let visits = watch::Sender::new(DoctorVisits::default());
        Self(Arc::new(SharedVisits { visits, wanted: Notify::new() }))
    }
}

impl DoctorDesk {
    /// The examinations; starts one if none runs and the last is older than `max_age`, and waits at
    /// most `patience` for its end.
    pub(crate) async fn consult(&self, max_age: Duration, patience: Duration) -> DoctorVisits {
        let mut seen = self.0.visits.subscribe();
        let is_new = self.0.visits.send_if_modified(|visits| {
            let is_due = visits.running.is_none() && !visits.is_fresh(max_age);
            if is_due {
                visits.running = Some(DoctorVisit::new(clock::now().to_utc()));
            }
            is_due
        });
        if is_new {
            self.0.wanted.notify_one();
        }
        // Without a result in time the answer shows how far the examination is.
        let _ended_or_not =
            timeout(patience, seen.wait_for(|visits| visits.running.is_none())).await;
        self.0.visits.borrow().clone()
    }

    /// Waits until an examination is wanted.
    pub(crate) async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Notes how far the examination is.
    pub(crate) fn note(&self, step: DoctorStep<'_>) {
        self.0.visits.send_modify(|visits| {
            let Some(visit) = &mut visits.running else { return };
            match step {
                DoctorStep::Begins(check) => visit.check = Some(check),
                DoctorStep::Found(row) => visit.report.add(row.clone()),
            }
        });
    }

    /// The examination has ended.
    pub(crate) fn finish(&self) {
        self.0.visits.send_modify(|visits| {
            if let Some(mut visit) = visits.running.take() {
                visit.finished_at = Some(clock::now().to_utc());
                visit.check = None;
                visits.last = Some(visit);
                visits.ended = Some(Instant::now());
            }
        });
    }
}

// === impl DoctorVisits ===

impl DoctorVisits {
    fn is_fresh(&self, max_age: Duration) -> bool {
        self.ended.is_some_and(|ended| ended.elapsed() <= max_age)
    }
}

// === impl DoctorVisit ===

impl DoctorVisit {
    fn new(started_at: DateTime<Utc>) -> Self {
        let report = DoctorReport { ok: true, ..DoctorReport::default() };
        Self { started_at, finished_at: None, check: None, report }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_examination_serves_all_until_it_is_old() {
        let desk = DoctorDesk::default();
        let (age, patience) = (Duration::from_mins(10), Duration::from_mins(1));
        let waiting = desk.consult(age, Duration::ZERO).await;
        assert!(waiting.running.is_some() && waiting.last.is_none());
        desk.wanted().await;
        desk.note(DoctorStep::Begins("broker"));
        let (first, second, ()) =
            tokio::join!(desk.consult(age, patience), desk.consult(age, patience), async {
                desk.finish();
            });
        assert!(first.running.is_none() && second.last.is_some_and(|visit| visit.report.ok));
        assert!(desk.consult(age, patience).await.running.is_none(), "it is still recent");
        tokio::time::sleep(Duration::from_millis(2)).await;
        let old = desk.consult(Duration::from_millis(1), Duration::ZERO).await;
        assert!(old.running.is_some(), "it is old");
    }
}
