//! Life of the process: tasks with owners and names, one stop signal for all, and readiness with
//! its reasons. It has no task of its own.
//!
//! [`backoff`] spaces attempts. [`draining`] is the state of a drain. [`health_reporter`] reports one component to readiness and log;
//! [`outage_log`] decides which of its failures get a line. [`file_watch`] reads a file again when it
//! changes. [`service_manager`] notifies systemd.

pub(crate) mod backoff;
pub mod draining;
pub(crate) mod file_watch;
pub(crate) mod health_reporter;
pub(crate) mod outage_log;
pub(crate) mod service_manager;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tasks of the daemon. A task that ends before `stop` ends the process; the log names the task.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<&'static str>,
    names: BTreeMap<tokio::task::Id, &'static str>,
}

/// How the tasks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All tasks ended before the timeout.
    Done,
    /// Some tasks were still running at the timeout and were aborted.
    TimedOut,
}

/// Reasons why the daemon is not ready, by component; empty means ready. Clones share the same
/// state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    troubles: Arc<Mutex<BTreeMap<&'static str, String>>>,
    /// Components that work now and will fail later, with the reason.
    warnings: Arc<Mutex<BTreeMap<&'static str, String>>>,
    /// What components are, for a person who reads the answer.
    notes: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

// === impl Tasks ===

impl Tasks {
    /// Spawns a task; logs and errors use its `name`.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = self.set.spawn(async move {
            task.await;
            name
        });
        self.names.insert(handle.id(), name);
    }

    /// Waits until a task ends or `stop` is cancelled. Returns the name of a task that ended before
    /// `stop`.
    pub async fn watch(&mut self, stop: &CancellationToken) -> Option<&'static str> {
        tokio::select! {
            // `stop` is checked first: a task that ends after it ends as intended.
            biased;
            () = stop.cancelled() => None,
            ended = self.set.join_next_with_id() => {
                ended.map(|ended| self.name_of(ended)).filter(|_| !stop.is_cancelled())
            }
        }
    }

    /// Waits for all tasks for at most `patience`, then aborts the others.
    pub async fn finish(mut self, patience: Duration) -> Ending {
        let all = async {
            while let Some(ended) = self.set.join_next_with_id().await {
                if ended.is_err() {
                    let name = self.name_of(ended);
                    tracing::error!(task = name, "a task panicked while the daemon was stopping");
                }
            }
        };
        match tokio::time::timeout(patience, all).await {
            Ok(()) => Ending::Done,
            Err(_) => Ending::TimedOut,
        }
    }

    fn name_of(
        &self,
        ended: Result<(tokio::task::Id, &'static str), tokio::task::JoinError>,
    ) -> &'static str {
        match ended {
            Ok((_, name)) => name,
            Err(error) => self.names.get(&error.id()).copied().unwrap_or("unnamed"),
        }
    }
}

// === impl Readiness ===

impl Readiness {
    /// Removes the reason of a component: it works.
    pub fn well(&self, part: &'static str) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// Records why a component does not work: one sentence for the operator.
    pub fn unwell(&self, part: &'static str, why: impl Into<String>) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).insert(part, why.into());
    }

    /// Sets the warning of a component that works; `None` removes it.
    pub fn warn(&self, part: &'static str, why: Option<String>) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => warnings.insert(part, why),
            None => warnings.remove(part),
        };
    }

    /// Sets what a component is; `None` says nothing of it.
    pub fn note(&self, part: &'static str, what: Option<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Some(what) => notes.insert(part, what),
            None => notes.remove(part),
        };
    }

    /// Returns what components are.
    pub fn notes(&self) -> BTreeMap<&'static str, String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the warnings, by component.
    pub fn warnings(&self) -> BTreeMap<&'static str, String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the reasons, by component; empty means ready.
    pub fn troubles(&self) -> BTreeMap<&'static str, String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether the daemon is ready, and why not, in one sentence.
    pub fn sentence(&self) -> String {
        let troubles = self.troubles();
        let texts: Vec<_> = troubles.iter().map(|(part, why)| format!("{part}: {why}")).collect();
        if texts.is_empty() {
            "ready".to_owned()
        } else {
            format!("not ready: {}", texts.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_is_named_if_it_ends_before_the_stop() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::default();
        tasks.spawn("brief", async {});
        assert_eq!(tasks.watch(&stop).await, Some("brief"));
        stop.cancel();
        // Either of the two may be ready first.
        for _ in 0..100 {
            tasks.spawn("stopped", async {});
            tokio::task::yield_now().await;
            assert_eq!(tasks.watch(&stop).await, None);
        }
    }
}
