//! What connects the senders with the writer: bells that wake lanes after a commit, and the way of
//! acknowledgements back to the lane that received the message.
//!
//! Nothing here waits: a lane that is not woken looks by itself, and acknowledgements of a link that
//! has ended are void.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use crate::domain::link::{Forward, LinkName};
use crate::domain::message::AckToken;
use crate::domain::ports::ForwardSignal;

/// Lists of acknowledgements for one link. Each has at least one token, and a connection has at most
/// this many messages in flight, so the queue is never full.
const ACKS_QUEUE: usize = 1024;

/// Numbers of connections that one start of a link may use.
const CONNECTIONS: u32 = 1 << 20;

/// The wires of all links. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct LinkWires(Arc<Mutex<Wires>>);

#[derive(Debug, Default)]
struct Wires {
    /// With the number of the link: a changed link has the same name.
    bells: HashMap<LinkName, (u32, Vec<Arc<Notify>>)>,
    acks: HashMap<u32, mpsc::Sender<Vec<AckToken>>>,
    /// How often each link has begun, so that each of its connections has a number of its own.
    begun: HashMap<u32, u32>,
}

// === impl LinkWires ===

impl LinkWires {
    /// New bells for the lanes of a link.
    pub(super) fn bells(&self, number: u32, link: &LinkName, lanes: u16) -> Vec<Arc<Notify>> {
        let bells: Vec<_> = (0..lanes).map(|_| Arc::default()).collect();
        self.wires().bells.insert(link.clone(), (number, bells.clone()));
        bells
    }

    /// The end of the way of acknowledgements at lane 0 of a link.
    pub(super) fn connect_acks(&self, number: u32) -> mpsc::Receiver<Vec<AckToken>> {
        let (acks_in, acks) = mpsc::channel(ACKS_QUEUE);
        self.wires().acks.insert(number, acks_in);
        acks
    }

    /// The first number of a connection of a link that begins.
    pub(super) fn first_connection(&self, number: u32) -> u32 {
        let mut wires = self.wires();
        let begun = wires.begun.entry(number).or_default();
        *begun += 1;
        (*begun - 1).wrapping_mul(CONNECTIONS)
    }

    /// The link has ended.
    pub(super) fn disconnect(&self, number: u32, link: &LinkName) {
        let mut wires = self.wires();
        wires.acks.remove(&number);
        wires.begun.remove(&number);
        if wires.bells.get(link).is_some_and(|(of, _)| *of == number) {
            wires.bells.remove(link);
        }
    }

    /// Wakes all lanes of a link.
    pub fn ring_all(&self, link: &LinkName) {
        if let Some((_, bells)) = self.wires().bells.get(link) {
            for bell in bells {
                bell.notify_one();
            }
        }
    }

    /// Sends tokens of links to their lanes, and returns those of the local broker.
    pub fn acknowledge(&self, tokens: Vec<AckToken>) -> Vec<AckToken> {
        if tokens.iter().all(|token| token.connection.link().is_none()) {
            return tokens;
        }
        let mut of_links: HashMap<u32, Vec<AckToken>> = HashMap::new();
        let mut local = Vec::with_capacity(tokens.len());
        for token in tokens {
            match token.connection.link() {
                Some(number) => of_links.entry(number).or_default().push(token),
                None => local.push(token),
            }
        }
        let wires = self.wires();
        for (number, tokens) in of_links {
            if let Some(acks) = wires.acks.get(&number) {
                let _void_when_the_lane_has_ended = acks.try_send(tokens);
            }
        }
        local
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ForwardSignal for LinkWires {
    fn queued(&mut self, forwards: &[Forward]) {
        let wires = self.wires();
        let mut last = None;
        for forward in forwards {
            if last.replace((&forward.link, forward.lane)) == Some((&forward.link, forward.lane)) {
                continue;
            }
            let lane = usize::try_from(forward.lane).unwrap_or(0);
            if let Some(bell) =
                wires.bells.get(&forward.link).and_then(|(_, bells)| bells.get(lane))
            {
                bell.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::ConnectionId;

    fn token(connection: ConnectionId) -> AckToken {
        AckToken { connection, packet_id: 1, exactly_once: false }
    }

    #[test]
    fn acknowledgements_find_the_link_or_the_local_broker() {
        let wires = LinkWires::default();
        let mut acks = wires.connect_acks(7);
        let of_link = ConnectionId::of_link(7, 3);
        let gone = ConnectionId::of_link(8, 0);
        let local = wires.acknowledge(vec![
            token(ConnectionId(1)),
            token(of_link),
            token(gone),
            token(ConnectionId(2)),
        ]);
        assert_eq!(local, [token(ConnectionId(1)), token(ConnectionId(2))]);
        assert_eq!(acks.try_recv().unwrap(), [token(of_link)]);
        assert!(acks.try_recv().is_err());
        wires.disconnect(7, &"a".parse().unwrap());
        assert!(wires.acknowledge(vec![token(of_link)]).is_empty());
    }
}
