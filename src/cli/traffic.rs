//! Publishes what a fleet says at a steady pace, on a connection for each squad.
//!
//! A pace that cannot be kept is not caught up with later: messages that were not due in time are never made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::fleet::{Message, Squad};
use crate::broker::publisher::Publisher;
use crate::broker::trouble::Trouble;
use crate::clock;
use crate::config::broker::BrokerConfig;

/// How often messages go out: short enough to look steady, long enough to share writes.
const TICK: Duration = Duration::from_millis(50);

/// The most unanswered messages of one connection.
const WINDOW: u16 = 500;

/// How often the hasty device bursts out.
const OUTBURST_EVERY: Duration = Duration::from_secs(10);

/// What has been published so far, by all squads.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    published: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

/// One squad and its connection.
pub struct Crew {
    squad: Squad,
    publisher: Publisher,
    per_second: f64,
    tally: Tally,
    counted: crate::broker::publisher::Tally,
}

// === impl Tally ===

impl Tally {
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
}

// === impl Crew ===

impl Crew {
    /// Connects under a client id made of the settings' and a number.
    pub async fn connect(
        broker: &BrokerConfig,
        number: usize,
        squad: Squad,
        per_second: f64,
        tally: Tally,
    ) -> Result<Self, Trouble> {
        let config = BrokerConfig { client_id: format!("{}-fleet-{number}", broker.client_id), ..broker.clone() };
        let publisher = Publisher::connect(&config, WINDOW).await?;
        Ok(Self { squad, publisher, per_second, tally, counted: crate::broker::publisher::Tally::default() })
    }

    /// Publishes until told to stop; then everything it has published is answered. What ends it earlier goes to `troubles`.
    pub async fn work(mut self, stop: CancellationToken, troubles: mpsc::Sender<Trouble>) {
        let worked = match self.publish_until(&stop).await {
            Ok(()) => self.publisher.close().await,
            Err(trouble) => Err(trouble),
        };
        if let Err(trouble) = worked {
            // One is enough to end the demonstration; it is heard or another was.
            let _ = troubles.try_send(trouble);
        }
    }

    async fn publish_until(&mut self, stop: &CancellationToken) -> Result<(), Trouble> {
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
            if now >= outburst {
                outburst += OUTBURST_EVERY;
                for message in self.squad.outbursts(clock::now()) {
                    self.publish(message).await?;
                }
            }
            while due >= 1.0 {
                due -= 1.0;
                let Some(message) = self.squad.next(clock::now()) else { break };
                self.publish(message).await?;
            }
            self.count().await?;
        }
    }

    async fn publish(&mut self, message: Message) -> Result<(), Trouble> {
        self.tally.0.published.fetch_add(1, Ordering::Relaxed);
        self.publisher.publish(&message.topic, message.payload).await
    }

    /// Waits for the answers and adds them to the common tally.
    async fn count(&mut self) -> Result<(), Trouble> {
        let all = self.publisher.drain().await?;
        self.tally.0.acknowledged.fetch_add(all.acknowledged - self.counted.acknowledged, Ordering::Relaxed);
        self.tally.0.refused.fetch_add(all.refused - self.counted.refused, Ordering::Relaxed);
        self.counted = all;
        Ok(())
    }
}
