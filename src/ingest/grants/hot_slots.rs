//! Direct-mapped cache of grants in front of the shared cache, for the spine only.
//!
//! A lookup in the shared cache updates usage counts, which costs more than parsing the message. So
//! each identity has one slot here, by its hash; devices with the same slot replace each other. One
//! lookup in [`FORWARD_EVERY`] goes to the shared cache, so that it counts the frequent devices as
//! used. Each entry comes from the shared cache. It expires at the same time, and the same changes
//! remove it.

use std::sync::Arc;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_64;

use super::Grant;
use crate::domain::registry_change::RegistryChange;

/// Most slots: two megabytes of them, enough for a fleet of a hundred thousand.
const SLOTS_MAX: u64 = 1 << 18;

/// One lookup in this many goes to the shared cache.
const FORWARD_EVERY: u32 = 64;

/// The slots: as many as the cache has entries, rounded up to a power of two, at most
/// [`SLOTS_MAX`]. In a fleet larger than the cache, a slot may hold a grant that the cache has
/// evicted, until its device sends again or another takes the slot.
#[derive(Debug)]
pub struct HotSlots {
    slots: Vec<Option<Arc<Grant>>>,
    lookups: u32,
}

// === impl HotSlots ===

impl HotSlots {
    /// Empty slots in front of a cache of `cache_size` entries.
    pub fn new(cache_size: u64) -> Self {
        let slots = cache_size.clamp(1, SLOTS_MAX).next_power_of_two();
        Self { slots: vec![None; usize::try_from(slots).unwrap_or(1)], lookups: 0 }
    }

    /// The grant of this identity, until it expires; `None` also when this lookup goes to the
    /// shared cache.
    pub fn get(&mut self, identity: &str, now: Instant) -> Option<Arc<Grant>> {
        let slot = self.slot(identity);
        let _ended = self.slots[slot].take_if(|grant| now >= grant.until);
        let cached =
            self.slots[slot].as_ref().filter(|grant| grant.device.identity() == identity)?;
        self.lookups = self.lookups.wrapping_add(1);
        (!self.lookups.is_multiple_of(FORWARD_EVERY)).then(|| Arc::clone(cached))
    }

    /// Replaces the slot's previous grant.
    pub fn put(&mut self, grant: &Arc<Grant>) {
        let slot = self.slot(grant.device.identity());
        self.slots[slot] = Some(Arc::clone(grant));
    }

    /// Removes the grants that a change made stale.
    pub fn forget(&mut self, change: &RegistryChange) {
        match change {
            RegistryChange::Device(device) => {
                let slot = self.slot(device.identity());
                self.slots[slot] = None;
            }
            RegistryChange::Tenant(tenant) => {
                let is_affected = |grant: &mut Arc<Grant>| grant.device.tenant() == tenant.as_str();
                for slot in &mut self.slots {
                    slot.take_if(is_affected);
                }
            }
            RegistryChange::Everything => self.slots.fill(None),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask leaves less than a usize")]
    fn slot(&self, identity: &str) -> usize {
        xxh3_64(identity.as_bytes()) as usize & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, Sources};
    use crate::domain::device::RegistryAnswer;
    use crate::domain::ids::DeviceKey;
    use crate::domain::time::Timestamp;
    use crate::ingest::grants::Grants;

    fn grant(tenant: &str, device: &str) -> Arc<Grant> {
        let grants = Grants::new(&Config::load(&Sources::default()).unwrap().config.ingest);
        let answer = RegistryAnswer { tenant_suspended: false, device: None };
        grants.insert(DeviceKey::new(tenant, device).unwrap(), answer, Timestamp::default())
    }

    #[test]
    fn a_grant_is_found_by_its_identity_until_it_expires() {
        let mut hot_slots = HotSlots::new(100);
        let (pump, now) = (grant("acme", "pump"), Instant::now());
        hot_slots.put(&pump);
        assert!(Arc::ptr_eq(&hot_slots.get("acme/device/pump", now).unwrap(), &pump));
        assert!(hot_slots.get("acme/device/valve", now).is_none());
        assert!(
            hot_slots
                .get("acme/device/pump", pump.until.checked_sub(Duration::from_nanos(1)).unwrap())
                .is_some()
        );
        assert!(hot_slots.get("acme/device/pump", pump.until).is_none());
        assert!(hot_slots.get("acme/device/pump", now).is_none(), "an expired grant is removed");
    }

    #[test]
    fn one_lookup_in_sixty_four_goes_to_the_cache() {
        let mut hot_slots = HotSlots::new(100);
        let (pump, now) = (grant("acme", "pump"), Instant::now());
        hot_slots.put(&pump);
        let answered = (0..FORWARD_EVERY * 4)
            .filter(|_| hot_slots.get("acme/device/pump", now).is_some())
            .count();
        assert_eq!(answered, 63 * 4);
    }

    #[test]
    fn two_devices_of_one_slot_replace_each_other_and_are_never_confused() {
        let mut hot_slots = HotSlots::new(1);
        let now = Instant::now();
        hot_slots.put(&grant("acme", "pump"));
        hot_slots.put(&grant("acme", "valve"));
        assert!(hot_slots.get("acme/device/pump", now).is_none());
        assert!(hot_slots.get("acme/device/valve", now).is_some());
    }

    #[test]
    fn a_change_removes_a_device_a_tenant_or_everything() {
        let mut hot_slots = HotSlots::new(1 << 14);
        let now = Instant::now();
        let present = |hot_slots: &mut HotSlots| {
            ["a/device/x", "a/device/y", "b/device/x"]
                .map(|identity| hot_slots.get(identity, now).is_some())
        };
        for (tenant, device) in [("a", "x"), ("a", "y"), ("b", "x")] {
            hot_slots.put(&grant(tenant, device));
        }
        assert_eq!(present(&mut hot_slots), [true, true, true]);
        hot_slots.forget(&RegistryChange::Device(DeviceKey::new("a", "x").unwrap()));
        assert_eq!(present(&mut hot_slots), [false, true, true]);
        hot_slots.forget(&RegistryChange::Tenant("a".parse().unwrap()));
        assert_eq!(present(&mut hot_slots), [false, false, true]);
        hot_slots.forget(&RegistryChange::Everything);
        assert_eq!(present(&mut hot_slots), [false, false, false]);
    }
}
