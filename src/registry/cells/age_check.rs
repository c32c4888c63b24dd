//! Finds out whether the registry has become older than the copy: once after each new connection to it,
//! and as long as something was found.
//!
//! A registry is restored while it is away, so its connections end. What is found twice is shown; what no
//! change on its way explains is noted in the cell, because later changes at the registry would hide it.

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
/// A change that only a deletion explains is noted after so many findings, although no sign of life came
/// back: a restored registry sends none until its WAL is as long as before.
const PATIENT_FINDINGS: u32 = 12;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct AgeCheck {
    /// When to compare; `None`: after the next connection.
    due_at: Option<Instant>,
    /// How often something was found, one comparison after the other.
    findings: u32,
    /// The last sentence, from the second finding on.
    shown: Option<String>,
}

// === impl AgeCheck ===

impl AgeCheck {
    /// A connection to the registry was opened.
    pub(super) fn connected(&mut self) {
        self.due_at = Some(Instant::now());
    }

    /// Compares if that is due. `is_current`: a sign of life that was sent in this round has come back, so all
    /// earlier changes have arrived.
    pub(super) async fn look(
        &mut self,
        database: &Database,
        url: &Secret,
        is_current: bool,
    ) -> Option<String> {
        if self.due_at.is_some_and(|at| at <= Instant::now()) {
            match timeout(PATIENCE, compare(database, url)).await {
                Ok(Ok(found)) => self.take(database, found, is_current).await,
                Ok(Err(Outage(why))) => self.skip(&why),
                Err(_) => self.skip("the comparison took too long"),
            }
        }
        self.shown.clone()
    }

    async fn take(&mut self, database: &Database, found: Option<Newer>, is_current: bool) {
        let Some(found) = found else {
            *self = Self::default();
            return;
        };
        self.findings += 1;
        if self.findings < 2 {
            // The next round looks again.
            return;
        }
        let is_certain =
            is_current || !found.may_be_on_its_way() || self.findings >= PATIENT_FINDINGS;
        let sentence = found.sentence();
        if is_certain {
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

// --- private helpers ---

/// By a connection of its own, which a comparison that takes too long leaves unusable.
async fn compare(database: &Database, url: &Secret) -> Result<Option<Newer>, Outage> {
    let pool = database.pool();
    let schema = cell_side::state(pool).await?.schema.unwrap_or_default();
    let mut registry = RegistryLink::open_registry(url).await?;
    let found = age::newer_in_pool(pool, &mut registry, &schema).await;
    registry.close().await;
    found
}
