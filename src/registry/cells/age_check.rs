//! Finds out whether the registry has become older than the copy: once after each new connection to it,
//! and as long as something was found.
//!
//! A registry is restored while it is away, so its connections end. What is found twice is shown; what no
//! change on its way explains is noted in the cell, because later changes at the registry would hide it.
//! It notes nothing of a copy that is only behind.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::config::secret::Secret;
use crate::domain::ports::Outage;
use crate::store::cells::age::{self, Newer};
use crate::store::cells::cell_side;
use crate::store::cells::registry_link::RegistryLink;
use crate::store::connection::database::Database;

/// Longest comparison; a larger copy is compared by `sluice cell status`.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time between two comparisons after something was noted: they read whole tables.
const PERIOD: Duration = Duration::from_mins(1);
/// A finding is noted after so many, although no sign of life came back, if the slot is not behind.
const PATIENT_FINDINGS: u32 = 12;
/// The first comparison waits for up to so long after a connection: all cells connect when the registry is
/// back.
const SPREAD: Duration = Duration::from_secs(3);
/// For each statement of a comparison: Postgres ends what the daemon does not wait for.
const LIMIT_STATEMENTS: &str = "SET statement_timeout = '8s'";

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct AgeCheck {
    /// When to compare; `None`: after the next connection.
    due_at: Option<Instant>,
    /// How often something was found, one comparison after the other.
    findings: u32,
    /// The last sentence, from the second finding on.
    shown: Option<String>,
    /// The last sentence about a forgotten sign of life, until the registry answers without that fault.
    forgotten: Option<String>,
}

/// What has arrived in the copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct CopyArrival {
    /// A sign of life that was sent in this round has come back, so all earlier changes have arrived.
    pub is_current: bool,
    /// How far the slot is behind the WAL. A slot that is in front of it (less than 0) was restored: the
    /// registry sends nothing until its WAL is as long as before.
    pub lag_bytes: i64,
}

// === impl AgeCheck ===

impl AgeCheck {
    /// A connection to the registry was opened.
    pub(super) fn connected(&mut self) {
        let random = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        self.due_at = Some(Instant::now() + SPREAD.mul_f64(random));
    }

    /// The registry has forgotten a sign of life; returns the sentence.
    pub(super) fn forgot_life(&mut self, newer: &Newer) -> String {
        self.forgotten.insert(newer.sentence()).clone()
    }

    /// What is known without an answer of the registry.
    pub(super) fn shown(&self) -> Option<String> {
        self.forgotten.clone().or_else(|| self.shown.clone())
    }

    /// Compares if that is due. The registry has answered and knows the last sign of life.
    pub(super) async fn look(
        &mut self,
        database: &Database,
        url: &Secret,
        arrival: CopyArrival,
    ) -> Option<String> {
        self.forgotten = None;
        if self.due_at.is_some_and(|at| at <= Instant::now()) {
            match timeout(PATIENCE, compare(database, url)).await {
                Ok(Ok(found)) => self.take(database, found, arrival).await,
                Ok(Err(Outage(why))) => self.skip(&why),
                Err(_) => self.skip("the comparison took too long"),
            }
        }
        self.shown.clone()
    }

    async fn take(&mut self, database: &Database, found: Option<Newer>, arrival: CopyArrival) {
        let Some(found) = found else {
            *self = Self::default();
            return;
        };
        self.findings += 1;
        if self.findings < 2 {
            // The next round looks again.
            return;
        }
        let sentence = found.sentence();
        if arrival.excludes_a_lag(self.findings) {
            self.due_at = Some(Instant::now() + PERIOD);
            if let Err(Outage(why)) = age::note_older(database.pool(), &sentence).await {
                tracing::warn!("the age of the registry was not noted: {why}; retrying");
            }
        }
        self.shown = Some(sentence);
    }

    fn skip(&mut self, why: &str) {
        tracing::warn!(
            "the copy was not compared with the registry: {why}; the next connection to the registry does it"
        );
        self.due_at = None;
    }
}

// === impl CopyArrival ===

impl CopyArrival {
    /// Whether no change that is still on its way can be the cause of a finding.
    const fn excludes_a_lag(self, findings: u32) -> bool {
        self.is_current
            || self.lag_bytes < 0
            || (self.lag_bytes == 0 && findings >= PATIENT_FINDINGS)
    }
}

// --- private helpers ---

/// By connections of its own, which a comparison that takes too long leaves unusable.
async fn compare(database: &Database, url: &Secret) -> Result<Option<Newer>, Outage> {
    let schema = cell_side::state(database.pool()).await?.schema.unwrap_or_default();
    let mut cell = database.connect().await.map_err(Outage::from)?;
    cell.run(LIMIT_STATEMENTS).await.map_err(Outage::from)?;
    let mut registry = RegistryLink::open_registry(url).await?;
    registry.execute(LIMIT_STATEMENTS).await?;
    let found = age::newer_in_session(&mut cell, &mut registry, &schema).await;
    registry.close().await;
    cell.close().await;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_only_behind_is_not_noted() {
        let arrival = |is_current, lag_bytes| CopyArrival { is_current, lag_bytes };
        assert!(!arrival(false, 1).excludes_a_lag(u32::MAX));
        assert!(!arrival(false, 0).excludes_a_lag(PATIENT_FINDINGS - 1));
        assert!(arrival(false, 0).excludes_a_lag(PATIENT_FINDINGS));
        assert!(arrival(false, -1).excludes_a_lag(2), "the slot is in front of the WAL");
        assert!(arrival(true, 1).excludes_a_lag(2), "all earlier changes have arrived");
    }

    #[test]
    fn a_forgotten_sign_of_life_is_known_while_the_registry_is_away() {
        let mut check = AgeCheck::default();
        let (here, there) = (chrono::DateTime::UNIX_EPOCH, chrono::DateTime::UNIX_EPOCH);
        let sentence = check.forgot_life(&Newer::SignOfLife { here, there });
        assert_eq!(check.shown(), Some(sentence));
    }
}
