//! Calls to the file system that may hang: on a blocking thread, one at a time, each with a time
//! limit.
//!
//! A dead mount holds one thread: the next call waits for that one and times out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Longest duration of one call, and longest wait for the call before it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs file system calls one at a time.
#[derive(Clone, Debug)]
pub struct Disk {
    permit: Arc<Semaphore>,
    time_limit: Duration,
}

// === impl Disk ===

impl Default for Disk {
    fn default() -> Self {
        Self { permit: Arc::new(Semaphore::new(1)), time_limit: TIMEOUT }
    }
}

impl Disk {
    /// Runs `work` on a blocking thread. The error means that it did not end within the time limit.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let timed_out = |_| {
            format!(
                "the file system did not answer within {} s: look at its mount",
                self.time_limit.as_secs()
            )
        };
        let permit = timeout(self.time_limit, Arc::clone(&self.permit).acquire_owned())
            .await
            .map_err(timed_out)?;
        let permit = permit.map_err(|closed| closed.to_string())?;
        let done = spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        timeout(self.time_limit, done)
            .await
            .map_err(timed_out)?
            .map_err(|panicked| panicked.to_string())
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
        disk.time_limit = Duration::from_millis(50);
        assert!(disk.run(move || held.recv()).await.unwrap_err().contains("did not answer"));
        assert!(
            disk.run(|| 7).await.unwrap_err().contains("did not answer"),
            "no second thread is taken"
        );
        release.send(()).unwrap();
        disk.time_limit = TIMEOUT;
        assert_eq!(disk.run(|| 7).await, Ok(7));
    }
}
