//! Several lanes of the spine: each device belongs to one, so its messages keep their order.
//!
//! A lane that stands still holds only its own messages, until as many wait as the broker sends
//! without an acknowledgement. With one lane nothing of this file runs. It decides nothing about a
//! message.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::ack_order::ExpectedAcks;
use super::lane_map::LaneMap;
use crate::domain::message::Delivery;
use crate::domain::ports::Acknowledge;
use crate::telemetry::ingest::{LaneGauge, LaneMetrics};

/// Bytes of topics and payloads that wait in all lanes; the session holds as many before it stops
/// reading.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The unit in which these bytes are counted.
const BYTES_UNIT: usize = 1024;

/// Where a spine takes its messages from.
pub enum Deliveries {
    /// All of them, in the chunks of the session.
    Whole(mpsc::Receiver<Vec<Delivery>>),
    /// Those of its lane.
    Lane(LaneReader),
}

/// The messages of one lane, in chunks.
pub struct LaneReader {
    chunks: mpsc::Receiver<Vec<Delivery>>,
    room: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    waiting: LaneGauge,
}

/// The other end of a [`LaneReader`]. Its room bounds the queue.
struct LaneEntry {
    chunks: mpsc::Sender<Vec<Delivery>>,
    room: Arc<Semaphore>,
    /// Shared by all lanes.
    bytes: Arc<Semaphore>,
    /// The most messages that wait.
    window: usize,
    waiting: LaneGauge,
}

/// Gives each message to the lane of its device.
pub struct LaneSplitter<A> {
    map: LaneMap,
    lanes: Vec<LaneEntry>,
    expected: ExpectedAcks<A>,
}

/// The next chunk, of the broker and of the links in turn where both wait. `None`: the session with
/// the broker has ended.
pub(super) async fn next_chunk(
    from_broker: impl Future<Output = Option<Vec<Delivery>>>,
    from_links: &mut mpsc::Receiver<Vec<Delivery>>,
) -> Option<Vec<Delivery>> {
    tokio::select! {
        delivered = from_broker => delivered,
        Some(delivered) = from_links.recv() => Some(delivered),
    }
}

/// The bytes of these messages in units, at most all that there are.
fn units(chunk: &[Delivery]) -> usize {
    let bytes = |delivery: &Delivery| delivery.topic.len() + delivery.payload.len();
    let bytes: usize = chunk.iter().map(bytes).sum();
    bytes.div_ceil(BYTES_UNIT).min(WAITING_BYTES_MAX / BYTES_UNIT)
}

// === impl Deliveries ===

impl Deliveries {
    /// The next chunk; `None`: nothing follows. Cancel safe.
    pub async fn next(&mut self) -> Option<Vec<Delivery>> {
        match self {
            Self::Whole(chunks) => chunks.recv().await,
            Self::Lane(queue) => queue.next().await,
        }
    }
}

// === impl LaneReader ===

impl LaneReader {
    async fn next(&mut self) -> Option<Vec<Delivery>> {
        let chunk = self.chunks.recv().await?;
        self.room.add_permits(chunk.len());
        self.bytes.add_permits(units(&chunk));
        self.waiting.sub(i64::try_from(chunk.len()).unwrap_or(0));
        Some(chunk)
    }
}

impl Drop for LaneReader {
    /// The splitter waits for no lane that has ended.
    fn drop(&mut self) {
        self.room.close();
        self.bytes.close();
    }
}

// === impl LaneEntry ===

impl LaneEntry {
    fn new(window: usize, bytes: Arc<Semaphore>, waiting: LaneGauge) -> (Self, LaneReader) {
        // A chunk has a message at least.
        let (sender, chunks) = mpsc::channel(window);
        let room = Arc::new(Semaphore::new(window));
        let queue = LaneReader {
            chunks,
            room: Arc::clone(&room),
            bytes: Arc::clone(&bytes),
            waiting: waiting.clone(),
        };
        (Self { chunks: sender, room, bytes, window, waiting }, queue)
    }

    /// Waits for room. False: the lane has ended.
    async fn send(&self, chunk: Vec<Delivery>) -> bool {
        let mut rest = chunk;
        while !rest.is_empty() {
            let part = rest.len().min(self.window);
            let later = rest.split_off(part);
            let messages = u32::try_from(part).unwrap_or(u32::MAX);
            let Ok(room) = self.room.acquire_many(messages).await else { return false };
            let units = u32::try_from(units(&rest)).unwrap_or(u32::MAX);
            let Ok(bytes) = self.bytes.acquire_many(units).await else { return false };
            // The reader gives them back.
            room.forget();
            bytes.forget();
            self.waiting.add(i64::from(messages));
            if self.chunks.send(std::mem::replace(&mut rest, later)).await.is_err() {
                return false;
            }
        }
        true
    }
}

// === impl LaneSplitter ===

impl<A: Acknowledge> LaneSplitter<A> {
    /// For the lanes of this map; in each of them at most `window` messages wait.
    pub fn new(
        map: LaneMap,
        window: usize,
        expected: ExpectedAcks<A>,
        metrics: &LaneMetrics,
    ) -> (Self, Vec<LaneReader>) {
        let bytes = Arc::new(Semaphore::new(WAITING_BYTES_MAX / BYTES_UNIT));
        let entry =
            |lane| LaneEntry::new(window.max(1), Arc::clone(&bytes), metrics.waiting_in(lane));
        let (lanes, queues) = (0..map.lanes()).map(entry).unzip();
        (Self { map, lanes, expected }, queues)
    }

    /// Runs until `deliveries` is closed, or a lane has ended.
    pub async fn run(
        self,
        mut deliveries: mpsc::Receiver<Vec<Delivery>>,
        mut from_links: mpsc::Receiver<Vec<Delivery>>,
    ) {
        while let Some(chunk) = next_chunk(deliveries.recv(), &mut from_links).await {
            let parts = self.split(chunk).await;
            for (lane, part) in self.lanes.iter().zip(parts) {
                if !lane.send(part).await {
                    return;
                }
            }
        }
    }

    /// The messages of each lane. Their acknowledgements are expected in the order of the chunk.
    async fn split(&self, chunk: Vec<Delivery>) -> Vec<Vec<Delivery>> {
        let mut parts: Vec<Vec<Delivery>> = self.lanes.iter().map(|_| Vec::new()).collect();
        let mut order = Vec::with_capacity(chunk.len());
        for delivery in chunk {
            let lane = self.map.lane_of(&delivery.topic);
            if delivery.ack.is_some() {
                order.push(lane);
            }
            parts[lane].push(delivery);
        }
        self.expected.arrived(order).await;
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::AckToken;
    use crate::domain::publisher::Publisher;
    use crate::domain::time::Timestamp;
    use crate::ingest::ack_order::ordered;
    use crate::telemetry::metrics::Metrics;
    use bytes::Bytes;

    struct NoAcks;

    impl Acknowledge for NoAcks {
        async fn acknowledge(&self, _: Vec<AckToken>) {}
    }

    /// One lane with room for 10 messages.
    fn lane() -> (LaneSplitter<NoAcks>, LaneReader) {
        let metrics = Metrics::new().unwrap().ingest.lanes;
        let (expected, _) = ordered(NoAcks, 1, metrics.clone());
        let (splitter, mut readers) =
            LaneSplitter::new(LaneMap::new(1, &[]), 10, expected, &metrics);
        (splitter, readers.remove(0))
    }

    fn messages(count: usize, bytes: usize) -> Vec<Delivery> {
        let payload = Bytes::from(vec![b'x'; bytes]);
        let delivery = || Delivery {
            topic: Bytes::from_static(b"tenant/acme/device/pump-1/telemetry"),
            payload: payload.clone(),
            cut_from: None,
            received_at: Timestamp::default(),
            held_since: Timestamp::default(),
            dup: false,
            redelivered: false,
            maybe_repeated: false,
            ack: None,
            correlation: None,
            publisher: Publisher::default(),
            replay: None,
            arrival: None,
        };
        std::iter::repeat_with(delivery).take(count).collect()
    }

    #[tokio::test]
    async fn a_lane_takes_no_more_messages_and_no_more_bytes_than_its_bounds() {
        for (count, bytes, fits) in [(25, 1, 10), (5, WAITING_BYTES_MAX / 2 - 100, 2)] {
            let (splitter, mut reader) = lane();
            let sending = async {
                for message in messages(count, bytes) {
                    assert!(splitter.lanes[0].send(vec![message]).await);
                }
            };
            tokio::pin!(sending);
            tokio::select! {
                biased;
                () = &mut sending => panic!("{count} messages of {bytes} bytes wait"),
                () = std::future::ready(()) => {}
            }
            assert_eq!(reader.chunks.len(), fits);
            let read = async {
                for _ in 0..count {
                    reader.next().await.unwrap();
                }
            };
            tokio::join!(sending, read);
        }
    }

    #[tokio::test]
    async fn a_lane_that_has_ended_stops_the_splitter_also_while_it_waits_for_room() {
        let (splitter, reader) = lane();
        let (deliveries_in, deliveries) = mpsc::channel(2);
        let (_links, from_links) = mpsc::channel(1);
        deliveries_in.send(messages(20, 1)).await.unwrap();
        let end = async {
            while reader.room.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            drop(reader);
        };
        tokio::join!(splitter.run(deliveries, from_links), end);
        assert!(deliveries_in.send(Vec::new()).await.is_err(), "it reads no further");
    }
}
