//! Adds to a batch what links forward of its accepted messages.
//!
//! It sends nothing, and decides nothing but what the plan says. Without a plan it does no work for
//! a message.

use std::sync::Arc;

use tokio::sync::watch;

use crate::domain::batch::Batch;
use crate::domain::forwarding::{ForwardPlan, LinkRoutes};
use crate::domain::ids::DeviceKey;
use crate::domain::link::Forward;
use crate::domain::message::Delivery;
use crate::domain::redact::redact;
use crate::domain::time::Timestamp;
use crate::domain::topic::Owned;

/// The current plan.
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    changes: Option<watch::Receiver<Arc<ForwardPlan>>>,
    plan: Arc<ForwardPlan>,
}

/// The row of an accepted message, as far as links need it.
#[derive(Debug)]
struct Accepted<'a> {
    device: &'a DeviceKey,
    time: Timestamp,
    received_at: Timestamp,
    is_telemetry: bool,
}

// === impl Forwarding ===

impl Forwarding {
    /// Follows a plan.
    pub fn following(changes: watch::Receiver<Arc<ForwardPlan>>) -> Self {
        let plan = Arc::clone(&changes.borrow());
        Self { changes: Some(changes), plan }
    }

    /// Takes over a changed plan; once for each batch.
    pub fn refresh(&mut self) {
        if let Some(changes) = &mut self.changes
            && changes.has_changed().unwrap_or(false)
        {
            self.plan = Arc::clone(&changes.borrow_and_update());
        }
    }

    /// Adds the rows of the message that was accepted last, one for each link with a rule for it. A
    /// message that was recognized as a duplicate has none.
    pub fn add(&self, batch: &mut Batch, origin: usize, delivery: &Delivery) {
        if self.plan.links.is_empty() {
            return;
        }
        let Some(accepted) = Accepted::last_of(batch, origin) else { return };
        let Ok(topic) = Owned::parse(&delivery.topic) else { return };
        let rows: Vec<Forward> = self
            .plan
            .links
            .iter()
            .filter_map(|link| forward(link, &accepted, delivery, topic.msg_type, origin))
            .collect();
        batch.forwards.extend(rows);
    }
}

// === impl Accepted ===

impl<'a> Accepted<'a> {
    /// The row that `origin` has just got in `batch`.
    fn last_of(batch: &'a Batch, origin: usize) -> Option<Self> {
        if let Some(row) = batch.readings.last().filter(|row| row.origin == origin) {
            let (time, received_at) = (row.time, row.received_at);
            return Some(Self { device: &row.device, time, received_at, is_telemetry: true });
        }
        if let Some(row) = batch.shadows.last().filter(|row| row.origin == origin) {
            return Some(Self::other(&row.device, row.time, row.received_at));
        }
        let row = batch.command_acks.last().filter(|row| row.origin == origin)?;
        Some(Self::other(&row.device, row.time, row.received_at))
    }

    fn other(device: &'a DeviceKey, time: Option<Timestamp>, received_at: Timestamp) -> Self {
        let time = time.filter(|time| time.is_storable()).unwrap_or(received_at);
        Self { device, time, received_at, is_telemetry: false }
    }
}

/// The row for one link. `None`: no rule matches, or the message came from this link.
fn forward(
    link: &LinkRoutes,
    accepted: &Accepted<'_>,
    delivery: &Delivery,
    msg_type: &str,
    origin: usize,
) -> Option<Forward> {
    let arrival = delivery.arrival.as_deref();
    if arrival.is_some_and(|arrival| arrival.link == link.link) {
        return None;
    }
    let device = accepted.device;
    let rule = link.rule_for(device, msg_type)?;
    Some(Forward {
        origin,
        link: link.link.clone(),
        lane: link.lane_of(device),
        topic: rule.to.render(device, msg_type),
        tenant: device.tenant().into(),
        device: device.device().into(),
        mode: rule.mode,
        msg_type: bytes::Bytes::copy_from_slice(msg_type.as_bytes()),
        payload: redact(&delivery.payload),
        time: accepted.time,
        received_at: accepted.received_at,
        message_id: delivery.message_id(),
        via: arrival.map(|arrival| arrival.via.clone()).unwrap_or_default(),
        // `telemetry` has no nodes: a message that is read back would lose what prevents a loop.
        is_refillable: accepted.is_telemetry && arrival.is_none(),
        backlog_max_bytes: link.backlog_max_bytes,
    })
}
