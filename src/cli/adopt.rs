//! `sluice adopt`: stores what waits at the broker for a replica that is gone, and ends its session.
//!
//! It takes the daemon's own path of a message, in this process. It touches no session of a replica that
//! runs.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::app::adoption::{AdoptError, AdoptedSession, Adopter};
use crate::command::context::CommandContext;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::config::Config;
use crate::ingest::grants::Grants;
use crate::lifecycle::draining::DrainDesk;
use crate::link::file;
use crate::link::settings::LinkSet;
use crate::registry::replicas::AdoptRefusal;
use crate::telemetry::metrics::Metrics;

/// How often the progress is printed.
const PROGRESS_PERIOD: Duration = Duration::from_millis(200);

/// Whose session to adopt.
#[derive(Clone, Debug, Args)]
pub struct AdoptArgs {
    /// The `MQTT_CLIENT_ID` of the replica that is gone
    client_id: String,
}

/// Adopts the session: 0 when it has ended, 1 when its replica runs, another adopts it, or no other runs.
pub async fn run(args: AdoptArgs, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let context = CommandContext::open(config).await?;
    let links = config.links.path.as_deref().map_or_else(|| Ok(LinkSet::default()), file::load);
    let links = links.map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let metrics =
        Metrics::new().map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    let (_plan_in, plan) = watch::channel(Arc::new(links.plan()));
    let parts = Adopter {
        config: config.clone(),
        database: context.database.clone(),
        grants: Grants::new(&config.ingest),
        ingest: metrics.ingest,
        plan,
        actor: context.actor.clone(),
    };
    let (desk, stop) = (DrainDesk::default(), CancellationToken::new());
    let started_at = Instant::now();
    let adopting = parts.adopt(&args.client_id, &desk, &stop);
    tokio::pin!(adopting);
    let outcome = tokio::select! {
        ended = &mut adopting => ended,
        () = show_progress(&desk) => (&mut adopting).await,
        () = interrupted() => {
            // What is received is stored, and the rest stays in the session.
            stop.cancel();
            (&mut adopting).await
        }
    };
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    let session = outcome.map_err(|error| explain(&error))?;
    print(&session, started_at.elapsed(), output)?;
    Ok(Exit::Done)
}

// === private helpers ===

/// Never resolves.
async fn show_progress(desk: &DrainDesk) {
    let is_terminal = std::io::stderr().is_terminal();
    loop {
        sleep(PROGRESS_PERIOD).await;
        if is_terminal {
            let state = desk.state();
            // A write error is ignored.
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[K{}: {} messages stored",
                state.phase.label(),
                state.taken
            );
        }
    }
}

async fn interrupted() {
    let signals = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    let Ok((mut interrupt, mut terminate)) = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn explain(error: &AdoptError) -> Failure {
    let exit = match error {
        AdoptError::Refused(AdoptRefusal::Unknown(_) | AdoptRefusal::OtherBroker { .. }) => {
            Exit::Usage
        }
        AdoptError::Refused(AdoptRefusal::Outage(_)) | AdoptError::GivenUp { .. } => {
            Exit::Unavailable
        }
        AdoptError::Refused(_) => Exit::Negative,
        AdoptError::Metrics(_) => Exit::Internal,
    };
    Failure::new(exit, error.to_string())
}

fn print(adopted: &AdoptedSession, took: Duration, output: OutputFormat) -> std::io::Result<()> {
    let AdoptedSession { client_id, messages, row_removed } = adopted;
    let value = json!({
        "client_id": client_id,
        "messages": messages,
        "row_removed": row_removed,
        "seconds": took.as_secs_f64(),
    });
    let what = if *row_removed {
        "adopted: its messages are stored, and its session has ended"
    } else {
        "adopted: its messages are stored; the replica is back, and keeps its row"
    };
    let lines = [
        ("Replica", client_id.clone()),
        ("Result", what.to_owned()),
        ("Messages", messages.to_string()),
        ("Seconds", format!("{:.1}", took.as_secs_f64())),
    ];
    fields(output, &value, &lines)
}
