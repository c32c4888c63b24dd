//! Postgres' processes with a part of a core each: as if the machine had more and slower cores, of which
//! the other programs leave some free.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::measure::Way;
use crate::stage::Stage;

/// The share of a core that a process gets.
const SHARE: f64 = 0.2;

/// How often the processes are looked at, and how often they are listed again.
const TICK: Duration = Duration::from_millis(2);
const LISTED_EVERY: Duration = Duration::from_secs(1);

/// What a process that was idle may use at once.
const BURST: Duration = Duration::from_millis(4);

/// Stops and continues the processes until it is dropped.
pub struct Slowed {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A process, and how far it is ahead of its share.
struct Limited {
    pid: Pid,
    /// CPU time at the last look, and what it has used beyond its share; both in seconds.
    used: f64,
    ahead: f64,
    stands: bool,
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
        let thread = thread::spawn(move || limit(server, &seen));
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It continues the processes before it ends.
            let _ = thread.join();
        }
    }
}

// === impl Limited ===

impl Limited {
    fn new(pid: Pid) -> Self {
        Self { pid, used: seconds_used(pid), ahead: 0.0, stands: false }
    }

    /// Stops the process while it is ahead of its share of the time that has passed.
    fn look(&mut self, passed: Duration) {
        let used = seconds_used(self.pid);
        self.ahead += used - self.used - SHARE * passed.as_secs_f64();
        self.ahead = self.ahead.max(-BURST.as_secs_f64());
        self.used = used;
        let stands = self.ahead > 0.0;
        if stands != self.stands {
            self.signal(if stands { Signal::STOP } else { Signal::CONT });
            self.stands = stands;
        }
    }

    fn signal(&self, signal: Signal) {
        // One that has ended needs none.
        let _ = kill_process(self.pid, signal);
    }
}

// === private helpers ===

fn limit(server: u32, ends: &AtomicBool) {
    let mut limited: HashMap<u32, Limited> = HashMap::new();
    let (mut listed, mut looked) = (None::<Instant>, Instant::now());
    while !ends.load(Ordering::Relaxed) {
        if listed.is_none_or(|at| at.elapsed() > LISTED_EVERY) {
            let found = writers(server);
            limited.retain(|id, _| found.iter().any(|(other, _)| other == id));
            for (id, pid) in found {
                limited.entry(id).or_insert_with(|| Limited::new(pid));
            }
            listed = Some(Instant::now());
        }
        thread::sleep(TICK);
        let passed = looked.elapsed();
        looked = Instant::now();
        for process in limited.values_mut() {
            process.look(passed);
        }
    }
    for process in limited.values() {
        process.signal(Signal::CONT);
    }
}

/// CPU time of a process by the clock of the scheduler: that of `stat` has steps of 10 ms.
fn seconds_used(pid: Pid) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0)).as_secs_f64()
}

/// The server's processes that serve a login of Sluice.
fn writers(server: u32) -> Vec<(u32, Pid)> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| serves_sluice(*id, server))
        .filter_map(|id| Some((id, Pid::from_raw(id.cast_signed())?)))
        .collect()
}

fn serves_sluice(id: u32, server: u32) -> bool {
    let read = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
    let status = read("status");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    parent == Some(server) && read("cmdline").starts_with("postgres: sluice sluice ")
}
