//! Errors to devices (`DEVICE_ERRORS`): a device learns on its topic `errors` why Sluice refused a
//! message.
//!
//! After the commit the writer calls [`ErrorReporter`], which drops what exceeds the [`limits`] and
//! never waits. The task [`ErrorPublisher`] publishes the rest, to registered devices only. Nothing is written to Postgres, and
//! no acknowledgement depends on it: an error may be lost.

mod limits;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::limits::{ErrorLimits, REMEMBERED};
use crate::broker::exchange::{Exchange, ExchangeState};
use crate::clock;
use crate::domain::batch::Batch;
use crate::domain::device_topics::DeviceTopics;
use crate::domain::exchange::{ExchangeOutcome, OutgoingMessage};
use crate::domain::ids::DeviceKey;
use crate::domain::message::Delivery;
use crate::domain::ports::{Directory, RefusalReporter};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::{Clock, Timestamp};
use crate::domain::topic::Owned;
use crate::telemetry::device_errors::DeviceErrorMetrics;

/// Errors between the writer and the publisher. Beyond it, refusals cause none.
const QUEUE: usize = 64;

/// Errors that the broker has not acknowledged yet.
const UNACKNOWLEDGED: usize = 32;

/// Seconds for which the broker keeps an error for a device that is not connected.
const EXPIRY_SECONDS: u32 = 300;

/// `ts` and `seq` of a larger payload are not repeated: the queue would keep it in memory.
const PAYLOAD_MAX: usize = 64 * 1024;

/// Most bytes of a repeated `ts` or `seq`.
const REPEATED_MAX: usize = 64;

/// Most characters of the detail, and of the path after the device.
const TEXT_MAX: usize = 512;

/// Decides after each commit which refusals cause an error. Clones share the limits.
#[derive(Clone, Debug)]
pub struct ErrorReporter {
    limits: Arc<Mutex<ErrorLimits>>,
    errors: mpsc::Sender<RefusalNotice>,
    metrics: DeviceErrorMetrics,
    clock: Clock,
}

/// Publishes errors.
#[derive(Debug)]
pub struct ErrorPublisher<D> {
    exchange: Exchange,
    /// Most refusals come before the registry is queried.
    directory: D,
    errors: mpsc::Receiver<RefusalNotice>,
    unacknowledged: VecDeque<oneshot::Receiver<ExchangeOutcome>>,
    metrics: DeviceErrorMetrics,
}

/// An error before it is published: which message was refused, and why.
#[derive(Debug)]
struct RefusalNotice {
    device: DeviceKey,
    refusal: Refusal,
    msg_type: String,
    /// Empty if it is too large.
    payload: Bytes,
    correlation: Option<Bytes>,
    received_at: Timestamp,
    suppressed: u64,
}

/// The payload of an error.
#[derive(Serialize)]
struct ErrorPayload<'a> {
    reason: &'static str,
    detail: &'a str,
    #[serde(rename = "type")]
    msg_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<&'a RawValue>,
    received_at: String,
    suppressed: u64,
}

/// What an error repeats of the refused payload, as the device sent it.
#[derive(Default, Deserialize)]
struct RepeatedFields<'a> {
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
}

/// A reporter for the writer, and the task that publishes what it reports.
pub fn device_errors<D: Directory>(
    exchange: Exchange,
    directory: D,
    metrics: &DeviceErrorMetrics,
) -> (ErrorReporter, ErrorPublisher<D>) {
    let (errors_in, errors) = mpsc::channel(QUEUE);
    let reporter = ErrorReporter {
        limits: Arc::new(Mutex::new(ErrorLimits::new(REMEMBERED, clock::now()))),
        errors: errors_in,
        metrics: metrics.clone(),
        clock: clock::now,
    };
    let publisher = ErrorPublisher {
        exchange,
        directory,
        errors,
        unacknowledged: VecDeque::new(),
        metrics: metrics.clone(),
    };
    (reporter, publisher)
}

// === impl ErrorReporter ===

impl RefusalReporter for ErrorReporter {
    fn report(&mut self, batch: &Batch) {
        let Some(refused) = batch.refused.as_ref().filter(|refused| !refused.is_empty()) else {
            return;
        };
        let now = (self.clock)();
        for (origin, refusal) in refused {
            self.report_one(&batch.deliveries[*origin], refusal, now);
        }
    }
}

impl ErrorReporter {
    fn report_one(&mut self, delivery: &Delivery, refusal: &Refusal, now: Timestamp) {
        let Some(topic) = own_topic(delivery, refusal.reason) else { return };
        let room = self.errors.try_reserve().ok();
        let has_room = room.is_some();
        // What a poisoned lock holds is still valid.
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = limits.admit(topic.identity, refusal.reason, now, has_room);
        drop(limits);
        let (Some(suppressed), Some(room)) = (admitted, room) else {
            return self.metrics.suppressed.inc();
        };
        let Ok(device) = topic.identity.parse::<DeviceKey>() else { return };
        let is_small = delivery.payload.len() <= PAYLOAD_MAX && delivery.cut_from.is_none();
        room.send(RefusalNotice {
            device,
            refusal: refusal.clone(),
            msg_type: topic.msg_type.chars().take(TEXT_MAX).collect(),
            payload: if is_small { delivery.payload.clone() } else { Bytes::new() },
            // Copied: a part would keep a large packet in memory.
            correlation: delivery.correlation.as_deref().map(|data| Bytes::copy_from_slice(data)),
            received_at: delivery.received_at,
            suppressed,
        });
    }
}

/// The topic of a message whose device may receive an error. A device that the registry does not
/// know receives none; neither does one whose name the topic does not tell.
fn own_topic(delivery: &Delivery, reason: Reason) -> Option<Owned<'_>> {
    if reason == Reason::UnregisteredDevice || delivery.replay.is_some() {
        return None;
    }
    let topic = Owned::parse(&delivery.topic).ok()?;
    let word = topic.msg_type.split('/').next();
    (word != Some("request")).then_some(topic)
}

// === impl ErrorPublisher ===

impl<D: Directory> ErrorPublisher<D> {
    /// Publishes until `stop`. Without a connection to the broker it waits, and the queue fills.
    pub async fn run(mut self, stop: CancellationToken) {
        self.exchange.request_connection();
        let mut state = self.exchange.state();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                outcome = oldest(&mut self.unacknowledged), if !self.unacknowledged.is_empty() => {
                    self.unacknowledged.pop_front();
                    self.record(outcome);
                }
                error = next(&mut self.errors, &mut state),
                    if self.unacknowledged.len() < UNACKNOWLEDGED =>
                {
                    let Some(error) = error else { return };
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = self.publish(&error) => {}
                    }
                }
            }
        }
    }

    /// Publishes an error to a registered device if the exchange has room; other messages go before
    /// it.
    async fn publish(&mut self, error: &RefusalNotice) {
        match self.directory.find(std::slice::from_ref(&error.device)).await {
            Ok(answers) if answers.iter().any(|answer| answer.device.is_some()) => {}
            Ok(_unregistered) => return,
            Err(_outage) => return self.metrics.failed.inc(),
        }
        match self.exchange.try_send(error.message()) {
            Ok(outcome) => self.unacknowledged.push_back(outcome),
            Err(_full) => self.metrics.failed.inc(),
        }
    }

    /// Counts an outcome. The exchange itself reports an access rule that is missing.
    fn record(&self, outcome: ExchangeOutcome) {
        match outcome {
            ExchangeOutcome::Accepted => self.metrics.sent.inc(),
            ExchangeOutcome::Refused(_) | ExchangeOutcome::Unknown => self.metrics.failed.inc(),
        }
    }
}

/// The outcome of the oldest message. Its connection has ended if there is none.
async fn oldest(
    unacknowledged: &mut VecDeque<oneshot::Receiver<ExchangeOutcome>>,
) -> ExchangeOutcome {
    match unacknowledged.front_mut() {
        Some(outcome) => outcome.await.unwrap_or(ExchangeOutcome::Unknown),
        None => std::future::pending().await,
    }
}

/// The next error, once the exchange is connected. `None`: the reporter has ended.
async fn next(
    errors: &mut mpsc::Receiver<RefusalNotice>,
    state: &mut watch::Receiver<ExchangeState>,
) -> Option<RefusalNotice> {
    let is_connected = |state: &ExchangeState| matches!(state, ExchangeState::Connected { .. });
    state.wait_for(is_connected).await.ok()?;
    errors.recv().await
}

// === impl RefusalNotice ===

impl RefusalNotice {
    fn message(&self) -> OutgoingMessage {
        let repeated = RepeatedFields::of(&self.payload);
        let payload = ErrorPayload {
            reason: self.refusal.reason.label(),
            detail: head(&self.refusal.detail),
            msg_type: &self.msg_type,
            ts: repeated.ts,
            seq: repeated.seq,
            received_at: self.received_at.to_string(),
            suppressed: self.suppressed,
        };
        // Its fields are texts and numbers, which serialize.
        let payload = serde_json::to_vec(&payload).unwrap_or_default();
        let topic = DeviceTopics::of(&self.device).errors();
        let message = OutgoingMessage::json(topic, payload).expiring(EXPIRY_SECONDS);
        OutgoingMessage { correlation: self.correlation.clone(), ..message }
    }
}

// === impl RepeatedFields ===

impl<'a> RepeatedFields<'a> {
    /// None of a payload that is no JSON object; only short texts and numbers.
    fn of(payload: &'a [u8]) -> Self {
        let Self { ts, seq } = serde_json::from_slice(payload).unwrap_or_default();
        let is_short =
            |raw: &&RawValue| raw.get().len() <= REPEATED_MAX && !raw.get().starts_with(['{', '[']);
        Self { ts: ts.filter(is_short), seq: seq.filter(is_short) }
    }
}

fn head(text: &str) -> &str {
    text.char_indices().nth(TEXT_MAX).map_or(text, |(end, _)| &text[..end])
}
