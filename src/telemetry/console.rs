//! Metrics of the console: logins and sessions.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::declare::metrics;

/// How an attempt to sign in ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginResult {
    /// A session began.
    Opened,
    /// The token or the code is wrong, used or expired.
    Refused,
    /// The address tried too often.
    RateLimited,
    /// Postgres or the identity provider failed.
    Failed,
}

metrics! {
    /// The metrics without labels.
    pub struct ConsoleGauges {
        /// Open sessions of the console, as of the last minute.
        sessions: IntGauge("sluice_console_sessions"),
    }
}

/// Updated by logins and by the upkeep of sessions.
#[derive(Clone, Debug)]
pub struct ConsoleMetrics {
    /// The metrics without labels.
    pub plain: ConsoleGauges,
    logins: [IntCounter; 4],
}

// === impl ConsoleMetrics ===

impl ConsoleMetrics {
    /// Creates and registers all of them; each known label starts at zero.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Attempts to sign in at the console, by result.";
        let logins =
            IntCounterVec::new(Opts::new("sluice_console_logins_total", help), &["result"])?;
        registry.register(Box::new(logins.clone()))?;
        let logins = ["opened", "refused", "rate_limited", "failed"]
            .map(|result| logins.with_label_values(&[result]));
        Ok(Self { plain: ConsoleGauges::register(registry)?, logins })
    }

    /// The counter of a result.
    pub fn logins(&self, result: LoginResult) -> &IntCounter {
        &self.logins[result as usize]
    }
}
