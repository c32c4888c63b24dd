//! The drain of this replica: who ordered it, how far it is, and how it ended.
//!
//! It only keeps the state: the session with the broker carries the drain out, and the application ends
//! the daemon.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The drain of a replica. Clones share it.
#[derive(Clone, Debug)]
pub struct DrainDesk {
    state: Arc<watch::Sender<DrainState>>,
    right: Arc<Mutex<Option<DrainRight>>>,
}

/// What keeps the other members from draining; it ends when it is dropped.
pub type DrainRight = Box<dyn Any + Send>;

/// How far the drain is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainState {
    /// The step that is reached.
    pub phase: DrainPhase,
    /// Who ordered it, as the audit log names people.
    pub actor: String,
    /// Messages that were acknowledged since the order.
    pub taken: u64,
    /// Messages that are delivered and not acknowledged.
    pub unacknowledged: u64,
}

/// The steps of a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DrainPhase {
    /// There is no drain.
    #[default]
    Off,
    /// It is ordered; the broker still has the subscription.
    Ordered,
    /// The broker has removed the subscription; what waits is taken in.
    Unsubscribed,
    /// Nothing waits, and the session at the broker has ended.
    SessionEnded,
    /// The row of the session is removed.
    Done,
    /// It was given up for this reason; this replica is a member as before.
    GivenUp(String),
}

// === impl DrainDesk ===

impl Default for DrainDesk {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(DrainState::default())), right: Arc::default() }
    }
}

impl DrainDesk {
    /// Orders a drain; false: one is ordered already.
    pub fn order(&self, actor: &str) -> bool {
        self.state.send_if_modified(|state| {
            let is_new = !state.is_ordered();
            if is_new {
                let (phase, actor) = (DrainPhase::Ordered, actor.to_owned());
                *state = DrainState { phase, actor, ..DrainState::default() };
            }
            is_new
        })
    }

    /// The same, and keeps `right` until it is given up or this daemon has ended.
    pub fn order_with(&self, actor: &str, right: DrainRight) -> bool {
        let is_new = self.order(actor);
        if is_new {
            *self.right.lock().unwrap_or_else(PoisonError::into_inner) = Some(right);
        }
        is_new
    }

    /// Gives it up, unless the session has ended.
    pub fn give_up(&self, why: &str) -> bool {
        let is_given_up = self.state.send_if_modified(|state| {
            let may_continue =
                matches!(state.phase, DrainPhase::Ordered | DrainPhase::Unsubscribed);
            if may_continue {
                state.phase = DrainPhase::GivenUp(why.to_owned());
            }
            may_continue
        });
        if is_given_up {
            *self.right.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        is_given_up
    }

    /// Records the next step.
    pub fn reach(&self, phase: DrainPhase) {
        self.state.send_modify(|state| state.phase = phase);
    }

    /// Counts `taken` further messages.
    pub fn count(&self, taken: u64, unacknowledged: u64) {
        self.state.send_modify(|state| {
            state.taken += taken;
            state.unacknowledged = unacknowledged;
        });
    }

    /// How far it is.
    pub fn state(&self) -> DrainState {
        self.state.borrow().clone()
    }

    /// Whether the session must leave its group.
    pub fn is_ordered(&self) -> bool {
        self.state.borrow().is_ordered()
    }

    /// Follows the state.
    pub fn follow(&self) -> watch::Receiver<DrainState> {
        self.state.subscribe()
    }

    /// Waits until the state is as `is_it` says.
    pub async fn wait_until(&self, is_it: impl FnMut(&DrainState) -> bool) -> DrainState {
        let mut states = self.follow();
        match states.wait_for(is_it).await {
            Ok(state) => state.clone(),
            // The desk itself holds the sender.
            Err(_) => self.state(),
        }
    }
}

// === impl DrainState ===

impl DrainState {
    /// Whether the session must leave its group, or has left it.
    pub fn is_ordered(&self) -> bool {
        !matches!(self.phase, DrainPhase::Off | DrainPhase::GivenUp(_))
    }

    /// Whether nothing of this replica waits at the broker.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, DrainPhase::SessionEnded | DrainPhase::Done)
    }
}

// === impl DrainPhase ===

impl DrainPhase {
    /// Its name for programs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ordered => "ordered",
            Self::Unsubscribed => "unsubscribed",
            Self::SessionEnded => "session_ended",
            Self::Done => "done",
            Self::GivenUp(_) => "given_up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_ordered_once_and_given_up_only_before_its_session_ends() {
        let desk = DrainDesk::default();
        assert!(!desk.give_up("there is none"));
        assert!(desk.order("cli:a") && !desk.order("cli:b"));
        desk.count(3, 1);
        assert_eq!((desk.state().taken, desk.state().actor.as_str()), (3, "cli:a"));
        assert!(desk.give_up("late") && !desk.is_ordered());
        assert!(desk.order("cli:b"), "it may be ordered again");
        assert_eq!(desk.state().taken, 0);
        desk.reach(DrainPhase::SessionEnded);
        assert!(!desk.give_up("late") && desk.state().has_ended());
    }
}
