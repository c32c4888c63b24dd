//! Acknowledgements of several lanes, in the order in which the messages arrived.
//!
//! MQTT wants acknowledgements in the order of the messages. A lane acknowledges what it has stored;
//! here its tokens wait until those of all earlier messages are there. It never drops a token.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::domain::message::AckToken;
use crate::domain::ports::Acknowledge;
use crate::telemetry::ingest::LaneMetrics;

/// Notes whose acknowledgement comes next.
pub struct ExpectedAcks<A>(Arc<OrderedAcks<A>>);

/// Acknowledges what one lane has stored.
pub struct LaneAcks<A> {
    shared: Arc<OrderedAcks<A>>,
    lane: usize,
}

struct OrderedAcks<A> {
    /// Locked also while tokens are passed on: otherwise two lanes could overtake each other.
    order: Mutex<AckOrder>,
    acks: A,
    metrics: LaneMetrics,
}

/// What is expected, and what is there. The window of the broker bounds both.
#[derive(Debug, Default)]
struct AckOrder {
    /// The lane of each message without an acknowledgement, in the order of arrival.
    expected: VecDeque<usize>,
    /// The tokens of each lane that are not due yet.
    early: Vec<VecDeque<AckToken>>,
}

/// The ends for the splitter and for each of the lanes.
pub fn ordered<A: Acknowledge>(
    acks: A,
    lanes: usize,
    metrics: LaneMetrics,
) -> (ExpectedAcks<A>, Vec<LaneAcks<A>>) {
    let early = (0..lanes).map(|_| VecDeque::new()).collect();
    let order = Mutex::new(AckOrder { expected: VecDeque::new(), early });
    let shared = Arc::new(OrderedAcks { order, acks, metrics });
    let of_lane = |lane| LaneAcks { shared: Arc::clone(&shared), lane };
    let lanes = (0..lanes).map(of_lane).collect();
    (ExpectedAcks(shared), lanes)
}

// === impl ExpectedAcks ===

impl<A> ExpectedAcks<A> {
    /// Notes the lanes of messages that have arrived, before their lanes get them.
    pub async fn arrived(&self, lanes: Vec<usize>) {
        if !lanes.is_empty() {
            self.0.order.lock().await.expected.extend(lanes);
        }
    }
}

// === impl LaneAcks ===

impl<A: Acknowledge> Acknowledge for LaneAcks<A> {
    async fn acknowledge(&self, tokens: Vec<AckToken>) {
        let mut order = self.shared.order.lock().await;
        order.early[self.lane].extend(tokens);
        let due = order.take_due();
        let early = order.early.iter().map(VecDeque::len).sum::<usize>();
        self.shared.metrics.early_acks.set(i64::try_from(early).unwrap_or(i64::MAX));
        if !due.is_empty() {
            self.shared.acks.acknowledge(due).await;
        }
    }
}

// === impl AckOrder ===

impl AckOrder {
    /// Takes the tokens up to the first message without one.
    fn take_due(&mut self) -> Vec<AckToken> {
        let mut due = Vec::new();
        while let Some(lane) = self.expected.front()
            && let Some(token) = self.early[*lane].pop_front()
        {
            self.expected.pop_front();
            due.push(token);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::ConnectionId;
    use crate::telemetry::metrics::Metrics;
    use proptest::prelude::*;

    #[derive(Clone, Default)]
    struct Written(Arc<std::sync::Mutex<Vec<u16>>>);

    impl Acknowledge for Written {
        async fn acknowledge(&self, tokens: Vec<AckToken>) {
            self.0.lock().unwrap().extend(tokens.iter().map(|token| token.packet_id));
        }
    }

    fn token(packet_id: u16) -> AckToken {
        AckToken { connection: ConnectionId(1), packet_id, exactly_once: false }
    }

    proptest! {
        #[test]
        fn tokens_leave_in_the_order_of_arrival_whichever_lane_is_quick(
            lanes in prop::collection::vec(0_usize..3, 1..60), turns in prop::collection::vec((0_usize..3, 1_usize..5), 0..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let written = Written::default();
                let (expected, acks) = ordered(written.clone(), 3, Metrics::new().unwrap().ingest.lanes);
                expected.arrived(lanes.clone()).await;
                let mut waiting: Vec<VecDeque<u16>> = vec![VecDeque::new(); 3];
                for (packet_id, lane) in (1_u16..).zip(&lanes) {
                    waiting[*lane].push_back(packet_id);
                }
                let rest = (0..3).map(|lane| (lane, usize::MAX));
                for (lane, most) in turns.into_iter().chain(rest) {
                    let count = waiting[lane].len().min(most);
                    let stored: Vec<_> = waiting[lane].drain(..count).map(token).collect();
                    acks[lane].acknowledge(stored).await;
                    let so_far = written.0.lock().unwrap().clone();
                    let in_order: Vec<u16> = (1..).take(so_far.len()).collect();
                    assert_eq!(so_far, in_order);
                }
                assert_eq!(written.0.lock().unwrap().len(), lanes.len(), "none is kept back");
            });
        }
    }
}
