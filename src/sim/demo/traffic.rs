//! Publishes a fleet's messages at a steady rate: one connection for each device, one task for each
//! group.
//!
//! It does not catch up: messages that were not due in time are never created.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::broker::error::BrokerError;
use crate::broker::tools::fast_publisher::{
    BrokerAnswer, FastPublisher, Note, Packet, PublishOutcome,
};
use crate::clock;
use crate::command::failure::{Exit, Failure};
use crate::sim::fleet::certificates::DeviceCertificate;
use crate::sim::fleet::demo_fleet::DeviceGroupSpec;
use crate::sim::fleet::device::Rights;
use crate::sim::fleet::device_listener::{DeviceListener, device_lost};

/// Interval between two rounds: short enough to look steady, long enough to share writes.
const TICK: Duration = Duration::from_millis(50);

/// Most unanswered messages of one connection.
const WINDOW: u16 = 500;

/// The demo measures no latency of single messages.
const NO_NOTE: Note = [0; 2];

/// Interval between two bursts of the bursting device.
const BURST_EVERY: Duration = Duration::from_secs(10);

/// Counts over all devices since the start.
#[derive(Clone, Debug, Default)]
pub struct TrafficTally(Arc<TrafficCounters>);

#[derive(Debug, Default)]
struct TrafficCounters {
    published: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    own_topic_refused: AtomicU64,
    foreign_topic_accepted: AtomicU64,
    unanswered: AtomicU64,
    disconnected: AtomicU64,
}

/// One device's connection.
pub struct DeviceConnection {
    device: String,
    rights: Rights,
    publisher: FastPublisher,
    answers: Vec<BrokerAnswer>,
    /// Messages accepted since the last [`Self::drain`].
    accepted: u64,
}

/// One group of devices with their connections, by index; `None` means the connection ended.
pub struct DeviceGroup {
    group: DeviceGroupSpec,
    connections: Vec<Option<DeviceConnection>>,
    per_second: f64,
    tally: TrafficTally,
}

// === impl TrafficTally ===

impl TrafficTally {
    /// Messages sent to the broker.
    pub fn published(&self) -> u64 {
        self.0.published.load(Ordering::Relaxed)
    }

    /// Messages the broker acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.0.acknowledged.load(Ordering::Relaxed)
    }

    /// Counts a message that was published and acknowledged beside those of the groups.
    pub fn count_acknowledgement(&self) {
        self.0.published.fetch_add(1, Ordering::Relaxed);
        self.0.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages the broker refused.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Messages the broker refused on a device's own topics although it may publish there.
    pub fn own_topic_refused(&self) -> u64 {
        self.0.own_topic_refused.load(Ordering::Relaxed)
    }

    /// Messages the broker accepted on another device's topics.
    pub fn foreign_topic_accepted(&self) -> u64 {
        self.0.foreign_topic_accepted.load(Ordering::Relaxed)
    }

    /// Messages whose connection ended before their PUBACK: the broker may have accepted them.
    pub fn unanswered(&self) -> u64 {
        self.0.unanswered.load(Ordering::Relaxed)
    }

    /// Devices whose connection the broker ended, without the revoked one.
    pub fn disconnected(&self) -> u64 {
        self.0.disconnected.load(Ordering::Relaxed)
    }
}

// === impl DeviceConnection ===

impl DeviceConnection {
    /// Connects with the device's certificate.
    pub async fn connect(
        listener: &DeviceListener,
        certificate: &DeviceCertificate,
        rights: Rights,
    ) -> Result<Self, Failure> {
        let config = listener.connection(&certificate.device, &certificate.pem);
        let device = certificate.device.to_string();
        let publisher = FastPublisher::connect(&config, WINDOW, true)
            .await
            .map_err(|error| device_lost(&device, &error))?;
        Ok(Self { device, rights, publisher, answers: Vec::new(), accepted: 0 })
    }

    /// Sends the message, or queues it for [`Self::drain`].
    pub async fn publish(
        &mut self,
        message: &mut Packet,
        tally: &TrafficTally,
    ) -> Result<(), BrokerError> {
        while self.publisher.room() == 0 {
            self.publisher.flush().await?;
            self.receive(tally).await?;
        }
        tally.0.published.fetch_add(1, Ordering::Relaxed);
        if self.publisher.push(message, NO_NOTE) { self.publisher.flush().await } else { Ok(()) }
    }

    /// Waits for the PUBACKs and adds them to `tally`; returns how many messages the broker
    /// accepted.
    pub async fn drain(&mut self, tally: &TrafficTally) -> Result<u64, BrokerError> {
        self.publisher.flush().await?;
        while self.publisher.unanswered() > 0 {
            self.receive(tally).await?;
        }
        Ok(std::mem::take(&mut self.accepted))
    }

    /// Changes what a refusal means from now on.
    pub fn set_rights(&mut self, rights: Rights) {
        self.rights = rights;
    }

    /// Counts the unanswered messages of a broken connection.
    pub fn abandon(self, tally: &TrafficTally) {
        tally.0.unanswered.fetch_add(self.publisher.unanswered() as u64, Ordering::Relaxed);
    }

    /// Reads the available PUBACKs, or waits for one, and adds them to `tally`.
    async fn receive(&mut self, tally: &TrafficTally) -> Result<(), BrokerError> {
        let received = self.publisher.receive(&mut self.answers).await;
        let answered = self.answers.len() as u64;
        let is_refusal = |answer: &BrokerAnswer| answer.outcome == PublishOutcome::Refused;
        let refused = self.answers.drain(..).filter(is_refusal).count() as u64;
        let accepted = answered - refused;
        self.accepted += accepted;
        tally.0.acknowledged.fetch_add(accepted, Ordering::Relaxed);
        tally.0.refused.fetch_add(refused, Ordering::Relaxed);
        match self.rights {
            Rights::Own => tally.0.own_topic_refused.fetch_add(refused, Ordering::Relaxed),
            Rights::Foreign => {
                tally.0.foreign_topic_accepted.fetch_add(accepted, Ordering::Relaxed)
            }
            Rights::Unclear => 0,
        };
        received
    }

    /// Sends DISCONNECT.
    pub async fn close(self) -> Result<(), BrokerError> {
        self.publisher.close().await
    }
}

// === impl DeviceGroup ===

impl DeviceGroup {
    /// Connects all devices of the group.
    pub async fn connect(
        listener: &DeviceListener,
        certificates: &HashMap<String, DeviceCertificate>,
        group: DeviceGroupSpec,
        per_second: f64,
        tally: TrafficTally,
    ) -> Result<Self, Failure> {
        let mut connections = Vec::new();
        for device in group.devices() {
            let certificate = certificates.get(&device.device).ok_or_else(|| {
                Failure::new(Exit::Internal, format!("device {} has no certificate", device.device))
            })?;
            let connection = DeviceConnection::connect(listener, certificate, device.rights());
            connections.push(Some(connection.await?));
        }
        Ok(Self { group, connections, per_second, tally })
    }

    /// Publishes until `stop`, then waits for all PUBACKs. Sends an earlier failure to `failures`.
    pub async fn run(mut self, stop: CancellationToken, failures: mpsc::Sender<Failure>) {
        let ended = match self.publish_until(&stop).await {
            Ok(()) => self.close().await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            // The first failure ends the demonstration; a full queue already holds one.
            let _ = failures.try_send(error);
        }
    }

    async fn publish_until(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut due, mut burst) = (Instant::now(), 0.0, Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let now = Instant::now();
            due += self.per_second * (now - last).min(BURST_EVERY / 10).as_secs_f64();
            last = now;
            let mut turns = Vec::new();
            if now >= burst {
                burst += BURST_EVERY;
                turns = self.group.bursts();
            }
            while due >= 1.0 {
                due -= 1.0;
                let Some(next) = self.group.next_turn() else { break };
                turns.push(next);
            }
            self.publish(turns).await?;
        }
    }

    /// Sends the next message of each device in `turns`, then waits for all PUBACKs.
    async fn publish(&mut self, turns: Vec<usize>) -> Result<(), Failure> {
        let mut senders = turns.clone();
        senders.sort_unstable();
        senders.dedup();
        for index in turns {
            let Some(connection) = &mut self.connections[index] else { continue };
            let message = self.group.next_message(index, clock::now());
            let published = connection.publish(message, &self.tally).await;
            self.keep_or_abandon(index, published)?;
        }
        for &index in &senders {
            let Some(connection) = &mut self.connections[index] else { continue };
            let flushed = connection.publisher.flush().await;
            self.keep_or_abandon(index, flushed)?;
        }
        for index in senders {
            let Some(connection) = &mut self.connections[index] else { continue };
            let drained = connection.drain(&self.tally).await.map(drop);
            self.keep_or_abandon(index, drained)?;
        }
        Ok(())
    }

    /// Drops the connection of a device after an error, for example a revocation. Fails when no
    /// connection is left, because then the broker is gone.
    fn keep_or_abandon(
        &mut self,
        index: usize,
        done: Result<(), BrokerError>,
    ) -> Result<(), Failure> {
        let Err(error) = done else { return Ok(()) };
        let Some(connection) = self.connections[index].take() else { return Ok(()) };
        let failure = device_lost(&connection.device, &error);
        connection.abandon(&self.tally);
        self.tally.0.disconnected.fetch_add(1, Ordering::Relaxed);
        if self.connections.iter().any(Option::is_some) { Ok(()) } else { Err(failure) }
    }

    async fn close(self) -> Result<(), Failure> {
        for connection in self.connections.into_iter().flatten() {
            let device = connection.device.clone();
            connection.close().await.map_err(|error| device_lost(&device, &error))?;
        }
        Ok(())
    }
}
