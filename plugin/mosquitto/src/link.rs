//! The connection to the daemon, on a thread of its own.
//!
//! It receives the registry, the policy and commands, and sends questions, sessions and counters. It never
//! calls the broker: what must be done there waits in the state, and a signal wakes the broker's thread.
//! While the daemon is away, the last whole snapshot stays in force.

mod connection;
mod received;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::clock;
use crate::ffi::signals;
use crate::log::Level;
use crate::pipe::Woken;
use crate::shared::Shared;
use connection::Connection;

/// The pauses between two attempts to connect.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// How often the signal to the broker's thread is repeated until it has taken the work: a signal that comes
/// just before its wait does not end it.
const WAKE_PERIOD: Duration = Duration::from_millis(5);

/// The longest wait: a bound for what no other deadline covers.
const POLL_MAX: Duration = Duration::from_secs(1);

/// After so long without a tick, sessions cannot be closed from here.
const TICK_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the link until the instance stops.
pub fn run(shared: &Shared, woken: &Woken) {
    signals::block_signals();
    let mut link = Link {
        shared,
        connection: None,
        retry_at: Instant::now(),
        retry_pause: RETRY_MIN,
        wake_at: None,
        started_at: Instant::now(),
        ticks_seen: 0,
        ticked_at: Instant::now(),
        failure: None,
    };
    while !shared.is_stopping.load(Ordering::Acquire) {
        link.turn(woken);
    }
}

struct Link<'a> {
    shared: &'a Shared,
    connection: Option<Connection>,
    retry_at: Instant,
    retry_pause: Duration,
    /// When the broker's thread is to be woken again.
    wake_at: Option<Instant>,
    started_at: Instant,
    ticks_seen: u64,
    ticked_at: Instant,
    /// The last failure, which is logged once.
    failure: Option<String>,
}

impl Link<'_> {
    fn turn(&mut self, woken: &Woken) {
        self.connect_if_due();
        self.exchange();
        {
            let mut state = self.shared.state();
            state.expire(clock::now());
            state.expire_delayed(Instant::now());
        }
        self.watch_ticks();
        self.wake_broker();
        self.wait(woken);
    }

    fn connect_if_due(&mut self) {
        if self.connection.is_some() || Instant::now() < self.retry_at {
            return;
        }
        match Connection::open(self.shared) {
            Ok(connection) => self.connection = Some(connection),
            Err(why) => self.failed(&format!("connecting to the daemon failed: {why}")),
        }
    }

    /// Reads and writes what there is.
    fn exchange(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        match connection.exchange(self.shared) {
            Ok(is_greeted) => {
                if is_greeted {
                    self.retry_pause = RETRY_MIN;
                    if self.failure.take().is_some() {
                        let mut state = self.shared.state();
                        state.log.push(Level::Notice, "connected to the daemon");
                    }
                }
            }
            Err(why) => {
                self.connection = None;
                received::disconnected(&mut self.shared.state());
                self.shared.answered.notify_all();
                self.failed(&format!("the connection to the daemon ended: {why}"));
            }
        }
    }

    fn failed(&mut self, why: &str) {
        self.retry_at = Instant::now() + self.retry_pause;
        self.retry_pause = (self.retry_pause * 2).min(RETRY_MAX);
        if self.failure.as_deref() != Some(why) {
            self.failure = Some(why.to_owned());
            let text = format!("{why}; retrying at {}", self.shared.options.socket.display());
            self.shared.state().log.push(Level::Warning, text);
        }
    }

    /// Notices a broker that calls no tick (2.0.11 to 2.0.14 with `per_listener_settings true`).
    fn watch_ticks(&mut self) {
        let ticks = self.shared.ticks.load(Ordering::Relaxed);
        if ticks != self.ticks_seen {
            (self.ticks_seen, self.ticked_at) = (ticks, Instant::now());
        }
        let never = ticks == 0 && self.started_at.elapsed() > TICK_TIMEOUT;
        let mut state = self.shared.state();
        // A broker that ticks may be busy; it is woken again and again anyway.
        let lacks = never && !state.kicks.is_empty();
        if lacks != state.lacks_ticks {
            state.lacks_ticks = lacks;
        }
    }

    /// Wakes the broker's thread while work waits for it.
    fn wake_broker(&mut self) {
        let state = self.shared.state();
        let has_work =
            !state.kicks.is_empty() || !state.log.is_empty() || !state.completions.is_empty();
        drop(state);
        if !has_work {
            self.wake_at = None;
        } else if self.wake_at.is_none_or(|at| at <= Instant::now()) {
            (self.shared.waker)();
            // Where no tick ever comes, the work waits for the session's own next request.
            let pause = if self.lacks_ticks() { POLL_MAX } else { WAKE_PERIOD };
            self.wake_at = Some(Instant::now() + pause);
        }
    }

    fn lacks_ticks(&self) -> bool {
        self.ticks_seen == 0 && self.started_at.elapsed() > TICK_TIMEOUT
    }

    fn wait(&self, woken: &Woken) {
        let timeout = self.timeout();
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut fds = vec![PollFd::new(woken, PollFlags::IN)];
        if let Some(connection) = &self.connection {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, connection.has_output());
            fds.push(PollFd::new(connection.socket(), flags));
        }
        // A failure of poll is no reason to spin: the next turn finds out what is wrong.
        if poll(&mut fds, Some(&timeout)).is_err() {
            std::thread::sleep(WAKE_PERIOD);
        }
        woken.drain();
    }

    /// How long nothing is due.
    fn timeout(&self) -> Duration {
        let now = Instant::now();
        let mut timeout = POLL_MAX;
        if self.connection.is_none() {
            timeout = timeout.min(self.retry_at.saturating_duration_since(now));
        }
        if let Some(at) = self.wake_at {
            timeout = timeout.min(at.saturating_duration_since(now));
        }
        if let Some(end) = self.shared.state().sessions.next_end() {
            let micros = end.micros().saturating_sub(clock::now().micros());
            timeout = timeout.min(Duration::from_micros(u64::try_from(micros).unwrap_or_default()));
        }
        timeout
    }
}
