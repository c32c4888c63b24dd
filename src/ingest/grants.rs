//! Cache of registry answers for the authorizer.
//!
//! It has answers about unknown devices too. An entry expires, or a registry change removes it.
//! It queries nothing itself.
//!
//! [`hot_slots`] is a faster cache in front of it, [`lookup`] serves the hooks, [`view`] is the
//! form shown to the operator.

pub(crate) mod hot_slots;
pub(crate) mod lookup;
#[cfg(test)]
mod moved_clock;
pub(crate) mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::authorize::last_seen::Ticket;
use crate::config::sections::ingest::IngestConfig;
use crate::domain::device::RegistryAnswer;
use crate::domain::ids::DeviceKey;
use crate::domain::message::Site;
use crate::domain::registry_change::RegistryChange;
use crate::domain::time::{MICROS_PER_SECOND, MonotonicClock, Timestamp};

/// One registry answer.
#[derive(Debug)]
pub struct Grant {
    /// The device.
    pub device: DeviceKey,
    /// The answer.
    pub answer: RegistryAnswer,
    /// When the registry was queried.
    pub queried_at: Timestamp,
    /// Position of its `last_seen_at` entry.
    pub ticket: Ticket,
    /// When the answer expires.
    pub until: Instant,
}

/// Grants by identity; evicts the least used entries above `max_capacity`. Clones share the same
/// cache.
///
/// Each grant has its own expiry: timers in the cache would cost more memory than the grant. An
/// expired grant stays until its device is looked up or it is evicted.
#[derive(Clone, Debug)]
pub struct Grants {
    cache: Cache<DeviceKey, Arc<Grant>>,
    /// Counts removals, so that an answer which was queried before one is recognized as possibly
    /// stale.
    invalidations: Arc<Mutex<u64>>,
    ttl: Duration,
    negative_ttl: Duration,
    monotonic: MonotonicClock,
}

/// The cache at one time, for many lookups.
#[derive(Debug)]
pub struct CacheView<'a> {
    cache: &'a Cache<DeviceKey, Arc<Grant>>,
    now: Instant,
}

// === impl Grant ===

impl Grant {
    /// The registry's site, if it names one.
    pub fn site(&self) -> Option<Site> {
        self.answer.device.as_ref()?.site.clone().map(Site::Registered)
    }
}

// === impl Grants ===

impl Grants {
    /// An empty cache.
    pub fn new(config: &IngestConfig) -> Self {
        Self::with_clock(config, Instant::now)
    }

    /// An empty cache whose entries end by this clock.
    pub fn with_clock(config: &IngestConfig, monotonic: MonotonicClock) -> Self {
        let cache = Cache::builder().max_capacity(config.cache_max_size).build();
        Self {
            cache,
            invalidations: Arc::default(),
            ttl: config.cache_ttl,
            negative_ttl: config.cache_negative_ttl,
            monotonic,
        }
    }

    /// Returns a view for many lookups.
    pub fn view(&self) -> CacheView<'_> {
        CacheView { cache: &self.cache, now: (self.monotonic)() }
    }

    /// Stores an answer until it expires.
    pub fn insert(&self, device: DeviceKey, answer: RegistryAnswer, now: Timestamp) -> Arc<Grant> {
        let until = (self.monotonic)() + self.usable_for(&answer, now);
        let (ticket, key) = (Ticket::default(), device.clone());
        let grant = Arc::new(Grant { device, answer, queried_at: now, ticket, until });
        self.cache.insert(key, Arc::clone(&grant));
        grant
    }

    /// Number of removals. A caller that does not receive changes reads it before it queries the
    /// registry.
    pub fn invalidations(&self) -> u64 {
        *self.lock_invalidations()
    }

    /// Stores an answer unless a removal happened since the query: then it may be older than the
    /// change.
    pub fn insert_unless_invalidated(
        &self,
        device: DeviceKey,
        answer: RegistryAnswer,
        (now, invalidations): (Timestamp, u64),
    ) {
        // The lock is held until the answer is stored, so that no reader sees one older than a
        // change.
        let count = self.lock_invalidations();
        if *count == invalidations {
            self.insert(device, answer, now);
        }
    }

    /// Removes the grants that a change made stale; returns their number.
    pub fn forget(&self, change: &RegistryChange) -> u64 {
        // The count first, then the grants: an earlier entry is found here, and an older answer is
        // not stored later.
        *self.lock_invalidations() += 1;
        match change {
            RegistryChange::Device(device) => u64::from(self.cache.remove(device).is_some()),
            RegistryChange::Tenant(tenant) => {
                let affected =
                    self.cache.iter().filter(|(device, _)| device.tenant() == tenant.as_str());
                affected.map(|(device, _)| u64::from(self.cache.remove(&*device).is_some())).sum()
            }
            RegistryChange::Everything => {
                let entries = self.entries();
                self.cache.invalidate_all();
                entries
            }
        }
    }

    /// Number of grants, including expired ones.
    pub fn entries(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.entry_count()
    }

    fn lock_invalidations(&self) -> MutexGuard<'_, u64> {
        // The number behind a poisoned lock is still valid.
        self.invalidations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The TTL, or less if a certificate starts or ends before.
    fn usable_for(&self, answer: &RegistryAnswer, now: Timestamp) -> Duration {
        let Some(device) = &answer.device else { return self.negative_ttl };
        let change = device.certificate_changes_after(now).map(|moment| {
            let micros =
                moment.micros().saturating_sub(now.micros()).clamp(0, i64::MAX / MICROS_PER_SECOND);
            Duration::from_micros(micros.unsigned_abs())
        });
        change.map_or(self.ttl, |change| change.min(self.ttl))
    }
}

// === impl CacheView ===

impl CacheView<'_> {
    /// The time of the view by the cache's clock.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The answer for this identity, until it expires.
    pub fn get(&self, identity: &str) -> Option<Arc<Grant>> {
        self.cache.get(identity).filter(|grant| self.now < grant.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::device::{CertificateWindow, Device, DeviceStatus};

    const TTL: Duration = Duration::from_mins(5);
    const NEGATIVE_TTL: Duration = Duration::from_mins(1);

    fn grants(size: u64) -> Grants {
        let config =
            crate::config::Config::load(&crate::config::Sources::default()).unwrap().config.ingest;
        let config = IngestConfig {
            cache_max_size: size,
            cache_ttl: TTL,
            cache_negative_ttl: NEGATIVE_TTL,
            ..config
        };
        Grants::with_clock(&config, moved_clock::now)
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
    fn an_answer_is_found_by_the_identity_and_a_newer_one_replaces_it() {
        let grants = grants(10);
        let unknown = RegistryAnswer { tenant_suspended: false, device: None };
        grants.insert(key("acme", "pump"), unknown, Timestamp::default());
        let newer = grants.insert(key("acme", "pump"), registered([]), Timestamp::default());
        assert_eq!(grants.entries(), 1);
        let view = grants.view();
        assert!(Arc::ptr_eq(&view.get("acme/device/pump").unwrap(), &newer));
        for other in ["acme/device/valve", "acme/device/", "other/device/pump", "acme/pump", ""] {
            assert!(view.get(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_change_removes_a_device_a_tenant_or_all_and_counts_them() {
        let grants = grants(10);
        for (tenant, device) in [("a", "x"), ("a", "y"), ("a", "z"), ("b", "x"), ("b", "y")] {
            grants.insert(key(tenant, device), registered([]), Timestamp::default());
        }
        assert_eq!(grants.forget(&RegistryChange::Device(key("a", "x"))), 1);
        assert_eq!(grants.forget(&RegistryChange::Device(key("a", "x"))), 0);
        assert_eq!(grants.forget(&RegistryChange::Tenant("a".parse().unwrap())), 2);
        assert!(
            grants.view().get("a/device/y").is_none() && grants.view().get("b/device/y").is_some()
        );
        assert_eq!(grants.forget(&RegistryChange::Everything), 2);
        assert_eq!(grants.entries(), 0);
    }

    #[test]
    fn no_more_than_its_size_is_kept_and_a_frequent_device_stays() {
        let grants = grants(100);
        for device in 0..10_000 {
            grants.insert(key("t", &device.to_string()), registered([]), Timestamp::default());
            grants.view().get("t/device/0");
        }
        assert!(grants.entries() <= 100);
        assert!(grants.view().get("t/device/0").is_some());
    }

    #[test]
    fn an_answer_expires_when_a_certificate_starts_or_ends() {
        let grants = grants(10);
        let now = Timestamp::default().plus_seconds(1_000);
        let window = CertificateWindow {
            id: uuid::Uuid::nil(),
            fingerprint: sluice_shared::proof::ShortFingerprint([0; 16]),
            not_before: now.plus_seconds(-10),
            not_after: now.plus_seconds(7),
        };
        grants.insert(key("t", "x"), registered([window]), now);
        moved_clock::advance(Duration::from_secs(7) - Duration::from_nanos(1));
        assert!(grants.view().get("t/device/x").is_some());
        moved_clock::advance(Duration::from_nanos(1));
        assert!(grants.view().get("t/device/x").is_none());
    }

    #[test]
    fn an_answer_expires_after_its_ttl_and_a_negative_one_earlier() {
        let grants = grants(10);
        let unknown = RegistryAnswer { tenant_suspended: false, device: None };
        grants.insert(key("t", "known"), registered([]), Timestamp::default());
        grants.insert(key("t", "unknown"), unknown, Timestamp::default());
        let mut elapsed = Duration::ZERO;
        let mut cached_after = |total: Duration| {
            moved_clock::advance(total.saturating_sub(elapsed));
            elapsed = total;
            let view = grants.view();
            ["t/device/known", "t/device/unknown"].map(|identity| view.get(identity).is_some())
        };
        let instant = Duration::from_nanos(1);
        assert_eq!(cached_after(NEGATIVE_TTL.saturating_sub(instant)), [true, true]);
        assert_eq!(cached_after(NEGATIVE_TTL), [true, false]);
        assert_eq!(cached_after(TTL.saturating_sub(instant)), [true, false]);
        assert_eq!(cached_after(TTL), [false, false]);
        grants.insert(key("t", "known"), registered([]), Timestamp::default());
        assert_eq!(cached_after(TTL + instant), [true, false]);
    }
}
