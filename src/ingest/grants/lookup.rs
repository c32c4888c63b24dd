//! Registry answers for the hooks: from the spine's grants, or by a query for a device that is not
//! cached.
//!
//! The broker blocks while it waits for an answer. So a query has little time, and a failed one is
//! followed by a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Grants;
use crate::domain::device::RegistryAnswer;
use crate::domain::ids::DeviceKey;
use crate::domain::ports::{Directory, Outage};
use crate::domain::time::{Clock, Timestamp};
use crate::telemetry::ingest::IngestMetrics;

/// Upper bound for one query.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The pause between a failed query and the next one.
const PAUSE_SECONDS: i64 = 3;

/// Concurrent queries: the pool also serves the spine and the API.
const QUERIES_MAX: usize = 2;

/// Looks up the grants, then the registry.
#[derive(Debug)]
pub struct GrantLookup<D> {
    directory: D,
    grants: Grants,
    guard: QueryGuard,
    metrics: IngestMetrics,
    clock: Clock,
}

/// Limits the queries made for the broker: their time, their number, and the pause after a failure.
/// Clones share the limits.
#[derive(Clone, Debug)]
pub struct QueryGuard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    permits: Semaphore,
    /// Until when no query is made, in microseconds.
    paused_until: AtomicI64,
    clock: Clock,
}

// === impl GrantLookup ===

impl<D: Directory> GrantLookup<D> {
    /// Uses the grants that the spine fills and invalidates.
    pub fn new(
        directory: D,
        grants: Grants,
        guard: QueryGuard,
        metrics: IngestMetrics,
        clock: Clock,
    ) -> Self {
        Self { directory, grants, guard, metrics, clock }
    }

    /// The registry's answer; an unknown device has one too.
    pub async fn of(&self, device: &DeviceKey) -> Result<RegistryAnswer, Outage> {
        if let Some(grant) = self.grants.view().get(device.identity()) {
            self.metrics.plain.cache_hits.inc();
            return Ok(grant.answer.clone());
        }
        self.metrics.plain.cache_misses.inc();
        let invalidations = self.grants.invalidations();
        let found = self.guard.run(self.directory.find(std::slice::from_ref(device))).await?;
        let unanswered = || Outage("the registry returned no answer for the device".into());
        let answer = found.into_iter().next().ok_or_else(unanswered)?;
        let queried_at = ((self.clock)(), invalidations);
        self.grants.insert_unless_invalidated(device.clone(), answer.clone(), queried_at);
        Ok(answer)
    }
}

// === impl QueryGuard ===

impl QueryGuard {
    /// Starts with no recent failure.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            permits: Semaphore::new(QUERIES_MAX),
            paused_until: AtomicI64::new(i64::MIN),
            clock,
        }))
    }

    /// Waits for `query`, including its permit, for at most [`PATIENCE`].
    pub async fn run<T>(
        &self,
        query: impl Future<Output = Result<T, Outage>>,
    ) -> Result<T, Outage> {
        let now = || (self.0.clock)();
        if now() < Timestamp::from_micros(self.0.paused_until.load(Ordering::Relaxed)) {
            return Err(Outage(format!(
                "a query failed less than {PAUSE_SECONDS} s ago; Sluice waits before the next"
            )));
        }
        let limited = async {
            let _permit = self.0.permits.acquire().await;
            query.await
        };
        let late = || Outage(format!("Postgres did not answer within {} s", PATIENCE.as_secs()));
        let answered = timeout(PATIENCE, limited).await.unwrap_or_else(|_| Err(late()));
        if answered.is_err() {
            self.0
                .paused_until
                .store(now().plus_seconds(PAUSE_SECONDS).micros(), Ordering::Relaxed);
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::moved_clock;
    use super::*;
    use crate::config::{Config, Sources};
    use crate::domain::device::{Device, DeviceStatus, Windows};
    use crate::domain::ports::Newcomer;
    use crate::domain::registry_change::RegistryChange;
    use crate::telemetry::metrics::Metrics;

    /// A registry with a given answer, which runs a hook during the query.
    struct Registry {
        answers: Mutex<Vec<Result<RegistryAnswer, Outage>>>,
        meanwhile: Box<dyn Fn() + Send + Sync>,
    }

    impl Directory for Registry {
        async fn find(&self, _: &[DeviceKey]) -> Result<Vec<RegistryAnswer>, Outage> {
            let answer = self.answers.lock().unwrap().pop().expect("one query too many");
            (self.meanwhile)();
            answer.map(|answer| vec![answer])
        }

        async fn enroll(&self, _: &[Newcomer]) -> Result<(), Outage> {
            unreachable!("a hook enrolls no device")
        }
    }

    fn active() -> RegistryAnswer {
        let device = Device {
            status: DeviceStatus::Active,
            site: None,
            token: None,
            certificates: Windows::new(),
        };
        RegistryAnswer { tenant_suspended: false, device: Some(device) }
    }

    fn lookup(
        answers: Vec<Result<RegistryAnswer, Outage>>,
        grants: &Grants,
        meanwhile: impl Fn() + Send + Sync + 'static,
        clock: Clock,
    ) -> GrantLookup<Registry> {
        let registry = Registry { answers: Mutex::new(answers), meanwhile: Box::new(meanwhile) };
        GrantLookup::new(
            registry,
            grants.clone(),
            QueryGuard::new(clock),
            Metrics::new().unwrap().ingest,
            clock,
        )
    }

    fn grants() -> Grants {
        Grants::new(&Config::load(&Sources::default()).unwrap().config.ingest)
    }

    #[tokio::test]
    async fn a_cached_device_costs_no_query_and_a_changed_one_costs_one() {
        let (grants, pump) = (grants(), DeviceKey::new("acme", "pump-1").unwrap());
        let unknown = RegistryAnswer { tenant_suspended: false, device: None };
        let lookup =
            lookup(vec![Ok(unknown.clone()), Ok(active())], &grants, || {}, Timestamp::default);
        assert_eq!(lookup.of(&pump).await, Ok(active()));
        assert_eq!(lookup.of(&pump).await, Ok(active()));
        grants.forget(&RegistryChange::Device(pump.clone()));
        assert_eq!(lookup.of(&pump).await, Ok(unknown));
    }

    #[tokio::test]
    async fn an_expired_answer_costs_a_query() {
        let config = Config::load(&Sources::default()).unwrap().config.ingest;
        let grants = Grants::with_clock(&config, moved_clock::now);
        let pump = DeviceKey::new("acme", "pump-1").unwrap();
        let unknown = RegistryAnswer { tenant_suspended: false, device: None };
        let answers = vec![Ok(unknown.clone()), Ok(active())];
        let lookup = lookup(answers, &grants, || {}, Timestamp::default);
        assert_eq!(lookup.of(&pump).await, Ok(active()));
        moved_clock::advance(config.cache_ttl.saturating_sub(Duration::from_nanos(1)));
        assert_eq!(lookup.of(&pump).await, Ok(active()));
        moved_clock::advance(Duration::from_nanos(1));
        assert_eq!(lookup.of(&pump).await, Ok(unknown));
    }

    #[tokio::test]
    async fn an_answer_older_than_a_change_is_not_cached() {
        let (grants, pump) = (grants(), DeviceKey::new("acme", "pump-1").unwrap());
        let (changed, identity) = (grants.clone(), pump.clone());
        let overtake =
            move || assert_eq!(changed.forget(&RegistryChange::Device(identity.clone())), 0);
        let lookup = lookup(vec![Ok(active())], &grants, overtake, Timestamp::default);
        lookup.of(&pump).await.unwrap();
        assert!(grants.view().get(pump.identity()).is_none());
    }

    #[tokio::test]
    async fn after_a_failed_query_none_is_made_for_a_while() {
        let (grants, pump) = (grants(), DeviceKey::new("acme", "pump-1").unwrap());
        let lookup = lookup(vec![Err(Outage("away".into()))], &grants, || {}, Timestamp::default);
        assert_eq!(lookup.of(&pump).await, Err(Outage("away".into())));
        // A second query would find no answer in the registry and panic.
        assert!(lookup.of(&pump).await.unwrap_err().0.contains("failed less than"));
    }
}
