//! `sluice health`: asks the running daemon whether it is ready and returns that as the exit code,
//! so that an image without a shell can check itself.
//!
//! It checks nothing itself: the daemon defines "ready", and `doctor` looks for causes.

use std::io::{self, Write};

use crate::command::failure::{Exit, Failure};
use crate::config::Config;
use crate::http::ops_client;

/// Which question to ask.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// Ask only whether the process is alive (/livez), not whether it is ready (/readyz)
    #[arg(long)]
    live: bool,
}

/// Prints the daemon's answer; exits with 0 for yes, 1 for no, 69 when there is none.
pub async fn run(args: HealthArgs, config: &Config) -> Result<Exit, Failure> {
    let bind = config.http.ops_bind;
    let path = if args.live { "/livez" } else { "/readyz" };
    let (status, body) = ops_client::get(bind, path).await.map_err(|error| {
        Failure::unavailable(format!(
            "no daemon answers at OPS_BIND={bind}: {error}; start it with `sluice run`, or set OPS_BIND to the address of the \
             running daemon"
        ))
    })?;
    writeln!(io::stdout(), "{}", body.trim_end())?;
    Ok(if status == 200 { Exit::Done } else { Exit::Negative })
}
