//! Postgres' processes with a part of a core each: as if the machine had more and slower cores, of which
//! the other programs leave some free.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::measure::Way;
use crate::stage::Stage;

/// A process runs so long, and then stands still so long.
const RUNS: Duration = Duration::from_millis(3);
const STANDS: Duration = Duration::from_millis(7);

/// Stops and continues the processes until it is dropped.
pub struct Slowed {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

// === impl Slowed ===

impl Slowed {
    /// Nothing if the round does not ask for it.
    pub fn of(stage: &Stage, way: Way) -> Option<Self> {
        matches!(way, Way::Slowed(_)).then(|| Self::start(stage.postgres.processes[0]))
    }

    fn start(server: u32) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let processes = writers(server);
                // The list holds for a second.
                for _ in 0..100 {
                    signal(&processes, Signal::STOP);
                    thread::sleep(STANDS);
                    signal(&processes, Signal::CONT);
                    thread::sleep(RUNS);
                }
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends with the processes continued.
            let _ = thread.join();
        }
    }
}

// === private helpers ===

/// The server's processes that serve a login of Sluice.
fn writers(server: u32) -> Vec<Pid> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| serves_sluice(*id, server))
        .filter_map(|id| Pid::from_raw(id.cast_signed()))
        .collect()
}

fn serves_sluice(id: u32, server: u32) -> bool {
    let read = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
    let status = read("status");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    parent == Some(server) && read("cmdline").starts_with("postgres: sluice sluice ")
}

fn signal(processes: &[Pid], signal: Signal) {
    for process in processes {
        // One that has ended needs none.
        let _ = kill_process(*process, signal);
    }
}
