//! Sends what is ready: in order, within the window of the other broker, its bytes and its pace.
//!
//! A message that the other broker does not accept is not sent; it becomes a dead letter, and the
//! lane continues.

use tokio::time::Instant;

use super::admission;
use super::endings::LastPacket;
use super::lane_context::LaneContext;
use super::serving::LaneConnection;
use crate::broker::transport::publish_encoder::WINDOW_FULL;
use crate::domain::exchange::{OutgoingMessage, PublishTopic};
use crate::domain::outbox::{DeadLetterReason, QueuedForward};
use crate::link::cloud_event::write::{EventSource, write};
use crate::link::explain::{FailureClass, LinkExplanation};

/// Most bytes that wait for a slow line, besides one message. The time for an answer counts from here,
/// so what waits must be on its way well within that time.
const UNWRITTEN_BYTES: usize = 256 * 1024;

/// The packet is larger than CONNACK allows.
const PACKET_TOO_LARGE: u8 = 0x95;

/// CONNACK allows QoS 0 only.
const QOS_NOT_SUPPORTED: u8 = 0x9b;

/// Why no further message is sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// All are sent.
    Empty,
    /// The other broker must first answer.
    Window,
    /// The pace allows the next one at this time.
    Paced(Instant),
    /// The other broker accepts no message at QoS 1.
    Refused,
}

/// Sends as much as is allowed.
pub(super) fn publish_ready(serving: &mut LaneConnection<'_>, now: Instant) -> Blocked {
    if serving.blocked.is_some() {
        return Blocked::Refused;
    }
    let window = serving.window();
    let is_careful = serving.lane.pace.is_careful(now);
    let most_bytes = serving.context.settings.limits.unacked_bytes;
    loop {
        if is_careful && !serving.lane.queue.prefer_idle_device() || waits_for_try(serving) {
            let is_empty = serving.lane.queue.next().is_none();
            return if is_empty { Blocked::Empty } else { Blocked::Window };
        }
        let Some(next) = serving.lane.queue.next() else { return Blocked::Empty };
        let (messages, bytes) = serving.lane.queue.in_flight();
        let is_over = messages > 0 && bytes.saturating_add(next.bytes) > most_bytes;
        // The next answer continues, so one message must be in flight.
        let is_slow = messages > 0 && serving.connection.unwritten_bytes() >= UNWRITTEN_BYTES;
        if messages >= window || is_over || is_slow {
            return Blocked::Window;
        }
        let size = next.bytes;
        if let Some(at) = serving.lane.pace.wait_for(size, now) {
            return Blocked::Paced(at);
        }
        if let Some(blocked) = publish_next(serving, now) {
            return blocked;
        }
    }
}

/// A message on whose topic the other broker ends connections is sent alone, and nothing behind it
/// before its answer: no other message becomes a suspect.
fn waits_for_try(serving: &LaneConnection<'_>) -> bool {
    if serving.trying.is_none() {
        return false;
    }
    let (queue, refused) = (&serving.lane.queue, &serving.lane.refused);
    let hangs_up = |topic: &str| refused.hangs_up(topic);
    if queue.lone_try().is_some_and(|sent| hangs_up(&sent.topic)) {
        return true;
    }
    let next = queue.next().filter(|next| next.is_try);
    next.is_some_and(|next| queue.in_flight().0 > 0 && hangs_up(&next.forward.topic))
}

/// Sends the next message, or makes a dead letter of it.
fn publish_next(serving: &mut LaneConnection<'_>, now: Instant) -> Option<Blocked> {
    let waiting = serving.lane.queue.take_next()?;
    let message = match encode(&serving.context, &waiting.forward) {
        Ok(message) => message,
        Err(reason) => {
            serving.refuse(&waiting, reason);
            return None;
        }
    };
    match serving.connection.publish(&message) {
        Ok(packet_id) => {
            serving.last = LastPacket::Publish;
            serving.lane.pace.spend(waiting.bytes, now);
            if waiting.was_sent && !waiting.is_try {
                let link = serving.context.settings.name.as_str();
                serving.context.metrics.resent.with_label_values(&[link]).inc();
            }
            serving.lane.queue.sent(packet_id, waiting);
            None
        }
        Err(refused) if refused.0 == WINDOW_FULL => {
            serving.lane.queue.put_back(waiting);
            Some(Blocked::Window)
        }
        Err(refused) if refused.0 == PACKET_TOO_LARGE => {
            serving.refuse(&waiting, admission::unpublishable(refused.0));
            None
        }
        Err(refused) => {
            serving.lane.queue.put_back(waiting);
            let explained = no_acknowledgement(refused.0);
            serving.lane.warn_of_connection(&format!(
                "the link {} sends nothing: {explained}; its messages wait; {}",
                serving.context.settings.name, explained.advice
            ));
            serving.blocked = Some(explained);
            Some(Blocked::Refused)
        }
    }
}

/// The message of a row, if the other broker accepts it.
fn encode(
    context: &LaneContext,
    forward: &QueuedForward,
) -> Result<OutgoingMessage, DeadLetterReason> {
    let topic =
        PublishTopic::at_other_broker(forward.topic.as_str()).map_err(admission::no_topic)?;
    let message = write(&event_of(forward), &context.node).at(topic);
    admission::check(&context.settings, &message)?;
    Ok(message)
}

fn event_of(forward: &QueuedForward) -> EventSource<'_> {
    EventSource {
        sequence: forward.id,
        tenant: &forward.tenant,
        device: &forward.device,
        msg_type: &forward.msg_type,
        mode: forward.mode,
        payload: &forward.payload,
        time: forward.time,
        message_id: forward.message_id,
        via: &forward.via,
    }
}

fn no_acknowledgement(code: u8) -> LinkExplanation {
    let what = if code == QOS_NOT_SUPPORTED {
        "the other broker accepts messages at QoS 0 only, and a link needs acknowledgements"
    } else {
        "the other broker does not accept what a link sends"
    };
    LinkExplanation {
        what: format!("{what} (code 0x{code:02X})"),
        cause: None,
        advice: "allow QoS 1 at the other broker".to_owned(),
        class: FailureClass::Refused,
    }
}
