//! Documents: the latest revision of each is brought to the broker, at a bounded rate.
//!
//! The rate keeps a change of all documents at once, or the return of a broker that has lost them,
//! from delaying the messages of devices at the broker.

use std::time::Duration;

use tokio::time::Instant;

use super::command_lane::CommandLaneReport;
use super::delivery::{FRESH, publish_in_order};
use super::messages;
use super::refusals::LaneRefusals;
use crate::broker::exchange::Exchange;
use crate::domain::exchange::{ExchangeOutcome, OutgoingMessage};
use crate::domain::ports::Outage;
use crate::store::downlink::outbox::OutboxSession;
use crate::store::downlink::pushes::{DirtyPush, PUSHES_MAX, SkippedPushes};

/// Documents per second: a hundred thousand are out within a minute.
const RATE: u32 = 2_000;

/// After slow turns the rate is made up for this time, so that it is the average.
const CATCH_UP: Duration = Duration::from_millis(500);

/// The state of the lane.
pub(super) struct PushLane {
    /// `SHADOW_RETAIN`.
    retains: bool,
    /// Whether the broker may still have desired documents from when they were retained.
    removes_retained: bool,
    refusals: LaneRefusals<(String, String, String)>,
    not_before: Instant,
}

// === impl PushLane ===

impl PushLane {
    pub(super) fn new(retains: bool) -> Self {
        let now = Instant::now();
        Self { retains, removes_retained: false, refusals: LaneRefusals::new(now), not_before: now }
    }

    /// Whether desired documents are retained.
    pub(super) fn retains(&self) -> bool {
        self.retains
    }

    /// When the next documents may be published.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Removes each retained document before it is published without being retained.
    pub(super) fn remove_retained(&mut self, removes: bool) {
        self.removes_retained = removes && !self.retains;
    }

    /// Publishes the next documents.
    pub(super) async fn publish_dirty(
        &mut self,
        session: &mut OutboxSession,
        exchange: &Exchange,
    ) -> Result<CommandLaneReport, Outage> {
        let now = Instant::now();
        if now < self.not_before || self.refusals.is_paused(now) {
            let has_more = now < self.not_before;
            return Ok(CommandLaneReport { has_more, ..CommandLaneReport::default() });
        }
        let skipped = self.skipped();
        let dirty = session.dirty_pushes(&skipped).await?;
        if dirty.is_empty() {
            return Ok(CommandLaneReport::default());
        }
        let count = u32::try_from(dirty.len()).unwrap_or(RATE);
        let begin = now.checked_sub(CATCH_UP).map_or(now, |begin| begin.max(self.not_before));
        self.not_before = begin + Duration::from_secs(1) * count / RATE;
        let (pushes, outgoing) = self.publishable(session, &dirty).await?;
        let outcomes = publish_in_order(exchange, outgoing, now + FRESH).await;
        let mut report = CommandLaneReport {
            has_more: dirty.len() as u64 >= PUSHES_MAX.unsigned_abs(),
            ..CommandLaneReport::default()
        };
        let mut accepted = Vec::with_capacity(pushes.len());
        for (push, outcome) in pushes.iter().zip(&outcomes) {
            match outcome {
                None => {}
                Some(ExchangeOutcome::Accepted) => accepted.extend(*push),
                Some(ExchangeOutcome::Refused(code)) => {
                    if let Some(push) = push {
                        self.refusals.refused(key(push), *code, Instant::now());
                    }
                }
                Some(ExchangeOutcome::Unknown) => report.is_cut = true,
            }
        }
        let locked = session.record_accepted(&accepted).await?;
        report.published = !accepted.is_empty();
        for push in accepted.into_iter().filter(|push| !locked.contains(push)) {
            self.refusals.accepted(&key(push));
        }
        for push in locked {
            self.refusals.pause(key(push), Instant::now());
        }
        Ok(report)
    }

    /// A sentence if the broker refuses documents.
    pub(super) fn complaint(&self) -> Option<String> {
        let (code, documents) = self.refusals.last()?;
        Some(format!(
            "at least {documents} documents wait, because the broker refuses them with code \
             0x{code:02X}"
        ))
    }

    /// The messages, and for each the document that is settled by it. A document that no message
    /// can carry counts as published: the row stays, and the log says why.
    async fn publishable<'a>(
        &mut self,
        session: &mut OutboxSession,
        dirty: &'a [DirtyPush],
    ) -> Result<(Vec<Option<&'a DirtyPush>>, Vec<OutgoingMessage>), Outage> {
        let (mut settled, mut outgoing) = (Vec::new(), Vec::new());
        let mut impossible = Vec::new();
        for push in dirty {
            match messages::of_push(push, self.retains) {
                Ok(message) => {
                    if self.removes_retained && !message.is_retained {
                        settled.push(None);
                        outgoing.push(OutgoingMessage::clear(message.topic.clone()));
                    }
                    settled.push(Some(push));
                    outgoing.push(message);
                }
                Err(why) => {
                    let DirtyPush { tenant_id, device_id, kind, .. } = push;
                    tracing::warn!(
                        tenant = tenant_id,
                        device = device_id,
                        kind,
                        "cannot publish a document: {why}; Sluice leaves it out until it changes"
                    );
                    impossible.push(push);
                }
            }
        }
        for push in session.record_accepted(&impossible).await? {
            self.refusals.pause(key(push), Instant::now());
        }
        Ok((settled, outgoing))
    }

    fn skipped(&mut self) -> SkippedPushes {
        let mut skipped = SkippedPushes::default();
        for (tenant, device, kind) in self.refusals.skipped(Instant::now()) {
            skipped.tenants.push(tenant.clone());
            skipped.devices.push(device.clone());
            skipped.kinds.push(kind.clone());
        }
        skipped
    }
}

fn key(push: &DirtyPush) -> (String, String, String) {
    (push.tenant_id.clone(), push.device_id.clone(), push.kind.clone())
}
