//! The two databases of `sluice cell`: where their URLs come from, and how a failure of one ends a command.
//!
//! A URL contains a password: it is read from a setting or a file, and never printed.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::command::failure::{Exit, Failure};
use crate::config::Config;
use crate::config::secret::Secret;
use crate::disk;
use crate::store::cells::CellError;

/// Longest file with a URL.
const MAX_URL_BYTES: u64 = 4096;

/// Who creates and drops the subscription.
#[derive(Clone, Debug, Args)]
pub struct AdminArgs {
    /// A file with the URL of a superuser of this Postgres, instead of `DATABASE_URL`: Postgres 15 lets
    /// only a superuser create subscriptions
    #[arg(long, value_name = "FILE")]
    pub(super) admin_url_file: Option<PathBuf>,
}

// === impl AdminArgs ===

impl AdminArgs {
    /// The URL, and where it comes from.
    pub(super) fn url(&self, config: &Config) -> Result<(Secret, &'static str), Failure> {
        match (&self.admin_url_file, &config.database.url) {
            (Some(path), _) => Ok((read_url(path)?, "--admin-url-file")),
            (None, Some(url)) => Ok((url.clone(), "DATABASE_URL")),
            (None, None) => {
                Err(Failure::usage("name this Postgres by DATABASE_URL or --admin-url-file"))
            }
        }
    }
}

/// The failure of a join, a status or a leave.
pub(super) fn failed(error: CellError) -> Failure {
    match error {
        CellError::Refused(why) => Failure::new(Exit::Negative, why),
        CellError::Outage(outage) => Failure::unavailable(outage.0),
    }
}

/// The URL of the registry.
pub(super) fn registry_url(config: &Config) -> Result<&Secret, Failure> {
    config.database.registry_url.as_ref().ok_or_else(|| {
        Failure::usage(
            "REGISTRY_URL is not set: set REGISTRY_URL_FILE to a file with the URL of the registry",
        )
    })
}

// --- private helpers ---

fn read_url(path: &Path) -> Result<Secret, Failure> {
    let unusable = |why: String| Failure::usage(format!("cannot read {}: {why}", path.display()));
    let bytes = disk::read(path, MAX_URL_BYTES).map_err(|error| unusable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unusable("it is not text".to_owned()))?;
    Ok(Secret::new(text.trim().to_owned()))
}
