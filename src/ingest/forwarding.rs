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
        // `telemetry` has no nodes: a message that is read back would lose what prevents a loop. A replayed
        // message was received long ago: a gap would begin there.
        is_refillable: accepted.is_telemetry && arrival.is_none() && delivery.replay.is_none(),
        backlog_max_bytes: link.backlog_max_bytes,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::domain::forwarding::{ForwardRule, TopicTemplate};
    use crate::domain::link::{ForwardMode, LinkArrival};
    use crate::domain::message::{Reading, ReplayOrigin, ShadowReport};
    use crate::domain::publisher::Publisher;

    fn routes(link: &str, from: &str) -> LinkRoutes {
        LinkRoutes {
            link: link.parse().unwrap(),
            lanes: 1,
            backlog_max_bytes: 7,
            rules: vec![ForwardRule {
                from: from.split('/').map(Box::from).collect(),
                to: TopicTemplate::parse("up/{device}/{type}").unwrap(),
                mode: ForwardMode::Raw,
            }],
        }
    }

    fn delivery(msg_type: &str, arrival: Option<LinkArrival>) -> Delivery {
        Delivery {
            topic: format!("tenant/acme/device/d/{msg_type}").into(),
            payload: Bytes::from_static(br#"{"t":1,"provision_token":"x"}"#),
            cut_from: None,
            held_since: Timestamp::default(),
            received_at: Timestamp::from_micros(5),
            dup: false,
            redelivered: false,
            maybe_repeated: false,
            ack: None,
            correlation: None,
            publisher: Publisher::default(),
            replay: None,
            arrival: arrival.map(Box::new),
        }
    }

    fn arrival(link: &str) -> LinkArrival {
        LinkArrival {
            link: link.parse().unwrap(),
            event_time: None,
            message_id: Some(Uuid::from_u128(9)),
            via: vec!["n1".into()],
            is_ignored: false,
            refusal: None,
        }
    }

    fn reading(origin: usize) -> Reading {
        Reading {
            origin,
            device: "acme/device/d".parse().unwrap(),
            time: Timestamp::from_micros(3),
            received_at: Timestamp::from_micros(5),
            site: None,
            msg_type: Bytes::from_static(b"telemetry"),
            seq: None,
            metrics: Bytes::from_static(b"{}"),
            extra: None,
            link: None,
            certificate: None,
            message_id: Uuid::nil(),
        }
    }

    fn plan() -> Forwarding {
        let links = vec![routes("azure", "tenant/+/device/+/#"), routes("aws", "tenant/other/#")];
        Forwarding { changes: None, plan: Arc::new(ForwardPlan { links }) }
    }

    #[test]
    fn an_accepted_message_goes_to_each_link_with_a_rule_and_without_its_token() {
        let mut batch = Batch { readings: vec![reading(4)], ..Batch::default() };
        plan().add(&mut batch, 4, &delivery("telemetry", None));
        let [row] = &batch.forwards[..] else { panic!("{:?}", batch.forwards) };
        assert_eq!(
            (row.link.as_str(), row.topic.as_str(), row.origin),
            ("azure", "up/d/telemetry", 4)
        );
        assert_eq!((row.time.micros(), row.is_refillable, row.backlog_max_bytes), (3, true, 7));
        assert!(!row.payload.windows(3).any(|part| part == b"\"x\""), "{:?}", row.payload);
    }

    #[test]
    fn a_shadow_has_no_copy_in_telemetry_and_a_duplicate_is_not_forwarded() {
        let report = ShadowReport {
            origin: 1,
            device: "acme/device/d".parse().unwrap(),
            reported: Bytes::from_static(b"{}"),
            version: None,
            time: Some(Timestamp::from_micros(i64::MAX)),
            received_at: Timestamp::from_micros(5),
        };
        let mut batch =
            Batch { readings: vec![reading(0)], shadows: vec![report], ..Batch::default() };
        plan().add(&mut batch, 1, &delivery("shadow/reported", None));
        plan().add(&mut batch, 2, &delivery("telemetry", None));
        let [row] = &batch.forwards[..] else { panic!("{:?}", batch.forwards) };
        assert_eq!((row.topic.as_str(), row.is_refillable), ("up/d/shadow/reported", false));
        assert_eq!(row.time, row.received_at, "a time that cannot be stored");
    }

    #[test]
    fn a_message_from_a_link_is_not_sent_back_over_it() {
        let mut batch = Batch { readings: vec![reading(0)], ..Batch::default() };
        plan().add(&mut batch, 0, &delivery("telemetry", Some(arrival("azure"))));
        assert!(batch.forwards.is_empty());
        plan().add(&mut batch, 0, &delivery("telemetry", Some(arrival("aws"))));
        let row = &batch.forwards[0];
        assert_eq!((row.via.as_slice(), row.is_refillable), (&["n1".into()][..], false));
        assert_eq!(row.message_id, Uuid::from_u128(9));
    }

    #[test]
    fn a_replayed_message_begins_no_gap_at_its_old_time() {
        let mut batch = Batch { readings: vec![reading(0)], ..Batch::default() };
        let mut replayed = delivery("telemetry", None);
        let origin = ReplayOrigin { token: None, message_id: Uuid::from_u128(7) };
        replayed.replay = Some(Box::new(origin));
        plan().add(&mut batch, 0, &replayed);
        assert_eq!(batch.forwards[0].message_id, Uuid::from_u128(7));
        assert!(!batch.forwards[0].is_refillable);
    }

    #[test]
    fn a_changed_plan_is_taken_over_and_an_empty_one_adds_nothing() {
        let (sender, changes) = watch::channel(Arc::new(ForwardPlan::default()));
        let mut forwarding = Forwarding::following(changes);
        let mut batch = Batch { readings: vec![reading(0)], ..Batch::default() };
        forwarding.add(&mut batch, 0, &delivery("telemetry", None));
        assert!(batch.forwards.is_empty());
        sender.send(plan().plan).unwrap();
        forwarding.refresh();
        forwarding.add(&mut batch, 0, &delivery("telemetry", None));
        assert_eq!(batch.forwards.len(), 1);
    }
}
