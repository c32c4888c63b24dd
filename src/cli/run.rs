//! `sluice run`: the daemon, from the first log line to the exit code.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure};
use crate::app::{self, RunError};
use crate::config::Config;
use crate::lifecycle::Tasks;
use crate::store::migrate::SchemaError;
use crate::telemetry::logs;

/// Runs until SIGTERM or SIGINT; a second one ends it at once.
pub async fn run(config: Config) -> Result<Exit, Failure> {
    logs::init(&config.process.log_level, config.process.log_format)
        .map_err(|error| Failure::new(Exit::Config, format!("the log cannot be set up: {error}")))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?config, "sluice starts");
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let stop = CancellationToken::new();
    let mut signals = Tasks::default();
    signals.spawn("signals", follow_signals(stop.clone()));
    let ended = app::run(config, stop).await;
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

/// The first signal stops the daemon in order, the second ends the process as it is: nothing stored is lost by that.
async fn follow_signals(stop: CancellationToken) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::error!("signals cannot be heard; stopping, because a stop could never be asked for");
        return stop.cancel();
    };
    let mut next = async || {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    next().await;
    stop.cancel();
    next().await;
    tracing::warn!("a second signal: ending at once; the broker keeps what was not acknowledged");
    std::process::exit(Exit::Internal as i32);
}

fn exit_of(error: &RunError) -> Exit {
    match error {
        RunError::Schema(SchemaError::Outage(_)) | RunError::TimedOut => Exit::Unavailable,
        RunError::Database(_) | RunError::Policy(_) | RunError::Bind { .. } | RunError::Schema(_) => Exit::Config,
        RunError::Metrics(_) | RunError::TaskDied(_) => Exit::Internal,
    }
}
