//! `sluice health`: asks the daemon of these settings whether it is ready, and answers with its exit code, so that an
//! image without a shell can check itself.
//!
//! It looks at nothing itself: what "ready" means is the daemon's to say. It is not `doctor`, which looks for causes.

use std::io::{self, Write};

use crate::command::failure::{Exit, Failure};
use crate::config::Config;
use crate::http::ops_client;

/// What to ask.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// Ask only whether the process turns (/livez), not whether it is ready (/readyz)
    #[arg(long)]
    live: bool,
}

/// Asks, prints the answer, and ends with 0 for yes, 1 for no, 69 for none.
pub async fn run(args: HealthArgs, config: &Config) -> Result<Exit, Failure> {
    let bind = config.http.ops_bind;
    let path = if args.live { "/livez" } else { "/readyz" };
    let (status, body) = ops_client::get(bind, path).await.map_err(|error| {
        Failure::unavailable(format!("nobody answers at {bind} (OPS_BIND): {error}. Is `sluice run` running here?"))
    })?;
    writeln!(io::stdout(), "{}", body.trim_end())?;
    Ok(if status == 200 { Exit::Done } else { Exit::Negative })
}
