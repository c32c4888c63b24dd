//! Publishes messages in order, with a bounded number under way.
//!
//! The bound keeps the exchange's queue short: a response to a request waits behind at most this
//! many messages. It never queues a message after its time: what was read from Postgres long ago may
//! be another publisher's by now.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::{Instant, timeout_at};

use crate::broker::exchange::{Exchange, ExchangeState};
use crate::domain::exchange::{ExchangeOutcome, OutgoingMessage, PublishTopic};

/// Most messages under way.
const UNDER_WAY: usize = 64;

/// How long after it was read a message may be published and waits for its outcome; shorter than
/// the time after which Postgres ends the publisher's connection.
pub(super) const FRESH: Duration = Duration::from_secs(4);

/// Publishes the messages; returns the outcome of each, `None` for those that were not sent. It
/// stops at the end of a connection. After a refusal no further message is sent on that topic: it
/// would arrive before the refused one.
pub(super) async fn publish_in_order(
    exchange: &Exchange,
    messages: Vec<OutgoingMessage>,
    until: Instant,
) -> Vec<Option<ExchangeOutcome>> {
    let mut outcomes = vec![None; messages.len()];
    let mut under_way: VecDeque<(usize, oneshot::Receiver<ExchangeOutcome>)> = VecDeque::new();
    let state = exchange.state();
    let topics: Vec<PublishTopic> = messages.iter().map(|message| message.topic.clone()).collect();
    let mut refused: HashMap<&PublishTopic, u8> = HashMap::new();
    for (place, message) in messages.into_iter().enumerate() {
        let mut is_full = under_way.len() >= UNDER_WAY;
        while let Some((first, outcome)) = under_way.front_mut() {
            let outcome = match outcome.try_recv() {
                Ok(outcome) => outcome,
                Err(TryRecvError::Closed) => ExchangeOutcome::Unknown,
                Err(TryRecvError::Empty) if is_full => settled(outcome, until).await,
                Err(TryRecvError::Empty) => break,
            };
            outcomes[*first] = Some(outcome);
            if let ExchangeOutcome::Refused(code) = outcome {
                refused.insert(&topics[*first], code);
            }
            under_way.pop_front();
            is_full = false;
        }
        if let Some(code) = refused.get(&topics[place]) {
            outcomes[place] = Some(ExchangeOutcome::Refused(*code));
            continue;
        }
        let is_connected = matches!(*state.borrow(), ExchangeState::Connected { .. });
        if !is_connected || Instant::now() >= until {
            break;
        }
        let Ok(outcome) = timeout_at(until, exchange.send(message)).await else { break };
        under_way.push_back((place, outcome));
    }
    for (place, mut outcome) in under_way {
        outcomes[place] = Some(settled(&mut outcome, until).await);
    }
    outcomes
}

/// Waits for an outcome until its time is over.
async fn settled(
    outcome: &mut oneshot::Receiver<ExchangeOutcome>,
    until: Instant,
) -> ExchangeOutcome {
    match timeout_at(until, outcome).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) | Err(_) => ExchangeOutcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::exchange::{ExchangeEnds, exchange};
    use crate::domain::message::ConnectionId;

    fn messages(count: usize) -> Vec<OutgoingMessage> {
        let one = |number: usize| {
            OutgoingMessage::json(PublishTopic::new("a").unwrap(), number.to_string())
        };
        (0..count).map(one).collect()
    }

    fn connect(ends: &ExchangeEnds) {
        let connected = ExchangeState::Connected { connection: ConnectionId(1), marker: None };
        ends.state.send_replace(connected);
    }

    fn soon() -> Instant {
        Instant::now() + FRESH
    }

    #[tokio::test]
    async fn messages_are_sent_in_order_with_a_bounded_number_under_way() {
        let (handle, mut ends) = exchange();
        connect(&ends);
        let broker = async {
            let mut seen = Vec::new();
            let mut most = 0;
            while seen.len() < 200 {
                tokio::task::yield_now().await;
                let mut waiting = Vec::new();
                while let Ok(queued) = ends.outgoing.try_recv() {
                    waiting.push(queued);
                }
                most = most.max(waiting.len());
                for queued in waiting {
                    seen.push(String::from_utf8(queued.message.payload.to_vec()).unwrap());
                    queued.outcome.send(ExchangeOutcome::Accepted).unwrap();
                }
            }
            (seen, most)
        };
        let (outcomes, (seen, most)) =
            tokio::join!(publish_in_order(&handle, messages(200), soon()), broker);
        assert_eq!(outcomes, vec![Some(ExchangeOutcome::Accepted); 200]);
        assert_eq!(seen, (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
        assert!((1..=UNDER_WAY).contains(&most), "{most}");
    }

    #[tokio::test]
    async fn after_the_end_of_the_connection_nothing_more_is_sent() {
        let (handle, mut ends) = exchange();
        connect(&ends);
        let broker = async {
            let first = ends.outgoing.recv().await.unwrap();
            first.outcome.send(ExchangeOutcome::Accepted).unwrap();
            ends.state.send_replace(ExchangeState::Disconnected);
            while let Ok(queued) = ends.outgoing.try_recv() {
                drop(queued.outcome);
            }
        };
        let (outcomes, ()) = tokio::join!(publish_in_order(&handle, messages(200), soon()), broker);
        assert_eq!(outcomes[0], Some(ExchangeOutcome::Accepted));
        assert_eq!(outcomes[1], Some(ExchangeOutcome::Unknown));
        assert_eq!(outcomes[199], None);
    }

    #[tokio::test]
    async fn after_a_refusal_nothing_more_is_sent_on_its_topic() {
        let (handle, mut ends) = exchange();
        connect(&ends);
        let broker = async {
            let first = ends.outgoing.recv().await.unwrap();
            first.outcome.send(ExchangeOutcome::Refused(0x97)).unwrap();
            let mut sent = 1;
            while let Some(queued) = ends.outgoing.recv().await {
                sent += 1;
                queued.outcome.send(ExchangeOutcome::Accepted).unwrap();
            }
            sent
        };
        let publish = async move { publish_in_order(&handle, messages(200), soon()).await };
        let (outcomes, sent) = tokio::join!(publish, broker);
        assert!(sent <= UNDER_WAY, "{sent}");
        assert_eq!(outcomes[199], Some(ExchangeOutcome::Refused(0x97)));
    }

    #[tokio::test]
    async fn a_silent_broker_costs_the_time_of_one_turn() {
        let (handle, ends) = exchange();
        connect(&ends);
        let until = Instant::now() + Duration::from_millis(50);
        let outcomes = publish_in_order(&handle, messages(100), until).await;
        assert!(Instant::now() >= until);
        assert_eq!((outcomes[0], outcomes[99]), (Some(ExchangeOutcome::Unknown), None));
    }
}
