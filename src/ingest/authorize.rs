//! From deliveries to a batch: parse each, query the registry once for all devices that are not
//! cached, authorize each.
//!
//! It stores nothing and acknowledges nothing. It refuses no message because a lookup failed.
//!
//! In reading order: [`judge`] decides, [`accepted`] makes the row, [`auto_provision`] registers unknown devices,
//! [`rate_limit`] limits each device, [`redelivery`] recognizes repeated messages, [`last_seen`]
//! gathers `last_seen_at`.

mod accepted;
pub(crate) mod auto_provision;
pub(crate) mod judge;
#[cfg(test)]
mod judge_tests;
pub(crate) mod last_seen;
pub(crate) mod rate_limit;
pub(crate) mod redelivery;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::watch;

use super::candidate::Candidate;
use super::forwarding::Forwarding;
use super::grants::hot_slots::HotSlots;
use super::grants::{Grant, Grants};
use super::live_feed::LiveFeed;
use super::parse::ParseLimits;
use super::parse::parsed::{ParseOutcome, Parsed};
use super::publisher::ProofVerifier;
use crate::config::sections::ingest::IngestConfig;
use crate::domain::batch::{Batch, Quarantined, Suspect};
use crate::domain::device::RegistryAnswer;
use crate::domain::forwarding::ForwardPlan;
use crate::domain::ids::DeviceKey;
use crate::domain::link::LinkOutcome;
use crate::domain::live::LiveOutcome;
use crate::domain::message::Delivery;
use crate::domain::ports::{Directory, Outage};
use crate::domain::quarantine_sampling::{Sampler, SharedSampler};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::registry_change::RegistryChange;
use crate::domain::time::{Clock, Timestamp};
use crate::domain::topic::Owned;
use crate::telemetry::ingest::IngestMetrics;
use auto_provision::Enrollment;
use judge::{AuthRequirements, Authentication, PublishedBy};
use last_seen::LastSeenQueue;
use rate_limit::{Absence, RateLimiter, TransitTimes};
use redelivery::RecentMessages;

/// Turns deliveries into batches. One task owns it, so it never queries a device twice at once.
pub struct Authorizer<D> {
    directory: D,
    limits: ParseLimits,
    proofs: ProofVerifier,
    requirements: AuthRequirements,
    enrollment: Option<Enrollment>,
    hot_slots: HotSlots,
    grants: Grants,
    rate: Option<RateLimiter>,
    sampler: SharedSampler,
    lists_refused: bool,
    recent: RecentMessages,
    sightings: LastSeenQueue,
    forwarding: Forwarding,
    /// `None`: its decisions are shown to nobody.
    live: Option<LiveFeed>,
    metrics: IngestMetrics,
    clock: Clock,
}

// === impl Authorizer ===

impl<D: Directory> Authorizer<D> {
    /// An authorizer that uses this cache.
    pub fn new(
        directory: D,
        config: &IngestConfig,
        grants: Grants,
        metrics: IngestMetrics,
        clock: Clock,
    ) -> Self {
        Self {
            directory,
            limits: ParseLimits::from(config),
            proofs: ProofVerifier::new(&config.proofs, metrics.proofs.clone()),
            requirements: AuthRequirements::from(config),
            enrollment: config
                .auto_provision
                .then(|| Enrollment::new(AuthRequirements::from(config))),
            hot_slots: HotSlots::new(config.cache_max_size),
            grants,
            rate: config.rate_limit.map(RateLimiter::new),
            sampler: SharedSampler::new(config.quarantine_max_per_minute),
            lists_refused: false,
            recent: RecentMessages::default(),
            sightings: LastSeenQueue::default(),
            forwarding: Forwarding::default(),
            live: None,
            metrics,
            clock,
        }
    }

    /// From now on this is one of `lanes` authorizers with the same samples: each registers its share
    /// of the unknown devices.
    pub fn share_limits(&mut self, sampler: SharedSampler, lanes: usize) {
        self.sampler = sampler;
        if let Some(enrollment) = &mut self.enrollment {
            enrollment.share(lanes);
        }
    }

    /// Records a time in which no daemon read messages, for the rate limit.
    pub fn record_absence(&mut self, absence: Absence) {
        if let Some(rate) = &mut self.rate {
            rate.record_absence(absence);
        }
    }

    /// Forwards accepted messages from now on as the current plan says.
    pub fn forwarding(&mut self, plan: watch::Receiver<Arc<ForwardPlan>>) {
        self.forwarding = Forwarding::following(plan);
    }

    /// Shows each decision to this feed from now on.
    pub fn show_decisions(&mut self, live: LiveFeed) {
        self.live = Some(live);
    }

    /// Lists the refused messages of each batch from now on, for a reporter.
    pub fn list_refused(&mut self) {
        self.lists_refused = true;
    }

    /// Keeps every refused message from now on, also in a flood.
    pub fn keep_all_refused(&mut self) {
        self.sampler = SharedSampler::default();
    }

    /// Removes the answers that a registry change made stale.
    pub fn forget(&mut self, change: &RegistryChange) {
        self.hot_slots.forget(change);
        self.metrics.plain.invalidations.inc_by(self.grants.forget(change));
    }

    /// When a batch with `last_seen_at` rows is due, although no message is.
    pub fn sightings_due(&self) -> Option<Timestamp> {
        self.sightings.next_due()
    }

    /// First step: parses a message, and verifies the proof of its publisher.
    pub fn parse(&mut self, mut delivery: Delivery) -> Candidate {
        let mut outcome = self.limits.parse(&delivery);
        // What the platform itself publishes needs no proof.
        if !matches!(outcome, ParseOutcome::Ignored) {
            self.proofs.examine(&mut delivery);
            outcome = self.limits.date_by_proof(outcome, &delivery);
        }
        Candidate { delivery, outcome, grant: None, gateway: None }
    }

    /// Second step: finds the grant of each sender, in the cache or by one query for all others.
    /// Fails only as a whole and can be retried.
    pub async fn query_registry(&mut self, candidates: &mut [Candidate]) -> Result<(), Outage> {
        let missing = self.find_cached(candidates);
        if missing.is_empty() {
            return Ok(());
        }
        self.metrics.plain.cache_misses.inc_by(missing.len() as u64);
        let fetched = self.query_missing(missing, candidates).await?;
        for candidate in candidates.iter_mut() {
            let Some(parsed) = candidate.parsed() else { continue };
            let grant = fetched.get(parsed.identity()).cloned();
            let gateway = self
                .requirements
                .gateway(&candidate.delivery.publisher, parsed.identity())
                .and_then(|gateway| fetched.get(&gateway).cloned());
            candidate.grant = candidate.grant.take().or(grant);
            candidate.gateway = candidate.gateway.take().or(gateway);
        }
        let entries = i64::try_from(self.grants.entries()).unwrap_or(i64::MAX);
        self.metrics.plain.cache_entries.set(entries);
        Ok(())
    }

    /// Sets the cached grants; returns the devices without one. A retry looks again: an entry may
    /// have expired meanwhile.
    fn find_cached(&mut self, candidates: &mut [Candidate]) -> HashSet<DeviceKey> {
        let mut missing: HashSet<DeviceKey> = HashSet::new();
        let mut hits = 0;
        let view = self.grants.view();
        for candidate in candidates {
            let ParseOutcome::Parsed(parsed) = &candidate.outcome else { continue };
            let identity = parsed.identity();
            let hot_slots = &mut self.hot_slots;
            let mut cached = |identity: &str| {
                let cached = hot_slots.get(identity, view.now());
                cached.or_else(|| view.get(identity).inspect(|grant| hot_slots.put(grant)))
            };
            let grant = cached(identity);
            let publisher = &candidate.delivery.publisher;
            let gateway = self.requirements.gateway(publisher, identity);
            candidate.gateway = gateway.as_ref().and_then(|gateway| cached(gateway.identity()));
            missing.extend(gateway.filter(|_| candidate.gateway.is_none()));
            let sender = candidate.sender();
            let may_enroll = |grant: &Grant| {
                may_enroll(self.enrollment.as_ref(), self.clock, parsed, sender, grant)
            };
            let grant = grant.filter(|grant| !may_enroll(grant));
            if grant.is_some() {
                hits += 1;
            } else if !missing.contains(identity) {
                missing.extend(identity.parse::<DeviceKey>());
            }
            candidate.grant = grant;
        }
        self.metrics.plain.cache_hits.inc_by(hits);
        missing
    }

    /// Third step: authorizes each message, in order, and makes the batch.
    pub fn judge(&mut self, candidates: Vec<Candidate>) -> Batch {
        let now = (self.clock)();
        let shared = self.sampler.clone();
        let mut sampler = shared.lock();
        sampler.start_minute(now);
        self.forwarding.refresh();
        let mut batch = Batch {
            deliveries: Vec::with_capacity(candidates.len()),
            readings: Vec::with_capacity(candidates.len()),
            refused: self.lists_refused.then(Vec::new),
            sampler: shared.clone(),
            ..Batch::default()
        };
        let feed = self.live.as_ref().filter(|feed| feed.is_wanted()).cloned();
        let mut live = feed.as_ref().map(|feed| feed.round(now));
        for (origin, candidate) in candidates.into_iter().enumerate() {
            let Candidate { delivery, outcome, grant, gateway } = candidate;
            let (known_before, mut why) = (batch.known_duplicates, None);
            let decided = match outcome {
                ParseOutcome::Ignored => {
                    batch.ignored += 1;
                    LinkOutcome::Ignored
                }
                ParseOutcome::Refused(refusal, fields) => {
                    why = live.as_ref().map(|_| refusal.clone());
                    let refused = Suspect { origin, refusal, fields };
                    self.refuse(&mut batch, &mut sampler, &delivery, refused);
                    LinkOutcome::Refused
                }
                ParseOutcome::Parsed(parsed) => {
                    let grants = (grant.as_deref(), gateway.as_deref());
                    match self.verdict(&delivery, &parsed, grants, now) {
                        Ok((grant, proof)) => {
                            if let Authentication::Token(hash) = proof {
                                batch.tokens.push((origin, hash));
                            }
                            let sender = (grant, proof.certificate());
                            self.accept(&mut batch, origin, &delivery, parsed, sender);
                            self.forwarding.add(&mut batch, origin, &delivery);
                            LinkOutcome::Accepted
                        }
                        Err(refusal) => {
                            why = live.as_ref().map(|_| refusal.clone());
                            let fields = parsed.rejected_fields();
                            let refused = Suspect { origin, refusal, fields };
                            self.refuse(&mut batch, &mut sampler, &delivery, refused);
                            LinkOutcome::Refused
                        }
                    }
                }
            };
            if let Some(arrival) = &delivery.arrival {
                let outcome = if arrival.is_ignored { LinkOutcome::Own } else { decided };
                batch.from_links.push((arrival.link.clone(), outcome));
            }
            if let Some(live) = &mut live {
                let is_known = batch.known_duplicates > known_before;
                live.decided(&delivery, LiveOutcome::of(decided, is_known), why.as_ref());
            }
            batch.maybe_repeated |= delivery.maybe_repeated;
            batch.deliveries.push(delivery);
        }
        batch.sightings = self.sightings.take_due(now);
        batch.refusal_counts = sampler.take_counts();
        batch
    }

    /// A batch with all remaining `last_seen_at` rows, at the end.
    pub fn last_sightings(&mut self) -> Batch {
        Batch { sightings: self.sightings.take_all(), ..Batch::default() }
    }

    async fn query_missing(
        &mut self,
        missing: HashSet<DeviceKey>,
        candidates: &[Candidate],
    ) -> Result<HashMap<DeviceKey, Arc<Grant>>, Outage> {
        let keys: Vec<DeviceKey> = missing.into_iter().collect();
        let mut answers = self.directory.find(&keys).await?;
        if let Some(enrollment) = &mut self.enrollment {
            let newcomers = enrollment.choose(&keys, &answers, candidates, (self.clock)());
            if !newcomers.is_empty() {
                self.directory.enroll(&newcomers).await?;
                enrollment.enrolled(newcomers.len());
                answers = self.directory.find(&keys).await?;
            }
        }
        let now = (self.clock)();
        let keep = |(key, answer): (DeviceKey, RegistryAnswer)| {
            let grant = self.grants.insert(key.clone(), answer, now);
            self.hot_slots.put(&grant);
            (key, grant)
        };
        Ok(keys.into_iter().zip(answers).map(keep).collect())
    }

    fn verdict<'g>(
        &mut self,
        delivery: &Delivery,
        parsed: &Parsed,
        (grant, gateway): (Option<&'g Grant>, Option<&Grant>),
        now: Timestamp,
    ) -> Result<(&'g Grant, Authentication), Refusal> {
        // Every parsed message has a grant, unless the registry returned too few answers.
        let Some(grant) = grant else {
            return Err(Refusal::new(
                Reason::UnregisteredDevice,
                "the registry returned no answer for the device",
            ));
        };
        let gateway = gateway.map(|grant| &grant.answer);
        let sender = PublishedBy { publisher: &delivery.publisher, gateway };
        let proof = self.requirements.judge(parsed, sender, &grant.answer, now)?;
        // A redelivery is not charged again: no device can cause one.
        if let Some(rate) = self.rate.as_mut().filter(|_| !delivery.dup)
            && !rate.charge(&grant.device, TransitTimes::of(delivery, parsed.time))
        {
            return Err(Refusal::new(
                Reason::RateLimited,
                "the device sent more than RATE_LIMIT_RPS and RATE_LIMIT_BURST allow",
            ));
        }
        match parsed.unstorable {
            Some(why) => Err(Refusal::new(Reason::StoreRejected, why)),
            None => Ok((grant, proof)),
        }
    }

    fn refuse(
        &mut self,
        batch: &mut Batch,
        sampler: &mut Sampler,
        delivery: &Delivery,
        refused: Suspect,
    ) {
        let message_id = delivery.message_id();
        if self.is_redelivery(delivery, message_id) {
            batch.known_duplicates += 1;
            return;
        }
        let has_time = refused.fields.event_time.is_some();
        if delivery.dup && has_time {
            return batch.suspects.push(refused);
        }
        let Suspect { origin, refusal, fields } = refused;
        // The device of a message from a link is not at the local broker.
        if delivery.arrival.is_none() {
            batch.list_refusal(origin, &refusal);
        }
        let topic = Owned::parse(&delivery.topic).ok();
        let topic = topic.filter(|_| delivery.has_local_topic(refusal.reason));
        let kept =
            sampler.admit(topic.map(|topic| topic.tenant), refusal.reason, delivery.payload.len());
        if let Some(bytes) = kept {
            batch.quarantined.push(Quarantined::new(delivery, refusal, fields, bytes));
        } else {
            batch.sampled_out += 1;
            batch.unkept.extend(has_time.then_some(message_id));
        }
    }
}

// === private helpers ===

/// Whether to query an unknown device again: this message may register it.
fn may_enroll(
    enrollment: Option<&Enrollment>,
    clock: Clock,
    parsed: &Parsed,
    sender: PublishedBy<'_>,
    grant: &Grant,
) -> bool {
    let Some(enrollment) = enrollment else { return false };
    grant.answer.device.is_none() && enrollment.accepts(parsed, sender, &grant.answer, clock())
}
