//! `sluice run`: the daemon, from the first log line to the exit code.
//!
//! It handles logs and signals; `app` wires and runs everything else.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::{self, RunError};
use crate::command::failure::{Exit, Failure};
use crate::config::{Config, Effective};
use crate::store::schema::migrate::SchemaError;
use crate::telemetry::logs;

/// Grace beyond `SHUTDOWN_TIMEOUT_SECONDS`; then the process exits whatever still runs.
const OVERTIME: Duration = Duration::from_secs(3);

/// What signals cause: the stop, and the order to drain.
type Signals = (CancellationToken, Arc<Notify>);

/// Runs until SIGTERM or SIGINT; a second one ends it at once. SIGUSR1 drains it.
pub async fn run(config: Config, settings: Vec<Effective>) -> Result<Exit, Failure> {
    logs::init(&config.process.log_level, config.process.log_format)
        .map_err(|error| Failure::new(Exit::Config, format!("cannot set up the log: {error}")))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?config, "sluice starts");
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let stop = CancellationToken::new();
    let drain = Arc::new(Notify::new());
    let signals = (stop.clone(), Arc::clone(&drain));
    watch_signals(signals, config.process.shutdown_timeout).map_err(|error| {
        Failure::new(Exit::Internal, format!("cannot install signal handlers: {error}; the daemon could not be stopped cleanly, and exits"))
    })?;
    // It is large, and the command line has other futures beside it.
    let ended = Box::pin(app::run(config, settings, stop, drain)).await;
    match ended {
        Ok(()) => {
            tracing::info!("stopped");
            Ok(Exit::Done)
        }
        Err(error) => {
            tracing::error!(%error, "stopped");
            Err(Failure::new(exit_of(&error), error.to_string()))
        }
    }
}

/// Handles signals on its own thread, which nothing else can block; the handlers are installed on
/// return.
fn watch_signals(signals: Signals, patience: Duration) -> io::Result<()> {
    let (ready, is_ready) = sync_channel(1);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let follow = move || runtime.block_on(follow_signals(signals, patience, &ready));
    thread::Builder::new().name("signals".to_owned()).spawn(follow)?;
    is_ready.recv().map_err(io::Error::other)?
}

/// The first signal stops the daemon in order. A second one, or the timeout, exits at once;
/// acknowledged messages are stored already.
async fn follow_signals(
    (stop, drain): Signals,
    patience: Duration,
    ready: &SyncSender<io::Result<()>>,
) {
    let installed = signal(SignalKind::terminate()).and_then(|term| {
        Ok((term, signal(SignalKind::interrupt())?, signal(SignalKind::user_defined1())?))
    });
    let (mut term, mut int, mut usr1) = match installed {
        Ok(signals) => signals,
        Err(error) => return drop(ready.send(Err(error))),
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    let mut next = async || loop {
        tokio::select! {
            _ = term.recv() => return,
            _ = int.recv() => return,
            _ = usr1.recv() => drain.notify_one(),
        }
    };
    next().await;
    stop.cancel();
    let exit = tokio::select! {
        () = next() => {
            tracing::warn!("received a second signal; exiting at once; the broker keeps the messages that were not acknowledged");
            Exit::Internal
        }
        () = tokio::time::sleep(patience + OVERTIME) => {
            tracing::error!(
                "the shutdown took longer than SHUTDOWN_TIMEOUT_SECONDS; exiting at once; the broker keeps the messages that \
                 were not acknowledged"
            );
            Exit::Unavailable
        }
    };
    logs::flush();
    process::exit(exit as i32);
}

fn exit_of(error: &RunError) -> Exit {
    match error {
        RunError::Schema(SchemaError::Outage(_)) | RunError::TimedOut => Exit::Unavailable,
        RunError::Database(_)
        | RunError::Policy(_)
        | RunError::Est(_)
        | RunError::CellAuthorities(_)
        | RunError::Links(_)
        | RunError::Bind { .. }
        | RunError::Socket(_)
        | RunError::Schema(_) => Exit::Config,
        RunError::Metrics(_) | RunError::TaskDied(_) => Exit::Internal,
    }
}
