//! The grants of devices that keep speaking, one step away: in front of the shared cache, for the spine alone.
//!
//! Asking the shared cache keeps account of who is asked for how often, which costs more than to parse the message. So each
//! identity has one place here, by its hash, and the latest to speak holds it; one question in [`ACCOUNTED`] goes to the cache
//! all the same, which thus knows who speaks much. It is no second truth: what it holds is held by the cache, or was until
//! lately, ends with the same moment, and is forgotten on the same word.

use std::sync::Arc;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_64;

use super::Grant;
use crate::domain::registry_change::RegistryChange;

/// The most places there are: two megabytes of them, and enough for a fleet of a hundred thousand.
const PLACES_MAX: u64 = 1 << 18;

/// Of so many questions, the cache hears one.
const ACCOUNTED: u32 = 64;

/// The latest of those who spoke. It has as many places as the cache, rounded up to a power of two, and at most
/// [`PLACES_MAX`]. In a fleet larger than the cache, a place may hold a grant that the cache has let go, until its device
/// speaks again or another takes the place.
#[derive(Debug)]
pub struct HotSlots {
    places: Vec<Option<Arc<Grant>>>,
    questions: u32,
}

// === impl Regulars ===

impl HotSlots {
    /// Nobody yet, in front of a cache of this size.
    pub fn new(cache_size: u64) -> Self {
        let places = cache_size.clamp(1, PLACES_MAX).next_power_of_two();
        Self { places: vec![None; usize::try_from(places).unwrap_or(1)], questions: 0 }
    }

    /// The grant of this identity, while it is good; none also when the cache should be asked for once.
    pub fn get(&mut self, identity: &str, now: Instant) -> Option<Arc<Grant>> {
        let place = self.place(identity);
        let _ended = self.places[place].take_if(|grant| now >= grant.until);
        let known = self.places[place].as_ref().filter(|grant| grant.device.identity() == identity)?;
        self.questions = self.questions.wrapping_add(1);
        (!self.questions.is_multiple_of(ACCOUNTED)).then(|| Arc::clone(known))
    }

    /// Whoever held the place gives way.
    pub fn put(&mut self, grant: &Arc<Grant>) {
        let place = self.place(grant.device.identity());
        self.places[place] = Some(Arc::clone(grant));
    }

    /// Forgets what a change makes doubtful.
    pub fn forget(&mut self, change: &RegistryChange) {
        match change {
            RegistryChange::Device(device) => {
                let place = self.place(device.identity());
                self.places[place] = None;
            }
            RegistryChange::Tenant(tenant) => {
                let is_doomed = |grant: &mut Arc<Grant>| grant.device.tenant() == tenant.as_str();
                for place in &mut self.places {
                    place.take_if(is_doomed);
                }
            }
            RegistryChange::Everything => self.places.fill(None),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask leaves less than a usize")]
    fn place(&self, identity: &str) -> usize {
        xxh3_64(identity.as_bytes()) as usize & (self.places.len() - 1)
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
        let standing = RegistryAnswer { tenant_suspended: false, device: None };
        grants.keep(DeviceKey::new(tenant, device).unwrap(), standing, Timestamp::default())
    }

    #[test]
    fn a_grant_is_found_by_its_identity_until_its_moment() {
        let mut regulars = HotSlots::new(100);
        let (pump, now) = (grant("acme", "pump"), Instant::now());
        regulars.put(&pump);
        assert!(Arc::ptr_eq(&regulars.get("acme/device/pump", now).unwrap(), &pump));
        assert!(regulars.get("acme/device/valve", now).is_none());
        assert!(regulars.get("acme/device/pump", pump.until.checked_sub(Duration::from_nanos(1)).unwrap()).is_some());
        assert!(regulars.get("acme/device/pump", pump.until).is_none());
        assert!(regulars.get("acme/device/pump", now).is_none(), "one that has ended is let go");
    }

    #[test]
    fn one_question_in_sixty_four_goes_to_the_cache() {
        let mut regulars = HotSlots::new(100);
        let (pump, now) = (grant("acme", "pump"), Instant::now());
        regulars.put(&pump);
        let answered = (0..ACCOUNTED * 4).filter(|_| regulars.get("acme/device/pump", now).is_some()).count();
        assert_eq!(answered, 63 * 4);
    }

    #[test]
    fn of_two_that_share_a_place_the_latest_holds_it_and_neither_is_taken_for_the_other() {
        let mut regulars = HotSlots::new(1);
        let now = Instant::now();
        regulars.put(&grant("acme", "pump"));
        regulars.put(&grant("acme", "valve"));
        assert!(regulars.get("acme/device/pump", now).is_none());
        assert!(regulars.get("acme/device/valve", now).is_some());
    }

    #[test]
    fn a_change_forgets_a_device_a_tenant_or_everybody() {
        let mut regulars = HotSlots::new(1 << 14);
        let now = Instant::now();
        let there = |regulars: &mut HotSlots| {
            ["a/device/x", "a/device/y", "b/device/x"].map(|identity| regulars.get(identity, now).is_some())
        };
        for (tenant, device) in [("a", "x"), ("a", "y"), ("b", "x")] {
            regulars.put(&grant(tenant, device));
        }
        assert_eq!(there(&mut regulars), [true, true, true]);
        regulars.forget(&RegistryChange::Device(DeviceKey::new("a", "x").unwrap()));
        assert_eq!(there(&mut regulars), [false, true, true]);
        regulars.forget(&RegistryChange::Tenant("a".parse().unwrap()));
        assert_eq!(there(&mut regulars), [false, false, true]);
        regulars.forget(&RegistryChange::Everything);
        assert_eq!(there(&mut regulars), [false, false, false]);
    }
}
