//! `AUTO_PROVISION`: which unknown devices are registered because of a message, and how many in a
//! minute.
//!
//! It registers no device for a message that would still be refused: a device without a token, or
//! of a suspended tenant, would only fill the registry.

use std::collections::HashMap;

use super::judge::{AuthRequirements, PublishedBy};
use crate::domain::batch::RejectedFields;
use crate::domain::device::{Device, DeviceStatus, RegistryAnswer, Windows};
use crate::domain::ids::{DeviceKey, is_addressable};
use crate::domain::ports::Newcomer;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::ingest::candidate::Candidate;
use crate::ingest::parse::parsed::{Parsed, TokenField};

/// Most devices registered in a minute, so that a flood of invented names fills the registry no
/// faster. The others stay unknown until a later minute.
pub const MAX_NEWCOMERS_PER_MINUTE: usize = 6_000;

/// Decides which devices are registered.
#[derive(Debug)]
pub struct Enrollment {
    requirements: AuthRequirements,
    budget: Budget,
}

#[derive(Debug)]
struct Budget {
    minute: Timestamp,
    spent: usize,
    /// Most devices of a minute.
    most: usize,
}

/// The registry answer after this message registers an unknown device; `None` if the message would
/// still be refused.
pub fn once_enrolled(
    requirements: &AuthRequirements,
    parsed: &Parsed,
    sender: PublishedBy<'_>,
    answer: &RegistryAnswer,
    now: Timestamp,
) -> Option<RegistryAnswer> {
    if answer.tenant_suspended || answer.device.is_some() || parsed.unstorable.is_some() {
        return None;
    }
    if !is_addressable(parsed.identity()) {
        return None;
    }
    // A device without a token would keep the real one out, whose first message brings the token.
    let has_token = !parsed.is_from_link && parsed.token != TokenField::Absent;
    if requirements.token && !has_token {
        return None;
    }
    let (site, token) = registered_fields(parsed);
    let site = site.map(Into::into);
    let device = Device { status: DeviceStatus::Active, site, token, certificates: Windows::new() };
    let enrolled = RegistryAnswer { tenant_suspended: false, device: Some(device) };
    requirements.judge(parsed, sender, &enrolled, now).is_ok().then_some(enrolled)
}

/// The site and the token that a device is registered with. What comes over a link sets no token: it
/// would become the device's proof at the local broker.
fn registered_fields(parsed: &Parsed) -> (Option<Box<str>>, Option<TokenHash>) {
    let RejectedFields { site, token, .. } = parsed.rejected_fields();
    (site, token.filter(|_| !parsed.is_from_link))
}

// === impl Enrollment ===

impl Enrollment {
    /// Registers devices whose messages satisfy `requirements`.
    pub fn new(requirements: AuthRequirements) -> Self {
        Self { requirements, budget: Budget::new(MAX_NEWCOMERS_PER_MINUTE) }
    }

    /// From now on it registers its share of the devices that several lanes may register.
    pub fn share(&mut self, lanes: usize) {
        self.budget = Budget::new(MAX_NEWCOMERS_PER_MINUTE / lanes.max(1));
    }

    /// Whether this message may register a device that was unknown.
    pub fn accepts(
        &self,
        parsed: &Parsed,
        sender: PublishedBy<'_>,
        answer: &RegistryAnswer,
        now: Timestamp,
    ) -> bool {
        self.budget.is_left(now)
            && once_enrolled(&self.requirements, parsed, sender, answer, now).is_some()
    }

    /// Unknown devices to register, each with the fields of its first valid message.
    pub fn choose(
        &mut self,
        queried: &[DeviceKey],
        answers: &[RegistryAnswer],
        candidates: &[Candidate],
        now: Timestamp,
    ) -> Vec<Newcomer> {
        let mut unknown: HashMap<&str, (&DeviceKey, &RegistryAnswer)> = queried
            .iter()
            .zip(answers)
            .filter(|(_, answer)| answer.device.is_none() && !answer.tenant_suspended)
            .map(|(key, answer)| (key.identity(), (key, answer)))
            .collect();
        let mut newcomers = Vec::new();
        for candidate in candidates {
            let Some(parsed) = candidate.parsed() else { continue };
            let Some(&(key, answer)) = unknown.get(parsed.identity()) else { continue };
            let sender = candidate.sender();
            if once_enrolled(&self.requirements, parsed, sender, answer, now).is_some() {
                let (site, token) = registered_fields(parsed);
                newcomers.push(Newcomer { key: key.clone(), site, token });
                unknown.remove(parsed.identity());
            }
        }
        newcomers.truncate(self.budget.left(newcomers.len(), now));
        newcomers
    }

    /// Records the number of registered devices.
    pub fn enrolled(&mut self, newcomers: usize) {
        self.budget.spent += newcomers;
    }
}

// === impl Budget ===

impl Budget {
    fn new(most: usize) -> Self {
        Self { minute: Timestamp::default(), spent: 0, most }
    }

    fn is_left(&self, now: Timestamp) -> bool {
        now.minute() != self.minute || self.spent < self.most
    }

    /// How many of `waiting` devices may be registered now.
    fn left(&mut self, waiting: usize, now: Timestamp) -> usize {
        if now.minute() != self.minute {
            *self = Self { minute: now.minute(), ..Self::new(self.most) };
        }
        let left = self.most.saturating_sub(self.spent);
        if waiting > left && left > 0 {
            tracing::warn!(
                "more than {MAX_NEWCOMERS_PER_MINUTE} unknown devices published within a minute; Sluice \
                 registers the others later; if they are not yours, set AUTO_PROVISION=0"
            );
        }
        left.min(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minute_registers_no_more_devices_than_its_budget() {
        let mut budget = Budget::new(MAX_NEWCOMERS_PER_MINUTE);
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
