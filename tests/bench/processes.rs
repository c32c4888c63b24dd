//! What processes cost, as the kernel counts it, and processes of our own that end with the bench.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The kernel counts CPU time in hundredths of a second, on every Linux that is not built
/// otherwise.
const MICROS_PER_TICK: u64 = 10_000;

/// A process of ours that has not ended by then is hung.
const PATIENCE: Duration = Duration::from_mins(2);

/// A process that is killed when this is dropped.
pub struct Owned {
    child: Child,
    said: Option<BufReader<ChildStdout>>,
}

impl Owned {
    /// Starts it; what it says on standard output is for us.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let said = child.stdout.take().map(BufReader::new);
        Ok(Self { child, said })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its next line.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if let Some(said) = &mut self.said {
            said.read_line(&mut line)?;
        }
        if line.is_empty() {
            Err(io::Error::other("a process of the bench ended early"))
        } else {
            Ok(line.trim().into())
        }
    }

    /// Waits for its end; all it said and whether it is content.
    pub fn finish(mut self) -> io::Result<(String, bool)> {
        let said = self.said.take().map_or(Ok(String::new()), io::read_to_string)?;
        Ok((said, self.child.wait()?.success()))
    }

    /// Tells it to end, and waits until it has.
    pub fn stop(mut self) -> io::Result<()> {
        Command::new("kill").args(["-s", "TERM", &self.id().to_string()]).status()?;
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process so far, in microseconds; none when it is gone.
pub fn cpu(pid: u32) -> u64 {
    stat(pid).map_or(0, |stat| (stat.own) * MICROS_PER_TICK)
}

/// The same for a server with its children, those that have ended included.
pub fn cpu_with_children(pid: u32) -> u64 {
    // First, or a child that ends in between would count twice.
    let server = stat(pid);
    let living = fs::read_dir("/proc").into_iter().flatten().flatten();
    let living =
        living.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(stat);
    let children: u64 = living.filter(|child| child.parent == pid).map(|child| child.own).sum();
    server.map_or(0, |server| (server.own + server.reaped + children) * MICROS_PER_TICK)
}

/// CPU time of those of our own children that have ended.
pub fn cpu_of_ended() -> u64 {
    stat(std::process::id()).map_or(0, |own| own.reaped * MICROS_PER_TICK)
}

/// The most memory a process ever had, in MiB.
pub fn peak_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
        .map_or(0.0, |kib| kib / 1024.0)
}

struct Stat {
    parent: u32,
    own: u64,
    reaped: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything: state, parent, and so on; user and system time are
    // the 12th and 13th.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        reaped: ticks(13)? + ticks(14)?,
    })
}
