//! What other parts of the daemon order at the connected plugins: to close the sessions of a certificate,
//! and to admit the certificates of Sluice's own probes.
//!
//! It works without a plugin: then nothing is closed, and the caller does it otherwise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_shared::frames::from_daemon::CertificateEntry;
use sluice_shared::probe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::domain::ids::DeviceKey;
use crate::pki::certificate::Certificate;

/// How long plugins may take to close sessions.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// Orders that wait for one plugin.
pub(super) const ORDERS_QUEUE: usize = 64;

/// Orders for all connected plugins. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct PluginControl(Arc<ControlState>);

#[derive(Debug)]
struct ControlState {
    /// The queue of each connected plugin, by its number.
    orders: Mutex<BTreeMap<u64, mpsc::Sender<CloseOrder>>>,
    probes: watch::Sender<BTreeMap<ProbeUse, CertificateEntry>>,
}

/// What a probe certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeUse {
    /// It shows that the broker admits a certificate that no CRL revokes.
    Crl,
    /// It shows that the broker isolates devices.
    Isolation,
}

/// An order to one plugin: close the sessions of a certificate.
#[derive(Debug)]
pub(super) struct CloseOrder {
    /// The device, whose certificates are sent first.
    pub device: Option<DeviceKey>,
    /// SHA-256 of the certificate, in lower-case hex.
    pub fingerprint: String,
    /// Gets the number of sessions that are closed.
    pub done: oneshot::Sender<u64>,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// No plugin is connected.
    NoPlugin,
    /// A plugin did not confirm it in time.
    Unanswered,
    /// All plugins have closed the sessions of the certificate: so many.
    Closed(u64),
}

// === impl PluginControl ===

impl PluginControl {
    /// Closes the sessions of a certificate at all connected plugins.
    pub async fn close(&self, common_name: &str, fingerprint: &str) -> Closing {
        let device = DeviceKey::of_common_name(common_name).ok();
        let queues: Vec<_> = self.orders().values().cloned().collect();
        if queues.is_empty() {
            return Closing::NoPlugin;
        }
        let mut waiting = Vec::with_capacity(queues.len());
        for queue in queues {
            let (done, closed) = oneshot::channel();
            let fingerprint = fingerprint.to_owned();
            if queue.try_send(CloseOrder { device: device.clone(), fingerprint, done }).is_err() {
                return Closing::Unanswered;
            }
            waiting.push(closed);
        }
        let all = async {
            let mut sessions = 0;
            for closed in waiting {
                sessions += closed.await.ok()?;
            }
            Some(sessions)
        };
        match timeout(CLOSE_PATIENCE, all).await {
            Ok(Some(sessions)) => Closing::Closed(sessions),
            Ok(None) | Err(_) => Closing::Unanswered,
        }
    }

    /// Whether any plugin is connected.
    pub fn is_connected(&self) -> bool {
        !self.orders().is_empty()
    }

    /// Admits the certificate of a probe, in place of the one before.
    pub fn admit(&self, what: ProbeUse, certificate: &Certificate) {
        let entry = CertificateEntry {
            fingerprint: certificate.fingerprint().to_string().into(),
            from: certificate.not_before().micros(),
            until: certificate.not_after().micros(),
        };
        self.0.probes.send_if_modified(|probes| {
            let is_new = probes.get(&what) != Some(&entry);
            probes.insert(what, entry);
            is_new
        });
    }

    /// The certificates of the probes, which belong to [`probe::IDENTITY`].
    pub(super) fn probes(&self) -> watch::Receiver<BTreeMap<ProbeUse, CertificateEntry>> {
        self.0.probes.subscribe()
    }

    pub(super) fn add(&self, plugin: u64, orders: mpsc::Sender<CloseOrder>) {
        self.orders().insert(plugin, orders);
    }

    pub(super) fn remove(&self, plugin: u64) {
        self.orders().remove(&plugin);
    }

    fn orders(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, mpsc::Sender<CloseOrder>>> {
        self.0.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ControlState ===

impl Default for ControlState {
    fn default() -> Self {
        Self { orders: Mutex::default(), probes: watch::Sender::new(BTreeMap::new()) }
    }
}

/// The identity of the probes in the registry of the plugin.
pub(super) const PROBES_ID: &str = probe::IDENTITY;

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "00";

    #[tokio::test]
    async fn sessions_are_closed_only_if_every_plugin_says_so() {
        let control = PluginControl::default();
        assert_eq!(control.close("a/b", FINGERPRINT).await, Closing::NoPlugin);
        let (one, mut first) = mpsc::channel(1);
        let (other, mut second) = mpsc::channel::<CloseOrder>(1);
        control.add(1, one);
        control.add(2, other);
        let both = async {
            first.recv().await.unwrap().done.send(2).unwrap();
            let order = second.recv().await.unwrap();
            assert_eq!(order.device, DeviceKey::new("a", "b").ok());
            order.done.send(1).unwrap();
        };
        assert_eq!(tokio::join!(control.close("a/b", FINGERPRINT), both).0, Closing::Closed(3));
        let one_goes = async {
            first.recv().await.unwrap().done.send(2).unwrap();
            drop(second);
        };
        let closing = tokio::join!(control.close("a/b", FINGERPRINT), one_goes).0;
        assert_eq!(closing, Closing::Unanswered);
        control.remove(2);
        drop(first);
        assert_eq!(control.close("a/b", FINGERPRINT).await, Closing::Unanswered);
    }
}
