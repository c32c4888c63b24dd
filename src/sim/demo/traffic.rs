//! Publishes what a fleet says at a steady pace: a connection for each device, a crew for each squad.
//!
//! A pace that cannot be kept is not caught up with later: messages that were not due in time are never made.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::broker::error::BrokerError;
use crate::broker::tools::publisher::{self, MqttPublisher};
use crate::clock;
use crate::command::failure::{Exit, Failure};
use crate::sim::fleet::certificates::DeviceCertificate;
use crate::sim::fleet::demo_fleet::{DemoMessage, DemoPublish, DeviceGroupSpec, Rights};
use crate::sim::fleet::device_listener::{DeviceListener, device_lost};

/// How often messages go out: short enough to look steady, long enough to share writes.
const TICK: Duration = Duration::from_millis(50);

/// The most unanswered messages of one connection.
const WINDOW: u16 = 500;

/// How often the hasty device bursts out.
const OUTBURST_EVERY: Duration = Duration::from_secs(10);

/// What has been published so far, by all devices.
#[derive(Clone, Debug, Default)]
pub struct TrafficTally(Arc<TrafficCounters>);

#[derive(Debug, Default)]
struct TrafficCounters {
    published: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    own_topic_refused: AtomicU64,
    foreign_topic_taken: AtomicU64,
    unanswered: AtomicU64,
    put_out: AtomicU64,
}

/// One device's connection.
pub struct DeviceConnection {
    device: String,
    rights: Rights,
    publisher: MqttPublisher,
    counted: publisher::PublishTally,
}

/// One squad and its connections, by the places of its devices; none: it was ended.
pub struct DeviceGroup {
    squad: DeviceGroupSpec,
    lines: Vec<Option<DeviceConnection>>,
    per_second: f64,
    tally: TrafficTally,
}

// === impl Tally ===

impl TrafficTally {
    /// Messages sent to the broker.
    pub fn published(&self) -> u64 {
        self.0.published.load(Ordering::Relaxed)
    }

    /// Messages the broker took over.
    pub fn acknowledged(&self) -> u64 {
        self.0.acknowledged.load(Ordering::Relaxed)
    }

    /// Messages the broker refused.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Messages on its own topics that the broker refused to a device that may publish there.
    pub fn own_topic_refused(&self) -> u64 {
        self.0.own_topic_refused.load(Ordering::Relaxed)
    }

    /// Messages on another device's topics that the broker took.
    pub fn foreign_topic_taken(&self) -> u64 {
        self.0.foreign_topic_taken.load(Ordering::Relaxed)
    }

    /// Messages whose connection ended before their answer: the broker may have taken them over.
    pub fn unanswered(&self) -> u64 {
        self.0.unanswered.load(Ordering::Relaxed)
    }

    /// Devices whose connection was ended by the other side, the doomed one not among them.
    pub fn put_out(&self) -> u64 {
        self.0.put_out.load(Ordering::Relaxed)
    }
}

// === impl Line ===

impl DeviceConnection {
    /// Connects with the device's certificate.
    pub async fn connect(gate: &DeviceListener, papers: &DeviceCertificate, rights: Rights) -> Result<Self, Failure> {
        let (config, device) = (gate.connection(&papers.device, &papers.pem), papers.device.to_string());
        let publisher =
            MqttPublisher::connect(&config, WINDOW).await.map_err(|trouble| device_lost(&device, &trouble))?;
        Ok(Self { device, rights, publisher, counted: publisher::PublishTally::default() })
    }

    /// Sends it, or puts it behind others that [`Self::settle`] sends.
    pub async fn publish(&mut self, message: DemoMessage, tally: &TrafficTally) -> Result<(), BrokerError> {
        tally.0.published.fetch_add(1, Ordering::Relaxed);
        self.publisher.publish(&message.topic, message.payload).await
    }

    /// Waits for the answers and adds them to the common tally; how many messages the broker took over.
    pub async fn settle(&mut self, tally: &TrafficTally) -> Result<u64, BrokerError> {
        let drained = self.publisher.drain().await;
        let taken = self.count(tally);
        drained.map(|_| taken)
    }

    /// Counts what a connection that broke leaves unanswered.
    pub fn abandon(mut self, tally: &TrafficTally) {
        self.count(tally);
        tally.0.unanswered.fetch_add(self.publisher.unanswered().into(), Ordering::Relaxed);
    }

    fn count(&mut self, tally: &TrafficTally) -> u64 {
        let all = self.publisher.tally();
        let taken = all.acknowledged - self.counted.acknowledged;
        let refused = all.refused - self.counted.refused;
        tally.0.acknowledged.fetch_add(taken, Ordering::Relaxed);
        tally.0.refused.fetch_add(refused, Ordering::Relaxed);
        match self.rights {
            Rights::Own => tally.0.own_topic_refused.fetch_add(refused, Ordering::Relaxed),
            Rights::Foreign => tally.0.foreign_topic_taken.fetch_add(taken, Ordering::Relaxed),
            Rights::Unclear => 0,
        };
        self.counted = all;
        taken
    }

    /// Says goodbye.
    pub async fn close(self) -> Result<(), BrokerError> {
        self.publisher.close().await
    }
}

// === impl Crew ===

impl DeviceGroup {
    /// Connects all devices of the squad.
    pub async fn connect(
        gate: &DeviceListener,
        papers: &HashMap<String, DeviceCertificate>,
        squad: DeviceGroupSpec,
        per_second: f64,
        tally: TrafficTally,
    ) -> Result<Self, Failure> {
        let mut lines = Vec::new();
        for (device, rights) in squad.names().zip(squad.rights()) {
            let missing = || Failure::new(Exit::Internal, format!("device {device} has no certificate"));
            lines.push(Some(DeviceConnection::connect(gate, papers.get(device).ok_or_else(missing)?, rights).await?));
        }
        Ok(Self { squad, lines, per_second, tally })
    }

    /// Publishes until told to stop; then everything it has published is answered. What ends it earlier goes to `troubles`.
    pub async fn work(mut self, stop: CancellationToken, troubles: mpsc::Sender<Failure>) {
        let worked = match self.publish_until(&stop).await {
            Ok(()) => self.close().await,
            Err(trouble) => Err(trouble),
        };
        if let Err(trouble) = worked {
            // One is enough to end the demonstration; it is heard or another was.
            let _ = troubles.try_send(trouble);
        }
    }

    async fn publish_until(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut due, mut outburst) = (Instant::now(), 0.0, Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let now = Instant::now();
            due += self.per_second * (now - last).min(OUTBURST_EVERY / 10).as_secs_f64();
            last = now;
            let mut said = Vec::new();
            if now >= outburst {
                outburst += OUTBURST_EVERY;
                said = self.squad.outbursts(clock::now());
            }
            while due >= 1.0 {
                due -= 1.0;
                let Some(next) = self.squad.next(clock::now()) else { break };
                said.push(next);
            }
            self.publish(said).await?;
        }
    }

    /// Each device sends what it has to say; then all wait for their answers.
    async fn publish(&mut self, said: Vec<DemoPublish>) -> Result<(), Failure> {
        let mut busy: Vec<usize> = said.iter().map(|said| said.by).collect();
        busy.sort_unstable();
        busy.dedup();
        for DemoPublish { by, message } in said {
            let Some(line) = &mut self.lines[by] else { continue };
            let published = line.publish(message, &self.tally).await;
            self.keep_or_abandon(by, published)?;
        }
        for &place in &busy {
            let Some(line) = &mut self.lines[place] else { continue };
            let flushed = line.publisher.flush().await;
            self.keep_or_abandon(place, flushed)?;
        }
        for place in busy {
            let Some(line) = &mut self.lines[place] else { continue };
            let settled = line.settle(&self.tally).await.map(drop);
            self.keep_or_abandon(place, settled)?;
        }
        Ok(())
    }

    /// A device whose connection is ended was put out, say by somebody who revoked it: it alone is silent then. When all of
    /// them are, it is the broker that is gone.
    fn keep_or_abandon(&mut self, place: usize, done: Result<(), BrokerError>) -> Result<(), Failure> {
        let Err(trouble) = done else { return Ok(()) };
        let Some(line) = self.lines[place].take() else { return Ok(()) };
        let failure = device_lost(&line.device, &trouble);
        line.abandon(&self.tally);
        self.tally.0.put_out.fetch_add(1, Ordering::Relaxed);
        if self.lines.iter().any(Option::is_some) { Ok(()) } else { Err(failure) }
    }

    async fn close(self) -> Result<(), Failure> {
        for line in self.lines.into_iter().flatten() {
            let device = line.device.clone();
            line.close().await.map_err(|trouble| device_lost(&device, &trouble))?;
        }
        Ok(())
    }
}
