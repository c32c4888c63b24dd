//! Calls to the file system that may not return: on a thread that may wait, one at a time, each with an end.
//!
//! A mount that is gone holds one thread and no more: until that call returns no other is made.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long one call may take, and the wait for the one before it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where files are read and written.
#[derive(Clone, Debug)]
pub struct Disk {
    turn: Arc<Semaphore>,
    patience: Duration,
}

// === impl Disk ===

impl Default for Disk {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), patience: PATIENCE }
    }
}

impl Disk {
    /// Does this work; the error says that it did not end in time.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        let late =
            |_| format!("the file system did not answer within {} s: look at its mount", self.patience.as_secs());
        let turn = timeout(self.patience, Arc::clone(&self.turn).acquire_owned()).await.map_err(late)?;
        let turn = turn.map_err(|closed| closed.to_string())?;
        let done = spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        timeout(self.patience, done).await.map_err(late)?.map_err(|panicked| panicked.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_does_not_return_holds_one_thread_and_no_caller() {
        let mut disk = Disk::default();
        assert_eq!(disk.run(|| 7).await, Ok(7));
        let (release, held) = std::sync::mpsc::channel::<()>();
        disk.patience = Duration::from_millis(50);
        assert!(disk.run(move || held.recv()).await.unwrap_err().contains("did not answer"));
        assert!(disk.run(|| 7).await.unwrap_err().contains("did not answer"), "no second thread is taken");
        release.send(()).unwrap();
        disk.patience = PATIENCE;
        assert_eq!(disk.run(|| 7).await, Ok(7));
    }
}
