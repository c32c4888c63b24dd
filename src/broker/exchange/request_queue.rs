//! The way of requests to the dispatcher: bounded by number and bytes.
//!
//! It never waits. A request that finds no room is dropped and counted; its sender sends it again.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::broker::transport::packets::Publish;
use crate::broker::transport::publish_properties::PublishProperties;
use crate::domain::exchange::RequestMessage;
use crate::domain::message::ConnectionId;
use crate::domain::time::Timestamp;
use crate::telemetry::exchange::ExchangeMetrics;

/// Requests that wait for the dispatcher.
pub const REQUEST_QUEUE: usize = 1000;

/// Bytes of the requests that wait.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// What is kept of a payload that is larger than the packet limit: enough to find its request id.
const CUT_KEEP: usize = 4 * 1024;

/// The sending end.
#[derive(Debug)]
pub struct RequestQueue {
    requests: mpsc::Sender<RequestMessage>,
    /// Sizes of the requests that wait, oldest first.
    sizes: VecDeque<usize>,
    bytes: usize,
}

// === impl RequestQueue ===

impl RequestQueue {
    /// Sends to this channel; nobody else does.
    pub fn new(requests: mpsc::Sender<RequestMessage>) -> Self {
        Self { requests, sizes: VecDeque::new(), bytes: 0 }
    }

    /// Hands a request over, or drops it.
    pub fn push(
        &mut self,
        publish: &Publish,
        (received_at, connection): (Timestamp, ConnectionId),
        metrics: &ExchangeMetrics,
    ) {
        self.forget_taken();
        let request = request_of(publish, received_at, connection);
        let size = size_of(&request);
        if self.bytes + size > QUEUE_BYTES || self.requests.try_send(request).is_err() {
            metrics.overflowed.inc();
        } else {
            self.sizes.push_back(size);
            self.bytes += size;
        }
        self.show_depth(metrics);
    }

    /// Updates the gauge of the queue.
    pub fn show_depth(&mut self, metrics: &ExchangeMetrics) {
        self.forget_taken();
        metrics.connection.request_depth.set(i64::try_from(self.sizes.len()).unwrap_or(i64::MAX));
    }

    /// The channel is first in, first out: what has left it are its oldest ones.
    fn forget_taken(&mut self) {
        let waiting = self.requests.max_capacity() - self.requests.capacity();
        while self.sizes.len() > waiting {
            self.bytes -= self.sizes.pop_front().unwrap_or_default();
        }
    }
}

// --- private helpers ---

fn size_of(request: &RequestMessage) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    request.topic.len()
        + request.payload.len()
        + request.properties.len()
        + length(&request.response_topic)
        + length(&request.correlation)
}

/// Copies what it keeps: a slice would retain the read buffer.
fn request_of(
    publish: &Publish,
    received_at: Timestamp,
    connection: ConnectionId,
) -> RequestMessage {
    let PublishProperties { expires_in, response_topic, correlation } =
        PublishProperties::read(&publish.properties);
    let payload = &publish.payload;
    let kept = match publish.cut_from {
        Some(_) => &payload[..payload.len().min(CUT_KEEP)],
        None => payload,
    };
    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    RequestMessage {
        topic: copy(&publish.topic),
        payload: copy(kept),
        cut_from: publish.cut_from,
        is_retained: publish.retain,
        expires_in,
        response_topic: response_topic.as_deref().map(copy),
        correlation: correlation.as_deref().map(copy),
        properties: copy(&publish.properties),
        received_at,
        connection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    fn publish(size: usize, cut_from: Option<usize>) -> Publish {
        Publish {
            topic: Bytes::from_static(b"t"),
            payload: vec![0; size].into(),
            cut_from,
            qos: 1,
            packet_id: 1,
            dup: false,
            retain: false,
            properties: Bytes::new(),
            malformed: false,
        }
    }

    #[test]
    fn the_queue_is_bounded_by_number_and_by_bytes() {
        let metrics = Metrics::new().unwrap().exchange;
        let overflowed = metrics.overflowed.clone();
        let (sender, mut receiver) = mpsc::channel(3);
        let mut queue = RequestQueue::new(sender);
        let at = (Timestamp::default(), ConnectionId(1));
        for _ in 0..5 {
            queue.push(&publish(10, None), at, &metrics);
        }
        assert_eq!((overflowed.get(), queue.bytes), (2, 33));
        assert!(receiver.try_recv().is_ok());
        queue.push(&publish(QUEUE_BYTES, None), at, &metrics);
        assert_eq!((overflowed.get(), queue.bytes), (3, 22), "too many bytes");
        queue.push(&publish(9_000, Some(1 << 20)), at, &metrics);
        assert_eq!((overflowed.get(), queue.bytes), (3, 23 + CUT_KEEP));
        assert_eq!(receiver.len(), 3);
    }
}
