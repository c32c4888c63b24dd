//! The order in which requests are answered: senders take turns, and each has a bounded line.
//!
//! One sender's flood fills only its own line, and all operators together leave half of the places
//! to devices. It answers nothing and reads no clock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::exchange::RequestMessage;

/// Requests that wait, of all senders.
const WAITING_MAX: usize = 1_000;

/// Requests that wait, of one sender.
const WAITING_OF_ONE: usize = 100;

/// Requests of all operators that are answered at a time.
const OPERATORS_AT_WORK: usize = 16;

/// Requests of all operators that wait.
const OPERATORS_WAITING: usize = WAITING_MAX / 2;

/// The waiting requests, by sender.
#[derive(Debug, Default)]
pub(super) struct Turns {
    lines: HashMap<Arc<str>, SenderLine>,
    /// Senders with a waiting request that may be answered now, in the order of their turns.
    ready: VecDeque<Arc<str>>,
    /// Operators whose turn came while enough requests of operators were answered.
    held: VecDeque<Arc<str>>,
    waiting: usize,
    operators_waiting: usize,
    operators_at_work: usize,
}

/// Senders that share a part of the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderGroup {
    /// They may take all places.
    Devices,
    /// They may take half of the places: their requests can wait long for Postgres.
    Operators,
}

/// A sender: its name, and how many of its requests are answered at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// What distinguishes it from others.
    pub name: Arc<str>,
    /// The most of its requests that are answered at a time.
    pub at_work_max: usize,
    /// With whom it shares places.
    pub group: SenderGroup,
}

/// The requests of one sender.
#[derive(Debug)]
struct SenderLine {
    waiting: VecDeque<Box<RequestMessage>>,
    at_work: usize,
    at_work_max: usize,
    group: SenderGroup,
    is_ready: bool,
}

// === impl Turns ===

impl Turns {
    /// Adds a request to its sender's line, or returns it if there is no place.
    pub(super) fn push(
        &mut self,
        sender: &Sender,
        request: Box<RequestMessage>,
    ) -> Result<(), Box<RequestMessage>> {
        let is_operator = sender.group == SenderGroup::Operators;
        if self.waiting >= WAITING_MAX
            || (is_operator && self.operators_waiting >= OPERATORS_WAITING)
        {
            return Err(request);
        }
        let line = self.lines.entry(Arc::clone(&sender.name)).or_insert_with(|| SenderLine {
            waiting: VecDeque::new(),
            at_work: 0,
            at_work_max: sender.at_work_max,
            group: sender.group,
            is_ready: false,
        });
        if line.waiting.len() >= WAITING_OF_ONE {
            return Err(request);
        }
        line.waiting.push_back(request);
        self.waiting += 1;
        self.operators_waiting += usize::from(is_operator);
        if line.becomes_ready() {
            self.ready.push_back(Arc::clone(&sender.name));
        }
        Ok(())
    }

    /// The next request, with its sender's name. [`Self::done`] must follow.
    pub(super) fn next(&mut self) -> Option<(Arc<str>, Box<RequestMessage>)> {
        let name = self.next_sender()?;
        let line = self.lines.get_mut(&name)?;
        line.is_ready = false;
        let request = line.waiting.pop_front()?;
        line.at_work += 1;
        self.waiting -= 1;
        if line.group == SenderGroup::Operators {
            self.operators_at_work += 1;
            self.operators_waiting -= 1;
        }
        if line.becomes_ready() {
            self.ready.push_back(Arc::clone(&name));
        }
        Some((name, request))
    }

    /// A request of this sender has been answered.
    pub(super) fn done(&mut self, name: &Arc<str>) {
        let Some(line) = self.lines.get_mut(name) else { return };
        line.at_work = line.at_work.saturating_sub(1);
        if line.group == SenderGroup::Operators {
            self.operators_at_work = self.operators_at_work.saturating_sub(1);
            self.ready.extend(self.held.pop_front());
        }
        if line.becomes_ready() {
            self.ready.push_back(Arc::clone(name));
        } else if line.at_work == 0 && line.waiting.is_empty() {
            self.lines.remove(name);
        }
    }

    /// How many requests wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The sender whose turn it is, without operators while they have all of their places.
    fn next_sender(&mut self) -> Option<Arc<str>> {
        while let Some(name) = self.ready.pop_front() {
            let group = self.lines.get(&name).map(|line| line.group);
            if group != Some(SenderGroup::Operators) || self.operators_at_work < OPERATORS_AT_WORK {
                return Some(name);
            }
            self.held.push_back(name);
        }
        None
    }
}

// === impl SenderLine ===

impl SenderLine {
    /// Whether it has to be added to the ready ones.
    fn becomes_ready(&mut self) -> bool {
        let becomes = !self.is_ready && !self.waiting.is_empty() && self.at_work < self.at_work_max;
        self.is_ready |= becomes;
        becomes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::message::ConnectionId;
    use crate::domain::time::Timestamp;

    fn sender(name: &str) -> Sender {
        Sender { name: name.into(), at_work_max: 2, group: SenderGroup::Devices }
    }

    fn operator(name: &str) -> Sender {
        Sender { name: name.into(), at_work_max: 8, group: SenderGroup::Operators }
    }

    fn request(topic: String) -> Box<RequestMessage> {
        Box::new(RequestMessage {
            topic: topic.into(),
            payload: Bytes::new(),
            cut_from: None,
            is_retained: false,
            expires_in: None,
            response_topic: None,
            correlation: None,
            properties: Bytes::new(),
            received_at: Timestamp::default(),
            connection: ConnectionId(1),
        })
    }

    fn take(turns: &mut Turns) -> Option<(Arc<str>, String)> {
        let (name, request) = turns.next()?;
        Some((name, String::from_utf8(request.topic.to_vec()).unwrap()))
    }

    #[test]
    fn senders_take_turns_and_each_keeps_its_order() {
        let mut turns = Turns::default();
        for number in 0..4 {
            turns.push(&sender("loud"), request(format!("loud {number}"))).unwrap();
        }
        turns.push(&sender("calm"), request("calm 0".into())).unwrap();
        let order: Vec<String> =
            std::iter::from_fn(|| take(&mut turns)).map(|turn| turn.1).collect();
        assert_eq!(order, ["loud 0", "calm 0", "loud 1"], "two of one sender at a time");
        assert_eq!(turns.waiting(), 2);
        turns.done(&"loud".into());
        assert_eq!(take(&mut turns).unwrap().1, "loud 2");
        assert_eq!(take(&mut turns), None);
        turns.done(&"calm".into());
        turns.done(&"loud".into());
        assert_eq!(take(&mut turns).unwrap().1, "loud 3");
        turns.done(&"loud".into());
        turns.done(&"loud".into());
        assert!(turns.lines.is_empty() && turns.ready.is_empty() && turns.waiting() == 0);
    }

    #[test]
    fn a_flood_fills_its_own_line_only_and_all_lines_are_bounded() {
        let mut turns = Turns::default();
        let flood = (0..5_000)
            .filter(|number| turns.push(&sender("loud"), request(format!("{number}"))).is_ok());
        assert_eq!(flood.count(), WAITING_OF_ONE);
        assert!(turns.push(&sender("calm"), request("x".into())).is_ok());
        let many = (0..5_000).filter(|number| {
            turns.push(&sender(&format!("{number}")), request("x".into())).is_ok()
        });
        assert_eq!(many.count(), WAITING_MAX - WAITING_OF_ONE - 1);
    }

    #[test]
    fn all_operators_together_leave_places_to_devices() {
        let mut turns = Turns::default();
        for number in 0..WAITING_MAX {
            let _ = turns.push(&operator(&format!("o{}", number % 20)), request("o".into()));
        }
        assert_eq!(turns.waiting(), OPERATORS_WAITING);
        turns.push(&sender("calm"), request("calm 0".into())).unwrap();
        let at_work: Vec<_> = std::iter::from_fn(|| take(&mut turns)).collect();
        assert_eq!(at_work.len(), OPERATORS_AT_WORK + 1);
        assert!(at_work.iter().any(|(name, _)| &**name == "calm"));
        turns.push(&sender("calm"), request("calm 1".into())).unwrap();
        assert_eq!(take(&mut turns).unwrap().1, "calm 1", "no operator has to end before it");
        // Each end of one is the turn of another operator, until all have been answered.
        let (mut ended, mut at_work) = (0, VecDeque::from(at_work));
        while let Some((name, _)) = at_work.pop_front() {
            turns.done(&name);
            ended += usize::from(&*name != "calm");
            at_work.extend(std::iter::from_fn(|| take(&mut turns)));
        }
        turns.done(&"calm".into());
        assert_eq!(ended, OPERATORS_WAITING);
        assert!(turns.lines.is_empty() && turns.held.is_empty() && turns.operators_at_work == 0);
    }
}
