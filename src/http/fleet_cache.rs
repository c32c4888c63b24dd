//! Keeps the numbers of the fleet for some seconds, so that many viewers cost what one costs.
//!
//! Only the first request waits for a count: then a task counts while the overview is looked at, and
//! requests get the last numbers. While Postgres does not
//! answer, the last numbers stay, with their time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use crate::clock;
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::link::overview::{self, LinkOverview};
use crate::registry::revocation::progress::{self, RevocationSteps};
use crate::store::certificates::revocation_ledger::{self, CrlRow};
use crate::store::connection::database::Database;
use crate::store::reads::fleet::{FleetNumbers, numbers};

/// The least time between two counts.
const LEAST_AGE: Duration = Duration::from_secs(2);

/// A count may take this share of the time at most: what takes 200 ms is repeated after 20 s.
const SHARE: u32 = 100;

/// How long a count may take, also while no connection is free.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most tenants whose numbers are kept: viewers that are bound to one see only it.
const TENANTS_MAX: usize = 64;

/// The numbers of all tenants, and of some. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct FleetCache {
    entries: Arc<Mutex<BTreeMap<Option<TenantId>, Arc<FleetEntry>>>>,
    /// Wakes the task: someone looks at numbers that are due.
    wanted: Arc<Notify>,
}

/// Where the numbers come from.
#[derive(Clone, Copy)]
pub(crate) struct FleetSource<'a> {
    pub database: &'a Database,
    /// `ORPHAN_AFTER_SECONDS`.
    pub orphan_after: Duration,
    /// Whether Postgres answered when it was probed last.
    pub is_up: bool,
    /// A count takes one of them.
    pub permits: &'a Semaphore,
}

/// The numbers of one scope.
#[derive(Default)]
struct FleetEntry {
    last: Mutex<LastCount>,
    /// Held while counting.
    counting: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct LastCount {
    known: Option<Arc<KnownFleet>>,
    /// When to count again.
    due: Option<Instant>,
    /// Whether someone has looked since it was due.
    is_wanted: bool,
    /// Why the last count failed.
    failure: Option<String>,
}

/// What is known of the fleet, and since when.
#[derive(Clone, Debug)]
pub(crate) struct KnownFleet {
    pub at: Timestamp,
    /// How long Postgres took to answer the first, small query, in milliseconds.
    pub answer_ms: f64,
    pub numbers: FleetNumbers,
    pub crl: CrlRow,
    pub revocation: Option<RevocationSteps>,
    pub links: Vec<LinkOverview>,
}

/// What is known, and why it is not current.
pub(crate) struct FleetAnswer {
    pub known: Option<Arc<KnownFleet>>,
    pub failure: Option<String>,
}

// === impl FleetCache ===

impl FleetCache {
    /// The numbers of a tenant, or of all; not older than some seconds while Postgres answers.
    pub(crate) async fn current(
        &self,
        source: FleetSource<'_>,
        tenant: Option<&TenantId>,
    ) -> FleetAnswer {
        let entry = self.entry(tenant);
        if !source.is_up {
            let failure = Some("Postgres does not answer".to_owned());
            return FleetAnswer { known: entry.last().known, failure };
        }
        if entry.is_due() {
            if entry.last().known.is_some() {
                entry.want();
                self.wanted.notify_one();
            } else {
                // The first request counts, and others wait for it.
                let _counting = entry.counting.lock().await;
                if entry.is_due() {
                    entry.count(source, tenant).await;
                }
            }
        }
        let LastCount { known, failure, .. } = entry.last();
        FleetAnswer { known, failure }
    }

    /// Waits until someone looks at numbers that are due.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Counts again what is looked at.
    pub(crate) async fn count_wanted(&self, source: FleetSource<'_>) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (tenant, entry) in entries {
            if entry.take_want() {
                let _counting = entry.counting.lock().await;
                entry.count(source, tenant.as_ref()).await;
            }
        }
    }

    fn entry(&self, tenant: Option<&TenantId>) -> Arc<FleetEntry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() > TENANTS_MAX {
            entries.retain(|tenant, _| tenant.is_none());
        }
        Arc::clone(entries.entry(tenant.cloned()).or_default())
    }
}

// === impl FleetEntry ===

impl FleetEntry {
    fn last(&self) -> LastCount {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn want(&self) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).is_wanted = true;
    }

    fn take_want(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut last.is_wanted)
    }

    fn is_due(&self) -> bool {
        self.last().due.is_none_or(|due| due <= Instant::now())
    }

    async fn count(&self, source: FleetSource<'_>, tenant: Option<&TenantId>) {
        let started_at = Instant::now();
        let counted = timeout(PATIENCE, async {
            let _permit = source.permits.acquire().await;
            KnownFleet::read(source, tenant).await
        });
        let counted = counted.await;
        let failure = match counted {
            Ok(Ok(known)) => {
                let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                last.known = Some(Arc::new(known));
                None
            }
            Ok(Err(error)) => Some(error),
            Err(_) => Some("Postgres did not answer within 2 s".to_owned()),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.failure = failure;
        last.due = Some(Instant::now() + LEAST_AGE.max(started_at.elapsed() * SHARE));
        if last.failure.is_some() {
            last.due = Some(Instant::now() + LEAST_AGE);
        }
    }
}

// === impl KnownFleet ===

impl KnownFleet {
    async fn read(source: FleetSource<'_>, tenant: Option<&TenantId>) -> Result<Self, String> {
        let FleetSource { database, orphan_after, .. } = source;
        let now = clock::now();
        let started_at = Instant::now();
        let crl = revocation_ledger::published(database.pool()).await;
        let crl = crl.map_err(|outage| outage.to_string())?;
        let answer_ms = started_at.elapsed().as_secs_f64() * 1000.0;
        let counted = numbers(database.pool(), tenant, now.to_utc(), orphan_after).await;
        let numbers = counted.map_err(|outage| outage.to_string())?;
        let revocation = match &numbers.last_revocation {
            // It may have been cleared meanwhile.
            Some(last) => progress::read(database, last.certificate_id).await.ok(),
            None => None,
        };
        let links = if tenant.is_none() {
            overview::list(database).await.map_err(|outage| outage.to_string())?
        } else {
            Vec::new()
        };
        let revocation = revocation.as_ref().map(RevocationSteps::from);
        Ok(Self { at: now, answer_ms, numbers, crl, revocation, links })
    }
}
