//! Sends one plugin what it decides by: the policy, Sluice's own names, a snapshot of the registry, and
//! then each change.
//!
//! It subscribes to changes before it reads the registry, so no change is lost. It holds one page of the
//! fleet at a time. A change that it could not send because Postgres is away stays due.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sluice_shared::frames::PART_DEVICES_MAX;
use sluice_shared::frames::from_daemon::{
    CertificateEntry, DeviceEntry, FromDaemon, ReservedNames, RevokeTarget,
};
use sluice_shared::policy::document::PolicyDocument;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::sleep;

use super::control::{CloseOrder, PROBES_ID, ProbeUse};
use super::peers::PluginPeer;
use super::pending::{self, DueChanges, PendingChanges};
use super::sources::Link;
use crate::access::policy::Policy;
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::domain::registry_change::RegistryChange;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::store::certificates::valid_certificates::{
    DeviceCertificates, FleetPlace, ValidCertificate,
};

/// How often the policy and the names are compared, and the age is shown.
const TICK: Duration = Duration::from_millis(250);

/// The pause after Postgres failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two snapshots. Otherwise it is as long as the snapshot took.
const SNAPSHOT_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Versions that the plugin has not applied; for more, the oldest counts.
const UNAPPLIED_MAX: usize = 1_024;

const HEALTH_TEXTS: HealthTexts = HealthTexts {
    failed: "the registry cannot be read for the broker's plugin",
    action: "the plugin keeps what it has; Sluice tries again each second",
    recovered: "the registry is readable for the broker's plugin again",
};

/// The connection has ended; the connection says why.
#[derive(Debug)]
pub(super) struct Ended;

/// Why a snapshot or a delta was not sent.
enum FeedError {
    Ended,
    Outage(Outage),
}

/// The feed of one plugin.
pub(super) struct Feed {
    link: Arc<Link>,
    peer: Arc<PluginPeer>,
    frames: mpsc::Sender<FromDaemon>,
    orders: mpsc::Receiver<CloseOrder>,
    changes: broadcast::Receiver<RegistryChange>,
    probes: watch::Receiver<BTreeMap<ProbeUse, CertificateEntry>>,
    pending: PendingChanges,
    /// When the registry may be read again.
    quiet_until: Option<Instant>,
    /// The version that was sent last; 0 means none.
    version: u64,
    /// Versions that the plugin has not applied, and when each was sent.
    unapplied: VecDeque<(u64, Instant)>,
    policy: Option<Arc<Policy>>,
    reserved: Option<ReservedNames>,
    commands: u64,
    health: HealthReporter,
}

// === impl Feed ===

impl Feed {
    /// The feed of `peer`. It takes `orders`, and sends to `frames`.
    pub fn new(
        link: Arc<Link>,
        peer: Arc<PluginPeer>,
        frames: mpsc::Sender<FromDaemon>,
        orders: mpsc::Receiver<CloseOrder>,
    ) -> Self {
        let (changes, probes) = (link.sources.changes.subscribe(), link.sources.control.probes());
        Self {
            link,
            peer,
            frames,
            orders,
            changes,
            probes,
            pending: PendingChanges::everything(),
            quiet_until: None,
            version: 0,
            unapplied: VecDeque::new(),
            policy: None,
            reserved: None,
            commands: 0,
            health: HealthReporter::log_only("plugin registry", HEALTH_TEXTS),
        }
    }

    /// Sends until the connection ends.
    pub async fn run(mut self) -> Ended {
        loop {
            if self.send_what_changed().await.is_err() {
                return Ended;
            }
            self.show_age();
            tokio::select! {
                change = pending::next(&mut self.changes) => self.pending.add(change),
                Some(order) = self.orders.recv() => {
                    if self.close(order).await.is_err() {
                        return Ended;
                    }
                }
                () = self.peer.resync.notified() => self.pending.add(RegistryChange::Everything),
                Ok(()) = self.probes.changed() => {
                    if self.send_probes().await.is_err() {
                        return Ended;
                    }
                }
                () = sleep(TICK) => {}
            }
            self.pending.drain(&mut self.changes);
        }
    }

    async fn send_what_changed(&mut self) -> Result<(), Ended> {
        let policy = self.link.sources.policy.policy();
        if self.policy.as_ref().is_none_or(|sent| !Arc::ptr_eq(sent, &policy)) {
            let document = PolicyDocument::of(&policy);
            self.policy = Some(policy);
            self.send(FromDaemon::Policy { policy: document }).await?;
        }
        let names = self.link.sources.reserved.known();
        if self.reserved.as_ref() != Some(&names) {
            self.reserved = Some(names.clone());
            self.send(FromDaemon::Reserved(names)).await?;
        }
        self.send_registry().await
    }

    /// Sends the registry, or what of it has changed.
    async fn send_registry(&mut self) -> Result<(), Ended> {
        while self.quiet_until.is_none_or(|until| Instant::now() >= until) {
            let sent = match self.pending.take(PART_DEVICES_MAX) {
                DueChanges::Nothing => return Ok(()),
                DueChanges::Everything => self.send_snapshot().await,
                DueChanges::Devices(devices) => self.send_devices(devices).await,
            };
            match sent {
                Ok(()) => self.health.worked(Instant::now()),
                Err(FeedError::Ended) => return Err(Ended),
                Err(FeedError::Outage(outage)) => {
                    self.health.failed(&outage.0, Instant::now());
                    self.quiet_until = Some(Instant::now() + RETRY_PAUSE);
                }
            }
        }
        Ok(())
    }

    async fn send_snapshot(&mut self) -> Result<(), FeedError> {
        let started_at = Instant::now();
        let version = self.version + 1;
        self.send(FromDaemon::SnapshotBegin { version }).await?;
        let mut devices = 0;
        let probes = self.probe_entry();
        if !probes.certificates.is_empty() {
            devices += self.send_part(vec![probes]).await?;
        }
        let mut place = Some(FleetPlace::default());
        while let Some(from) = place.take() {
            let page = match self.link.sources.certificates.page(&from).await {
                Ok(page) => page,
                Err(outage) => {
                    self.pending.put_back(RegistryChange::Everything);
                    return Err(outage.into());
                }
            };
            place = page.next;
            // What changes meanwhile is sent again afterwards.
            self.pending.drain(&mut self.changes);
            let mut entries = entries(page.devices).peekable();
            while entries.peek().is_some() {
                let part = entries.by_ref().take(PART_DEVICES_MAX).collect();
                devices += self.send_part(part).await?;
            }
        }
        self.send(FromDaemon::SnapshotEnd { version, devices }).await?;
        self.sent(version, started_at);
        let took = started_at.elapsed();
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let profile = &self.peer.hello.profile;
        tracing::info!(profile, version, devices, milliseconds, "the plugin was sent the registry");
        self.quiet_until = Some(Instant::now() + took.min(SNAPSHOT_PAUSE_MAX));
        Ok(())
    }

    async fn send_part(&mut self, devices: Vec<DeviceEntry>) -> Result<u64, Ended> {
        let count = devices.len() as u64;
        self.send(FromDaemon::SnapshotPart { devices }).await?;
        Ok(count)
    }

    async fn send_devices(&mut self, devices: Vec<DeviceKey>) -> Result<(), FeedError> {
        match self.link.sources.certificates.of(&devices).await {
            Ok(found) => Ok(self.send_delta(entries(found).collect()).await?),
            Err(outage) => {
                for device in devices {
                    self.pending.put_back(RegistryChange::Device(device));
                }
                Err(outage.into())
            }
        }
    }

    async fn send_delta(&mut self, devices: Vec<DeviceEntry>) -> Result<(), Ended> {
        let version = self.version + 1;
        self.send(FromDaemon::Delta { version, devices }).await?;
        self.sent(version, Instant::now());
        Ok(())
    }

    /// Sends the probes, unless a snapshot will have them.
    async fn send_probes(&mut self) -> Result<(), Ended> {
        if self.version == 0 {
            return Ok(());
        }
        let probes = self.probe_entry();
        self.send_delta(vec![probes]).await
    }

    /// Closes the sessions of a certificate. The registry goes first: otherwise the client could come
    /// back.
    async fn close(&mut self, order: CloseOrder) -> Result<(), Ended> {
        if let Some(device) = order.device
            && self.version > 0
            && let Err(FeedError::Ended) = self.send_devices(vec![device]).await
        {
            return Err(Ended);
        }
        self.commands += 1;
        let target = RevokeTarget::Fingerprint(order.fingerprint.clone());
        self.peer.expect(self.commands, order.fingerprint, order.done);
        self.send(FromDaemon::Revoke { command: self.commands, target }).await
    }

    fn probe_entry(&mut self) -> DeviceEntry {
        let certificates = self.probes.borrow_and_update().values().cloned().collect();
        DeviceEntry { id: PROBES_ID.into(), certificates }
    }

    async fn send(&self, frame: FromDaemon) -> Result<(), Ended> {
        self.peer.queued.fetch_add(1, Ordering::Relaxed);
        self.frames.send(frame).await.map_err(|_| Ended)
    }

    fn sent(&mut self, version: u64, since: Instant) {
        self.version = version;
        if self.unapplied.len() < UNAPPLIED_MAX {
            self.unapplied.push_back((version, since));
        }
    }

    /// Shows by how much the plugin is behind.
    fn show_age(&mut self) {
        let applied = self.peer.applied();
        while self.unapplied.front().is_some_and(|(version, _)| *version <= applied) {
            self.unapplied.pop_front();
        }
        let sent = self.unapplied.front().map(|(_, sent_at)| *sent_at);
        let since = [sent, self.pending.since()].into_iter().flatten().min();
        let behind = since.map_or(Duration::ZERO, |since| since.elapsed());
        self.peer.set_behind_ms(u64::try_from(behind.as_millis()).unwrap_or(u64::MAX));
        let label = &[&*self.peer.label];
        self.link.sources.metrics.series.age.with_label_values(label).set(behind.as_secs_f64());
    }
}

// === impl FeedError ===

impl From<Ended> for FeedError {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

impl From<Outage> for FeedError {
    fn from(outage: Outage) -> Self {
        Self::Outage(outage)
    }
}

// --- private helpers ---

fn entries(devices: DeviceCertificates) -> impl Iterator<Item = DeviceEntry> {
    let entry = |certificate: ValidCertificate| CertificateEntry {
        fingerprint: certificate.fingerprint,
        from: certificate.from.micros(),
        until: certificate.until.micros(),
    };
    devices.into_iter().map(move |(device, certificates)| DeviceEntry {
        id: device.identity().into(),
        certificates: certificates.into_iter().map(entry).collect(),
    })
}
