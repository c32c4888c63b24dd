//! The authorization cache: what the registry said of each device, for a while.
//!
//! It holds what was answered, unknown devices too, and forgets on time or when told. It asks nobody itself.

pub mod hot_slots;
pub mod lookup;
pub mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::authorize::last_seen::Ticket;
use crate::config::sections::ingest::IngestConfig;
use crate::domain::device::RegistryAnswer;
use crate::domain::ids::DeviceKey;
use crate::domain::message::Site;
use crate::domain::registry_change::RegistryChange;
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};

/// One answer of the registry.
#[derive(Debug)]
pub struct Grant {
    /// Whose.
    pub device: DeviceKey,
    /// What it said.
    pub standing: RegistryAnswer,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// Where its sighting waits.
    pub ticket: Ticket,
    /// Until when the answer may be used.
    pub until: Instant,
}

/// Grants by identity; of too many, those that are asked for least give way. Clones share the same cache.
///
/// Each grant knows when it ends: timers of the cache itself would cost more memory than the grant. One that is past its time
/// stays until the device speaks again or its place is wanted.
#[derive(Clone, Debug)]
pub struct Grants {
    cache: Cache<DeviceKey, Arc<Grant>>,
    /// Counts what was forgotten, so that an answer which was on its way meanwhile is known to be doubtful.
    forgotten: Arc<Mutex<u64>>,
    ttl: Duration,
    negative_ttl: Duration,
}

/// The cache at one moment, for many questions.
#[derive(Debug)]
pub struct CacheView<'a> {
    cache: &'a Cache<DeviceKey, Arc<Grant>>,
    now: Instant,
}

// === impl Grant ===

impl Grant {
    /// The registry's site, when it has one.
    pub fn site(&self) -> Option<Site> {
        self.standing.device.as_ref()?.site.clone().map(Site::Registered)
    }
}

// === impl Grants ===

impl Grants {
    /// An empty cache.
    pub fn new(config: &IngestConfig) -> Self {
        let cache = Cache::builder().max_capacity(config.cache_max_size).build();
        Self { cache, forgotten: Arc::default(), ttl: config.cache_ttl, negative_ttl: config.cache_negative_ttl }
    }

    /// Opens the cache for many questions at once.
    pub fn look(&self) -> CacheView<'_> {
        CacheView { cache: &self.cache, now: Instant::now() }
    }

    /// Keeps an answer for as long as it may be used.
    pub fn keep(&self, device: DeviceKey, standing: RegistryAnswer, now: Timestamp) -> Arc<Grant> {
        let until = Instant::now() + self.good_for(&standing, now);
        let (ticket, key) = (Ticket::default(), device.clone());
        let grant = Arc::new(Grant { device, standing, asked_at: now, ticket, until });
        self.cache.insert(key, Arc::clone(&grant));
        grant
    }

    /// Where the count of changes stands: to be read before the registry is asked by somebody who does not hear the changes.
    pub fn forgotten(&self) -> u64 {
        *self.count_of_changes()
    }

    /// Keeps an answer, unless something was forgotten since it was asked for: then it may be older than the change.
    pub fn keep_unless_forgotten(
        &self,
        device: DeviceKey,
        standing: RegistryAnswer,
        (now, forgotten): (Timestamp, u64),
    ) {
        // Held until it is kept, so that nobody sees an answer that a change has overtaken.
        let count = self.count_of_changes();
        if *count == forgotten {
            self.keep(device, standing, now);
        }
    }

    /// Forgets what a change makes doubtful; says how many grants that were.
    pub fn forget(&self, change: &RegistryChange) -> u64 {
        // First the count, then the grants: what was kept before is found here, what is older than this is not kept after.
        *self.count_of_changes() += 1;
        match change {
            RegistryChange::Device(device) => u64::from(self.cache.remove(device).is_some()),
            RegistryChange::Tenant(tenant) => {
                let doomed = self.cache.iter().filter(|(device, _)| device.tenant() == tenant.as_str());
                doomed.map(|(device, _)| u64::from(self.cache.remove(&*device).is_some())).sum()
            }
            RegistryChange::Everything => {
                let entries = self.entries();
                self.cache.invalidate_all();
                entries
            }
        }
    }

    /// How many grants it holds, those included that are past their time.
    pub fn entries(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.entry_count()
    }

    fn count_of_changes(&self) -> MutexGuard<'_, u64> {
        // A number is whole whatever became of who held it.
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shorter of the TTL and the moment at which a certificate starts or ends.
    fn good_for(&self, standing: &RegistryAnswer, now: Timestamp) -> Duration {
        let Some(device) = &standing.device else { return self.negative_ttl };
        let change = device.certificate_changes_after(now).map(|moment| {
            let micros = moment.micros().saturating_sub(now.micros()).clamp(0, i64::MAX / MICROS_PER_SECOND);
            Duration::from_micros(micros.unsigned_abs())
        });
        change.map_or(self.ttl, |change| change.min(self.ttl))
    }
}

// === impl Look ===

impl CacheView<'_> {
    /// The answer about this identity, while it is good.
    pub fn get(&self, identity: &str) -> Option<Arc<Grant>> {
        self.cache.get(identity).filter(|grant| self.now < grant.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::device::{CertificateWindow, Device, DeviceStatus};

    fn grants(size: u64) -> Grants {
        let config = crate::config::Config::load(&crate::config::Sources::default()).unwrap().config.ingest;
        Grants::new(&IngestConfig { cache_max_size: size, ..config })
    }

    fn key(tenant: &str, device: &str) -> DeviceKey {
        DeviceKey::new(tenant, device).unwrap()
    }

    fn registered(certificates: impl IntoIterator<Item = CertificateWindow>) -> RegistryAnswer {
        let device = Device {
            status: DeviceStatus::Active,
            site: None,
            token: None,
            certificates: certificates.into_iter().collect(),
        };
        RegistryAnswer { tenant_suspended: false, device: Some(device) }
    }

    #[test]
    fn an_answer_is_found_by_the_identity_and_a_newer_one_takes_its_place() {
        let grants = grants(10);
        let unknown = RegistryAnswer { tenant_suspended: false, device: None };
        grants.keep(key("acme", "pump"), unknown, Timestamp::default());
        let newer = grants.keep(key("acme", "pump"), registered([]), Timestamp::default());
        assert_eq!(grants.entries(), 1);
        let look = grants.look();
        assert!(Arc::ptr_eq(&look.get("acme/device/pump").unwrap(), &newer));
        for other in ["acme/device/valve", "acme/device/", "other/device/pump", "acme/pump", ""] {
            assert!(look.get(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_change_forgets_a_device_a_tenant_or_all_and_counts_them() {
        let grants = grants(10);
        for (tenant, device) in [("a", "x"), ("a", "y"), ("a", "z"), ("b", "x"), ("b", "y")] {
            grants.keep(key(tenant, device), registered([]), Timestamp::default());
        }
        assert_eq!(grants.forget(&RegistryChange::Device(key("a", "x"))), 1);
        assert_eq!(grants.forget(&RegistryChange::Device(key("a", "x"))), 0);
        assert_eq!(grants.forget(&RegistryChange::Tenant("a".parse().unwrap())), 2);
        assert!(grants.look().get("a/device/y").is_none() && grants.look().get("b/device/y").is_some());
        assert_eq!(grants.forget(&RegistryChange::Everything), 2);
        assert_eq!(grants.entries(), 0);
    }

    #[test]
    fn no_more_than_its_size_is_kept_and_what_is_asked_for_often_stays() {
        let grants = grants(100);
        for device in 0..10_000 {
            grants.keep(key("t", &device.to_string()), registered([]), Timestamp::default());
            grants.look().get("t/device/0");
        }
        assert!(grants.entries() <= 100);
        assert!(grants.look().get("t/device/0").is_some());
    }

    #[test]
    fn an_answer_is_not_used_past_the_moment_a_certificate_starts_or_ends() {
        let grants = grants(10);
        let now = Timestamp::default().plus_seconds(1_000);
        let window = CertificateWindow { not_before: now.plus_seconds(-10), not_after: now.plus_seconds(7) };
        let before = Instant::now();
        let grant = grants.keep(key("t", "x"), registered([window]), now);
        let seven = Duration::from_secs(7);
        assert!(before + seven <= grant.until && grant.until <= Instant::now() + seven);
        let mut look = grants.look();
        assert!(look.get("t/device/x").is_some());
        look.now = grant.until;
        assert!(look.get("t/device/x").is_none());
    }
}
