//! What a PUBACK means for its message: it is deleted, tried again, waits with its topic, or becomes a
//! dead letter.
//!
//! It sends nothing.

use tokio::time::Instant;

use super::lane_queue::{HeldForward, SendAgain};
use super::serving::{LaneConnection, TurnRows};
use super::topic_fault::TopicFault;
use crate::domain::outbox::{DeadLetterCause, DeadLetterReason, QueuedForward};
use crate::link::explain::CodePacket;
use crate::link::explain::codes::of_code;

/// Codes from this one on refuse a message.
const REFUSED: u8 = 0x80;

/// The topic is invalid there.
const TOPIC_INVALID: u8 = 0x90;
/// The packet is too large.
const TOO_LARGE: u8 = 0x95;
/// The rate is too high.
const RATE_TOO_HIGH: u8 = 0x96;
/// A quota is exhausted.
const QUOTA_EXCEEDED: u8 = 0x97;
/// The payload does not have the announced format.
const PAYLOAD_INVALID: u8 = 0x99;

/// Takes the answer to a message.
pub(super) fn take(serving: &mut LaneConnection<'_>, packet_id: u16, code: u8, text: Option<&str>) {
    let Some(waiting) = serving.lane.queue.answered(packet_id) else { return };
    if waiting.is_try {
        serving.trying = None;
    }
    if code < REFUSED {
        return accepted(serving, waiting);
    }
    let shown = format!("0x{code:02X}");
    let labels = [serving.context.settings.name.as_str(), CodePacket::PubAck.label(), &shown];
    serving.context.metrics.refusals.with_label_values(&labels).inc();
    let now = Instant::now();
    let cause = match code {
        RATE_TOO_HIGH | QUOTA_EXCEEDED => {
            if serving.lane.pace.throttle(now) {
                serving.lane.warn_of_rate(&format!(
                    "the other broker limits the rate of the link {} with code {shown}; Sluice halves it, and \
                     raises it by a tenth each minute",
                    serving.context.settings.name
                ));
            }
            serving.lane.queue.repeat_behind(&waiting.forward, SendAgain::Throttled);
            let repeat = SendAgain::No;
            return serving.lane.queue.put_back(HeldForward { was_sent: false, repeat, ..waiting });
        }
        TOPIC_INVALID => DeadLetterCause::BadTopic,
        TOO_LARGE => DeadLetterCause::TooLarge,
        PAYLOAD_INVALID => DeadLetterCause::Refused,
        _ => return topic_refused(serving, &waiting, code, now),
    };
    let topic = Some(waiting.forward.topic.as_str());
    let explained = of_code(&serving.context.settings, CodePacket::PubAck, code, topic);
    let detail =
        text.map_or_else(|| explained.to_string(), |text| format!("{explained} (\"{text}\")"));
    let reason = DeadLetterReason { reason: cause, code: Some(code), detail };
    serving.refuse(&waiting, reason);
}

/// Makes dead letters of the messages that have waited too long for their topics.
pub(super) fn refuse_late(serving: &mut LaneConnection<'_>, late: Vec<(i64, TopicFault)>) {
    for (id, fault) in late {
        serving.lane.dead.push((id, fault.dead_letter(&serving.context.settings)));
    }
}

fn accepted(serving: &mut LaneConnection<'_>, waiting: HeldForward) {
    let id = waiting.forward.id;
    serving.lane.endings.acknowledged(id);
    serving.made_progress = true;
    serving.note_works();
    release(serving, &waiting);
    match waiting.repeat {
        SendAgain::No => {}
        SendAgain::Throttled => {
            let repeat = SendAgain::No;
            return serving.lane.queue.put_back(HeldForward { repeat, ..waiting });
        }
        // It stays in the outbox, and is read again behind the one that was refused.
        SendAgain::TopicRefused => {
            let QueuedForward { topic, queued_at, .. } = &waiting.forward;
            serving.lane.refused.hold(topic, id, *queued_at);
            return;
        }
    }
    serving.lane.queue.finish(id);
    let link = serving.context.settings.name.as_str();
    let age = waiting.age((serving.context.clock)());
    serving.context.metrics.send_seconds.with_label_values(&[link]).observe(age);
    serving.context.metrics.published.with_label_values(&[link]).inc();
    let in_flight = serving.lane.queue.in_flight().0;
    serving.context.board.progress(serving.lane.number, 1, in_flight);
}

/// The broker accepts messages of this topic: those that waited are read again. One in flight that is
/// sent again must be among them, so the last answer of these releases the topic.
fn release(serving: &mut LaneConnection<'_>, waiting: &HeldForward) {
    let topic = &waiting.forward.topic;
    if !serving.lane.refused.has(topic) {
        return;
    }
    if serving.lane.queue.has_repeats_of(topic) {
        if waiting.is_try {
            serving.lane.refused.connection_ended(Instant::now());
        }
        return;
    }
    if serving.lane.refused.release(topic) {
        serving.lane.note_release(topic);
        if serving.turn.is_some() {
            serving.turn_rows = TurnRows::Partial;
        }
        serving.look_now();
    }
}

/// Only the topic waits; the messages of it that are ready wait with it.
fn topic_refused(serving: &mut LaneConnection<'_>, waiting: &HeldForward, code: u8, now: Instant) {
    let topic = waiting.forward.topic.as_str();
    if !serving.lane.refused.has(topic) {
        let explained = of_code(&serving.context.settings, CodePacket::PubAck, code, Some(topic));
        serving.lane.warn_of_refusal(&format!(
            "{explained}; the messages of this topic wait, and the others are sent; {}",
            explained.advice
        ));
    }
    serving.lane.queue.repeat_behind(&waiting.forward, SendAgain::TopicRefused);
    serving.lane.hold_topic(&waiting.forward, TopicFault::Code(code), now);
}
