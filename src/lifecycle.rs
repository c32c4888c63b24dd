//! How the process lives and ends: tasks with owners and names, one stop signal for all, and readiness that says why not.
//!
//! It starts no task of its own and knows none of the wings.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The tasks of the daemon. A task that ends before it was told to stop brings the process down, by name.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<&'static str>,
    names: BTreeMap<tokio::task::Id, &'static str>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All tasks stopped after they were told to.
    Done,
    /// Some were still running when the time was up; they were cut off.
    TimedOut,
}

/// What makes the daemon unready, by part; empty means ready. Cheap to clone, shared by all parts.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    troubles: Arc<Mutex<BTreeMap<&'static str, String>>>,
    /// What works today and will not one day.
    warnings: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

// === impl Tasks ===

impl Tasks {
    /// Starts a task under a name that logs and endings use.
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

    /// Waits until a task ends by itself or `stop` is cancelled; says which task it was. One that heard of `stop` before
    /// we did has not ended by itself.
    pub async fn watch(&mut self, stop: &CancellationToken) -> Option<&'static str> {
        tokio::select! {
            // Told to stop comes first: then a task that ends does as it was told.
            biased;
            () = stop.cancelled() => None,
            ended = self.set.join_next_with_id() => {
                ended.map(|ended| self.name_of(ended)).filter(|_| !stop.is_cancelled())
            }
        }
    }

    /// Waits for all tasks, at most this long; what is left then is cut off.
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

    fn name_of(&self, ended: Result<(tokio::task::Id, &'static str), tokio::task::JoinError>) -> &'static str {
        match ended {
            Ok((_, name)) => name,
            Err(error) => self.names.get(&error.id()).copied().unwrap_or("unnamed"),
        }
    }
}

// === impl Readiness ===

impl Readiness {
    /// This part is well.
    pub fn well(&self, part: &'static str) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// This part is not, and why: a sentence for the operator.
    pub fn unwell(&self, part: &'static str, why: impl Into<String>) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).insert(part, why.into());
    }

    /// This part is well and will not be for long, and why; none: it will.
    pub fn warn(&self, part: &'static str, why: Option<String>) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => warnings.insert(part, why),
            None => warnings.remove(part),
        };
    }

    /// What somebody has to do in time, by part.
    pub fn warnings(&self) -> BTreeMap<&'static str, String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is wrong, by part; empty means ready.
    pub fn troubles(&self) -> BTreeMap<&'static str, String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_named_and_one_that_was_told_to_stop_is_not() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::default();
        tasks.spawn("brief", async {});
        assert_eq!(tasks.watch(&stop).await, Some("brief"));
        stop.cancel();
        // Which of the two is noticed first is left to chance.
        for _ in 0..100 {
            tasks.spawn("told", async {});
            tokio::task::yield_now().await;
            assert_eq!(tasks.watch(&stop).await, None);
        }
    }
}
