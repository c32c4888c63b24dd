//! The authorization cache: what the registry said of each device, for a while.
//!
//! It holds what was answered, unknown devices too, and forgets on time or when told. It asks nobody itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moka::Expiry;
use moka::sync::Cache;

use crate::config::ingest::IngestConfig;
use crate::domain::change::Change;
use crate::domain::device::Standing;
use crate::domain::ids::DeviceKey;
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};

/// One answer of the registry.
#[derive(Debug)]
pub struct Grant {
    /// Whose.
    pub device: Arc<DeviceKey>,
    /// What it said.
    pub standing: Standing,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// For how long the answer may be used.
    pub good_for: Duration,
    site: Option<Bytes>,
}

/// Grants by identity. Clones share the same cache.
#[derive(Clone, Debug)]
pub struct Grants {
    cache: Cache<Box<str>, Arc<Grant>>,
    /// Counts what was forgotten, so that an answer which was on its way meanwhile is known to be doubtful.
    forgotten: Arc<AtomicU64>,
    ttl: Duration,
    negative_ttl: Duration,
}

struct UntilItsTime;

impl Expiry<Box<str>, Arc<Grant>> for UntilItsTime {
    fn expire_after_create(&self, _: &Box<str>, grant: &Arc<Grant>, _: Instant) -> Option<Duration> {
        Some(grant.good_for)
    }

    fn expire_after_update(
        &self,
        _: &Box<str>,
        grant: &Arc<Grant>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(grant.good_for)
    }
}

// === impl Grant ===

impl Grant {
    /// The registry's site, when it has one.
    pub fn site(&self) -> Option<Bytes> {
        self.site.clone()
    }
}

// === impl Grants ===

impl Grants {
    /// An empty cache.
    pub fn new(config: &IngestConfig) -> Self {
        let cache = Cache::builder().max_capacity(config.cache_max_size).expire_after(UntilItsTime).build();
        Self { cache, forgotten: Arc::default(), ttl: config.cache_ttl, negative_ttl: config.cache_negative_ttl }
    }

    /// The answer about this identity, while it is good.
    pub fn get(&self, identity: &str) -> Option<Arc<Grant>> {
        self.cache.get(identity)
    }

    /// Keeps an answer for as long as it may be used.
    pub fn keep(&self, identity: &str, device: Arc<DeviceKey>, standing: Standing, now: Timestamp) -> Arc<Grant> {
        let good_for = self.good_for(&standing, now);
        let site = standing.device.as_ref().and_then(|device| device.site.as_deref());
        let site = site.map(|site| Bytes::copy_from_slice(site.as_bytes()));
        let grant = Arc::new(Grant { device, standing, asked_at: now, good_for, site });
        self.cache.insert(identity.into(), Arc::clone(&grant));
        grant
    }

    /// Where the count of changes stands: to be read before the registry is asked by somebody who does not hear the changes.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }

    /// Keeps an answer, unless something was forgotten since it was asked for: then it may be older than the change.
    pub fn keep_unless_forgotten(
        &self,
        identity: &str,
        device: Arc<DeviceKey>,
        standing: Standing,
        (now, forgotten): (Timestamp, u64),
    ) {
        self.keep(identity, device, standing, now);
        if self.forgotten() != forgotten {
            self.cache.remove(identity);
        }
    }

    /// Forgets what a change makes doubtful; says how many grants that were.
    pub fn forget(&self, change: &Change) -> u64 {
        // First the count, then the grants: whoever kept one in between sees the count and takes it back.
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        match change {
            Change::Device(identity) => u64::from(self.cache.remove(identity.as_str()).is_some()),
            Change::Tenant(tenant) => {
                let of_tenant = |identity: &str| identity.split('/').next() == Some(tenant.as_str());
                let doomed = self.cache.iter().filter(|(identity, _)| of_tenant(identity));
                doomed.map(|(identity, _)| u64::from(self.cache.remove(identity.as_ref()).is_some())).sum()
            }
            Change::Everything => {
                let entries = self.entries();
                self.cache.invalidate_all();
                entries
            }
        }
    }

    /// How many grants it holds, expired ones not yet swept included.
    pub fn entries(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.entry_count()
    }

    /// The shorter of the TTL and the moment at which a certificate starts or ends.
    fn good_for(&self, standing: &Standing, now: Timestamp) -> Duration {
        let Some(device) = &standing.device else { return self.negative_ttl };
        let change = device.certificate_changes_after(now).map(|moment| {
            let micros = moment.micros().saturating_sub(now.micros()).clamp(0, i64::MAX / MICROS_PER_SECOND);
            Duration::from_micros(micros.unsigned_abs())
        });
        change.map_or(self.ttl, |change| change.min(self.ttl))
    }
}
