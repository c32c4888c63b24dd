//! The changes of the registry that a plugin has not been sent.
//!
//! It is bounded: beyond the bound, and for a change that names no devices, the whole registry is sent.

use std::collections::BTreeSet;
use std::time::Instant;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::domain::ids::DeviceKey;
use crate::domain::registry_change::RegistryChange;

/// The most devices; with more the whole registry is sent.
const DEVICES_MAX: usize = 10_000;

/// The changes.
#[derive(Debug, Default)]
pub(super) struct PendingChanges {
    devices: BTreeSet<DeviceKey>,
    is_everything: bool,
    since: Option<Instant>,
    /// Since when there was what was taken last.
    taken_since: Option<Instant>,
}

/// What is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DueChanges {
    Nothing,
    Devices(Vec<DeviceKey>),
    Everything,
}

/// Waits for the next change; without end, once the listener has ended. Cancel safe.
pub(super) async fn next(changes: &mut broadcast::Receiver<RegistryChange>) -> RegistryChange {
    match changes.recv().await {
        Ok(change) => change,
        Err(RecvError::Lagged(_)) => RegistryChange::Everything,
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

// === impl PendingChanges ===

impl PendingChanges {
    /// The whole registry is to be sent.
    pub fn everything() -> Self {
        let mut pending = Self::default();
        pending.add(RegistryChange::Everything);
        pending
    }

    /// Adds a change. A tenant is everything: a device that was deleted with it is in no table.
    pub fn add(&mut self, change: RegistryChange) {
        self.since.get_or_insert_with(Instant::now);
        match change {
            RegistryChange::Device(device) if !self.is_everything => {
                self.devices.insert(device);
            }
            RegistryChange::Device(_) => {}
            RegistryChange::Tenant(_) | RegistryChange::Everything => self.is_everything = true,
        }
        if self.is_everything || self.devices.len() > DEVICES_MAX {
            self.is_everything = true;
            self.devices.clear();
        }
    }

    /// Adds a change that was taken and not sent: it is as old as before.
    pub fn put_back(&mut self, change: RegistryChange) {
        self.since = self.taken_since.or(self.since);
        self.add(change);
    }

    /// Adds the changes that wait.
    pub fn drain(&mut self, changes: &mut broadcast::Receiver<RegistryChange>) {
        loop {
            match changes.try_recv() {
                Ok(change) => self.add(change),
                Err(TryRecvError::Lagged(_)) => self.add(RegistryChange::Everything),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Takes at most `most` devices, or everything. After a failure the caller puts it back.
    pub fn take(&mut self, most: usize) -> DueChanges {
        self.taken_since = self.since;
        if std::mem::take(&mut self.is_everything) {
            self.since = None;
            return DueChanges::Everything;
        }
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(device) = self.devices.pop_first()
        {
            taken.push(device);
        }
        if self.devices.is_empty() {
            self.since = None;
        }
        if taken.is_empty() { DueChanges::Nothing } else { DueChanges::Devices(taken) }
    }

    /// Since when there is something.
    pub const fn since(&self) -> Option<Instant> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: usize) -> RegistryChange {
        RegistryChange::Device(DeviceKey::new("acme", &number.to_string()).unwrap())
    }

    #[test]
    fn a_device_is_sent_once_and_a_tenant_is_everything() {
        let mut pending = PendingChanges::default();
        assert!(pending.since().is_none());
        for number in [1, 1, 2, 3] {
            pending.add(device(number));
        }
        assert!(matches!(pending.take(2), DueChanges::Devices(taken) if taken.len() == 2));
        assert!(pending.since().is_some());
        assert!(matches!(pending.take(2), DueChanges::Devices(taken) if taken.len() == 1));
        assert_eq!((pending.take(2), pending.since().is_none()), (DueChanges::Nothing, true));
        pending.add(device(1));
        pending.add(RegistryChange::Tenant("acme".parse().unwrap()));
        pending.add(device(2));
        let since = pending.since();
        assert_eq!(pending.take(2), DueChanges::Everything);
        pending.put_back(RegistryChange::Everything);
        assert_eq!(pending.since(), since, "it is as old as before");
        assert_eq!(
            (pending.take(2), pending.take(2)),
            (DueChanges::Everything, DueChanges::Nothing)
        );
    }

    #[test]
    fn too_many_devices_and_lost_changes_are_everything() {
        let mut pending = PendingChanges::default();
        (0..=DEVICES_MAX).for_each(|number| pending.add(device(number)));
        assert_eq!(pending.take(1), DueChanges::Everything);
        let (sender, mut receiver) = broadcast::channel(1);
        for number in 0..3 {
            sender.send(device(number)).unwrap();
        }
        pending.drain(&mut receiver);
        assert_eq!(
            (pending.take(1), pending.take(1)),
            (DueChanges::Everything, DueChanges::Nothing)
        );
    }
}
