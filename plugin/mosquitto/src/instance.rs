//! One instance of the plugin: what the callbacks of one listener share.
//!
//! [`crate::login`] decides logins, [`crate::topics`] topics and proofs, [`crate::link`] is the connection to
//! the daemon. Here are the start, the end, and what the broker's thread does at a tick.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice_shared::frames::from_plugin::{ClosedWhy, FromPlugin};
use sluice_shared::proof::Boot;

use crate::link;
use crate::log::Level;
use crate::options::{OnStart, Options, RawOption};
use crate::pipe;
use crate::properties::Changed;
use crate::request::{ClientKey, Kick, TickWork, Waker};
use crate::shared::Shared;

/// Panics within [`PANIC_PERIOD`] after which the instance refuses everything.
const PANICS_MAX: u32 = 10;
const PANIC_PERIOD: Duration = Duration::from_mins(1);

/// How long the end of the broker waits for the thread of the link.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// One instance of the plugin.
pub struct Instance {
    pub(crate) shared: Arc<Shared>,
    link: Mutex<Option<JoinHandle<()>>>,
    panics: Mutex<(u32, Instant)>,
    refuses_all: AtomicBool,
}

impl Instance {
    /// Starts an instance with the options of the broker's configuration.
    pub fn start(raw: &[RawOption], is_2_1: bool, waker: Waker) -> Result<Self, String> {
        let options = Options::read(raw).map_err(|error| error.to_string())?;
        let mut boot = [0; 8];
        getrandom::fill(&mut boot).map_err(|error| format!("no random numbers: {error}"))?;
        let boot = Boot(u64::from_be_bytes(boot));
        let (wake, woken) = pipe::pair().map_err(|error| format!("no pipe: {error}"))?;
        let shared = Arc::new(Shared::new(options, boot, is_2_1, wake, waker));
        let of_thread = shared.clone();
        let link = std::thread::Builder::new()
            .name("sluice-link".to_owned())
            .spawn(move || link::run(&of_thread, &woken))
            .map_err(|error| format!("no thread: {error}"))?;
        let instance = Self {
            shared,
            link: Mutex::new(Some(link)),
            panics: Mutex::new((0, Instant::now())),
            refuses_all: AtomicBool::new(false),
        };
        instance.wait_for_snapshot()?;
        Ok(instance)
    }

    /// With `start fail`, the broker does not start without the registry.
    fn wait_for_snapshot(&self) -> Result<(), String> {
        let options = &self.shared.options;
        if options.start != OnStart::Fail {
            return Ok(());
        }
        let deadline = Instant::now() + options.start_timeout;
        let mut state = self.shared.state();
        while state.registry.is_none() {
            if Instant::now() >= deadline {
                drop(state);
                self.stop();
                return Err(format!(
                    "no snapshot of the registry arrived at {} within {} ms, and plugin_opt_start is fail",
                    options.socket.display(),
                    options.start_timeout.as_millis(),
                ));
            }
            state = self.shared.wait(state, deadline);
        }
        Ok(())
    }

    /// Ends the thread of the link.
    pub fn stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.shared.wake.wake();
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner).take();
        let deadline = Instant::now() + STOP_TIMEOUT;
        let Some(link) = link else { return };
        while !link.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if link.is_finished() {
            let _ = link.join();
        }
    }

    /// What the broker's thread must do now. Called at each tick.
    pub fn take_tick_work(&self) -> TickWork {
        self.shared.ticks.fetch_add(1, Ordering::Relaxed);
        let mut state = self.shared.state();
        TickWork {
            log: state.log.take(),
            kicks: state.kicks.drain(..).collect(),
            completions: std::mem::take(&mut state.completions),
        }
    }

    /// Whether the session of `kick` still uses its client id. The id may belong to a later session.
    pub fn must_kick(&self, kick: &Kick) -> bool {
        let mut state = self.shared.state();
        let is_same = kick
            .client_id
            .to_str()
            .ok()
            .and_then(|client_id| state.sessions.of_client_id(client_id))
            .is_some_and(|(client, session)| {
                client == kick.client && session.number == kick.session && !session.is_offline
            });
        if !is_same && let Some(command) = kick.command {
            state.closed_for(command);
            self.shared.wake.wake();
        }
        is_same
    }

    /// The broker has closed the session of `kick`.
    pub fn kicked(&self, kick: &Kick) {
        let micros = u64::try_from(kick.decided_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut state = self.shared.state();
        state.stats.kick_micros_max = state.stats.kick_micros_max.max(micros);
        let why = state.sessions.of_client(kick.client).and_then(|session| session.ended);
        match why {
            Some(ClosedWhy::Expired) => state.stats.kicked_expired += 1,
            _ => state.stats.kicked_revoked += 1,
        }
        if let Some(command) = kick.command {
            state.closed_for(command);
        }
        drop(state);
        self.shared.wake.wake();
    }

    /// A client has gone. `client_id` is `None` for one that was never accepted.
    pub fn disconnected(&self, client: ClientKey, client_id: Option<&[u8]>) {
        let mut state = self.shared.state();
        let is_entry = |id: &[u8]| state.sessions.get(client, id).is_some();
        if !client_id.is_some_and(is_entry) {
            // The broker uses the address for a stranger now: what is known of it is of the past.
            state.sessions.remove(client);
            return;
        }
        let Some(session) = state.sessions.disconnect(client) else { return };
        let (session, why) = (session.number, session.ended.unwrap_or(ClosedWhy::Disconnected));
        state.report(FromPlugin::Closed { session, why });
        drop(state);
        self.shared.wake.wake();
    }

    /// The broker has read its configuration again.
    pub fn reloaded(&self) {
        let mut state = self.shared.state();
        state
            .log
            .push(Level::Notice, "options are read at the start of the broker, not at a reload");
    }

    /// Whether too many callbacks panicked.
    pub fn refuses_all(&self) -> bool {
        self.refuses_all.load(Ordering::Relaxed)
    }

    /// Counts a panic, and gives up after too many.
    pub fn count_panic(&self) {
        let mut panics = self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        if panics.1.elapsed() > PANIC_PERIOD {
            *panics = (0, Instant::now());
        }
        panics.0 += 1;
        let is_too_many = panics.0 >= PANICS_MAX;
        drop(panics);
        let mut state = self.shared.state();
        state.stats.panics += 1;
        state.log.push(Level::Error, "a callback panicked; the request is refused");
        if is_too_many && !self.refuses_all.swap(true, Ordering::Relaxed) {
            state.log.push(
                Level::Error,
                "too many panics: every request is refused until the broker is restarted",
            );
        }
    }

    /// Counts what was changed at a message.
    pub fn count_properties(&self, changed: &Changed) {
        let mut state = self.shared.state();
        state.stats.stripped += changed.stripped as u64;
        if !changed.is_complete {
            state.stats.unstamped += 1;
        }
    }

    /// Counts a will that was published again, or was lost.
    pub fn count_will(&self, is_published: bool) {
        let mut state = self.shared.state();
        if is_published {
            state.stats.wills += 1;
        } else {
            state
                .log
                .push(Level::Error, "publishing a will with its proof failed; the will is lost");
        }
    }
}
