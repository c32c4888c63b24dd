//! `AUTO_PROVISION`: which unknown devices are registered because they spoke, and how many at once.
//!
//! It registers nobody for a message that would be refused all the same: a device without a token, or for a suspended
//! tenant, would only fill the registry.

use std::collections::HashMap;

use super::judge::AuthRequirements;
use crate::domain::batch::RejectedFields;
use crate::domain::device::{Device, DeviceStatus, RegistryAnswer, Windows};
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Newcomer;
use crate::domain::time::Timestamp;
use crate::ingest::parse::{ParseOutcome, Parsed};

/// So many devices register themselves within a minute; whoever floods the broker with made-up names fills the registry
/// no faster. The others are unknown until their turn comes.
pub const MAX_NEWCOMERS_PER_MINUTE: usize = 6_000;

/// Decides who is registered.
#[derive(Debug)]
pub struct Enrollment {
    demands: AuthRequirements,
    budget: Budget,
}

#[derive(Debug, Default)]
struct Budget {
    minute: Timestamp,
    spent: usize,
}

/// How an unknown device will stand once it is registered by this message; none when the message would be refused then too.
pub fn once_enrolled(
    demands: AuthRequirements,
    parsed: &Parsed,
    standing: &RegistryAnswer,
    now: Timestamp,
) -> Option<RegistryAnswer> {
    if standing.tenant_suspended || standing.device.is_some() || parsed.unstorable.is_some() {
        return None;
    }
    let RejectedFields { site, token, .. } = parsed.told();
    let site = site.map(Into::into);
    let device = Device { status: DeviceStatus::Active, site, token, certificates: Windows::new() };
    let enrolled = RegistryAnswer { tenant_suspended: false, device: Some(device) };
    demands.judge(parsed, &enrolled, now).is_ok().then_some(enrolled)
}

// === impl Enrollment ===

impl Enrollment {
    /// Registers those who would be believed by these demands.
    pub fn new(demands: AuthRequirements) -> Self {
        Self { demands, budget: Budget::default() }
    }

    /// Whether a device that was unknown a while ago may register itself by this message.
    pub fn welcomes(&self, parsed: &Parsed, standing: &RegistryAnswer, now: Timestamp) -> bool {
        self.budget.is_left(now) && once_enrolled(self.demands, parsed, standing, now).is_some()
    }

    /// Those of the unknown who are to be registered, each with what the first of its good messages says of it.
    pub fn choose(
        &mut self,
        asked: &[(&str, DeviceKey)],
        standings: &[RegistryAnswer],
        outcomes: &[ParseOutcome],
        now: Timestamp,
    ) -> Vec<Newcomer> {
        let mut unknown: HashMap<&str, (&DeviceKey, &RegistryAnswer)> = asked
            .iter()
            .zip(standings)
            .filter(|(_, standing)| standing.device.is_none() && !standing.tenant_suspended)
            .map(|((identity, key), standing)| (*identity, (key, standing)))
            .collect();
        let mut newcomers = Vec::new();
        for outcome in outcomes {
            let ParseOutcome::Parsed(parsed) = outcome else { continue };
            let Some((key, standing)) = unknown.get(parsed.identity()) else { continue };
            if once_enrolled(self.demands, parsed, standing, now).is_some() {
                let RejectedFields { site, token, .. } = parsed.told();
                newcomers.push(Newcomer { key: (*key).clone(), site, token });
                unknown.remove(parsed.identity());
            }
        }
        newcomers.truncate(self.budget.left(newcomers.len(), now));
        newcomers
    }

    /// So many were registered.
    pub fn enrolled(&mut self, newcomers: usize) {
        self.budget.spent += newcomers;
    }
}

// === impl Budget ===

impl Budget {
    fn is_left(&self, now: Timestamp) -> bool {
        now.minute() != self.minute || self.spent < MAX_NEWCOMERS_PER_MINUTE
    }

    /// How many of those who wait may be registered at this moment.
    fn left(&mut self, waiting: usize, now: Timestamp) -> usize {
        if now.minute() != self.minute {
            *self = Self { minute: now.minute(), spent: 0 };
        }
        let left = MAX_NEWCOMERS_PER_MINUTE.saturating_sub(self.spent);
        if waiting > left && left > 0 {
            tracing::warn!(
                "more than {MAX_NEWCOMERS_PER_MINUTE} unknown devices spoke within a minute, the others wait for the next; \
                 if they are not yours, switch AUTO_PROVISION off"
            );
        }
        left.min(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_registered_within_a_minute_than_its_budget() {
        let mut budget = Budget::default();
        let mut take = |waiting: usize, second: i64| {
            let taken = budget.left(waiting, Timestamp::default().plus_seconds(second));
            budget.spent += taken;
            taken
        };
        assert_eq!(take(MAX_NEWCOMERS_PER_MINUTE - 1, 60), MAX_NEWCOMERS_PER_MINUTE - 1);
        assert_eq!((take(10, 61), take(10, 119)), (1, 0));
        assert_eq!(take(10, 120), 10);
    }
}
