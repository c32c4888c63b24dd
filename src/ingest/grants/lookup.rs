//! What the registry says of a device, for those who answer the broker: from the spine's grants, and by a query of its own
//! for a device that is not among them.
//!
//! The broker stands still while it waits for an answer, so a query has little time, and after one in vain none is made for
//! a while.

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

/// How long a query may take.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How long nothing is asked after a query in vain.
const RESPITE_SECONDS: i64 = 3;

/// Queries at a time: the pool belongs to the spine and the API too.
const AT_ONCE: usize = 2;

/// Asks the grants, then the registry.
#[derive(Debug)]
pub struct GrantLookup<D> {
    directory: D,
    grants: Grants,
    brake: QueryGuard,
    metrics: IngestMetrics,
    clock: Clock,
}

/// Bounds how long, how many at a time and how soon again Postgres is asked on behalf of the broker. Shared by all who do.
#[derive(Clone, Debug)]
pub struct QueryGuard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    turns: Semaphore,
    /// Until when nothing is asked, in microseconds.
    respite_until: AtomicI64,
    clock: Clock,
}

// === impl Standings ===

impl<D: Directory> GrantLookup<D> {
    /// On these grants, which the spine keeps and forgets too.
    pub fn new(directory: D, grants: Grants, brake: QueryGuard, metrics: IngestMetrics, clock: Clock) -> Self {
        Self { directory, grants, brake, metrics, clock }
    }

    /// What the registry says of it; a device it does not know has a standing too.
    pub async fn of(&self, device: &DeviceKey) -> Result<RegistryAnswer, Outage> {
        if let Some(grant) = self.grants.look().get(device.identity()) {
            self.metrics.plain.cache_hits.inc();
            return Ok(grant.standing.clone());
        }
        self.metrics.plain.cache_misses.inc();
        let forgotten = self.grants.forgotten();
        let found = self.brake.ask(self.directory.find(std::slice::from_ref(device))).await?;
        let unanswered = || Outage("the registry gave no answer".into());
        let standing = found.into_iter().next().ok_or_else(unanswered)?;
        let asked = ((self.clock)(), forgotten);
        self.grants.keep_unless_forgotten(device.clone(), standing.clone(), asked);
        Ok(standing)
    }
}

// === impl Brake ===

impl QueryGuard {
    /// Nothing was in vain yet.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner { turns: Semaphore::new(AT_ONCE), respite_until: AtomicI64::new(i64::MIN), clock }))
    }

    /// Waits for what is asked of Postgres, its turn included, within [`PATIENCE`].
    pub async fn ask<T>(&self, asked: impl Future<Output = Result<T, Outage>>) -> Result<T, Outage> {
        let now = || (self.0.clock)();
        if now() < Timestamp::from_micros(self.0.respite_until.load(Ordering::Relaxed)) {
            return Err(Outage(format!("Postgres did not answer within the last {RESPITE_SECONDS} s")));
        }
        let in_turn = async {
            let _turn = self.0.turns.acquire().await;
            asked.await
        };
        let late = || Outage(format!("Postgres did not answer within {} s", PATIENCE.as_secs()));
        let answered = timeout(PATIENCE, in_turn).await.unwrap_or_else(|_| Err(late()));
        if answered.is_err() {
            self.0.respite_until.store(now().plus_seconds(RESPITE_SECONDS).micros(), Ordering::Relaxed);
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::config::{Config, Sources};
    use crate::domain::device::{Device, DeviceStatus, Windows};
    use crate::domain::ports::Newcomer;
    use crate::domain::registry_change::RegistryChange;
    use crate::telemetry::metrics::Metrics;

    /// A registry that says what it is told to, and meanwhile lets something happen.
    struct Registry {
        answers: Mutex<Vec<Result<RegistryAnswer, Outage>>>,
        meanwhile: Box<dyn Fn() + Send + Sync>,
    }

    impl Directory for Registry {
        async fn find(&self, _: &[DeviceKey]) -> Result<Vec<RegistryAnswer>, Outage> {
            let answer = self.answers.lock().unwrap().pop().expect("no more questions");
            (self.meanwhile)();
            answer.map(|standing| vec![standing])
        }

        async fn enroll(&self, _: &[Newcomer]) -> Result<(), Outage> {
            unreachable!("nobody is enrolled at the door")
        }
    }

    fn active() -> RegistryAnswer {
        let device = Device { status: DeviceStatus::Active, site: None, token: None, certificates: Windows::new() };
        RegistryAnswer { tenant_suspended: false, device: Some(device) }
    }

    fn standings(
        answers: Vec<Result<RegistryAnswer, Outage>>,
        grants: &Grants,
        meanwhile: impl Fn() + Send + Sync + 'static,
        clock: Clock,
    ) -> GrantLookup<Registry> {
        let registry = Registry { answers: Mutex::new(answers), meanwhile: Box::new(meanwhile) };
        GrantLookup::new(registry, grants.clone(), QueryGuard::new(clock), Metrics::new().unwrap().ingest, clock)
    }

    fn grants() -> Grants {
        Grants::new(&Config::load(&Sources::default()).unwrap().config.ingest)
    }

    #[tokio::test]
    async fn a_warm_device_costs_no_question_and_a_changed_one_costs_one() {
        let (grants, pump) = (grants(), DeviceKey::new("acme", "pump-1").unwrap());
        let unknown = RegistryAnswer { tenant_suspended: false, device: None };
        let standings = standings(vec![Ok(unknown.clone()), Ok(active())], &grants, || {}, Timestamp::default);
        assert_eq!(standings.of(&pump).await, Ok(active()));
        assert_eq!(standings.of(&pump).await, Ok(active()));
        grants.forget(&RegistryChange::Device(pump.clone()));
        assert_eq!(standings.of(&pump).await, Ok(unknown));
    }

    #[tokio::test]
    async fn an_answer_that_a_change_overtook_is_not_kept() {
        let (grants, pump) = (grants(), DeviceKey::new("acme", "pump-1").unwrap());
        let (changed, identity) = (grants.clone(), pump.clone());
        let overtake = move || assert_eq!(changed.forget(&RegistryChange::Device(identity.clone())), 0);
        let standings = standings(vec![Ok(active())], &grants, overtake, Timestamp::default);
        standings.of(&pump).await.unwrap();
        assert!(grants.look().get(pump.identity()).is_none());
    }

    #[tokio::test]
    async fn after_a_question_in_vain_none_is_asked_for_a_while() {
        let (grants, pump) = (grants(), DeviceKey::new("acme", "pump-1").unwrap());
        let standings = standings(vec![Err(Outage("away".into()))], &grants, || {}, Timestamp::default);
        assert_eq!(standings.of(&pump).await, Err(Outage("away".into())));
        // A second question would find no answer in the registry and panic.
        assert!(standings.of(&pump).await.unwrap_err().0.contains("within the last"));
    }
}
