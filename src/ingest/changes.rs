//! The registry changes for one lane.
//!
//! It never waits for a slow lane, and never lets one miss a change: what the queue had no room for
//! is [`RegistryChange::Everything`].

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::domain::registry_change::RegistryChange;

/// The changes in order.
pub struct Changes(pub broadcast::Receiver<RegistryChange>);

// === impl Changes ===

impl Changes {
    /// Waits for the next change; without end, once the listener has ended. Cancel safe.
    pub async fn next(&mut self) -> RegistryChange {
        match self.0.recv().await {
            Ok(change) => change,
            Err(RecvError::Lagged(_)) => RegistryChange::Everything,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    /// The next change, if one waits.
    pub fn waiting(&mut self) -> Option<RegistryChange> {
        match self.0.try_recv() {
            Ok(change) => Some(change),
            Err(TryRecvError::Lagged(_)) => Some(RegistryChange::Everything),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::DeviceKey;

    fn device(name: &str) -> RegistryChange {
        RegistryChange::Device(DeviceKey::new("acme", name).unwrap())
    }

    #[tokio::test]
    async fn changes_that_found_no_room_are_one_everything_before_the_later_ones() {
        let (sender, receiver) = broadcast::channel(2);
        let (mut slow, mut quick) = (Changes(receiver), Changes(sender.subscribe()));
        for name in ["a", "b", "c", "d"] {
            sender.send(device(name)).unwrap();
            assert_eq!(quick.next().await, device(name), "it waits for no other lane");
        }
        assert_eq!(slow.next().await, RegistryChange::Everything, "a and b are lost");
        assert_eq!(slow.waiting(), Some(device("c")));
        for name in ["e", "f"] {
            sender.send(device(name)).unwrap();
        }
        assert_eq!(slow.waiting(), Some(RegistryChange::Everything));
        assert_eq!((slow.waiting(), slow.waiting()), (Some(device("e")), Some(device("f"))));
        assert_eq!(slow.waiting(), None);
    }
}
