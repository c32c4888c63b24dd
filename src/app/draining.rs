//! Starts what carries out a drain and watches the other replicas: the order by SIGUSR1, the patience,
//! the end of the daemon, the watch for orphaned sessions, and their adoption.
//!
//! The session with the broker drains; this only follows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::Daemon;
use super::adoption::{AdoptError, Adopter};
use crate::domain::forwarding::ForwardPlan;
use crate::domain::replica::ReplicaSession;
use crate::ingest::grants::Grants;
use crate::lifecycle::Tasks;
use crate::lifecycle::draining::{DrainDesk, DrainPhase, DrainState};
use crate::registry::replicas::{self, AdoptRefusal, OrphanWatch};
use crate::store::registry::audit::Actor;
use crate::telemetry::broker::BrokerMetrics;
use crate::telemetry::replicas::ReplicaMetrics;

/// Name of the component in readiness.
const COMPONENT: &str = "drain";

/// After a drain, the API answers for so long: who ordered it reads the end.
const LINGER: Duration = Duration::from_secs(1);

/// A session is adopted by itself only after so many times `ORPHAN_AFTER_SECONDS`: until then its
/// replica may start again.
const ADOPT_AFTER: u32 = 5;

/// After an adoption that was given up, so many times `ORPHAN_AFTER_SECONDS` pass until the next.
const LEFT_ALONE: u32 = 10;

/// The actor of an adoption that no person ordered.
const OWN_ACTOR: &str = "daemon";

/// Adopts orphaned sessions one after the other.
struct OrphanAdopter {
    adopter: Adopter,
    drain: DrainDesk,
    metrics: ReplicaMetrics,
    broker_metrics: BrokerMetrics,
    /// Sessions whose adoption was given up, with its time.
    left_alone: BTreeMap<String, Instant>,
}

// === impl Daemon ===

impl Daemon {
    /// Starts the task that follows a drain, which the API or `signal` orders.
    pub(super) fn start_draining(&self, tasks: &mut Tasks, signal: Arc<Notify>) {
        let (desk, stop) = (self.api.drain.clone(), self.stop.clone());
        let (readiness, gauge) = (self.readiness.clone(), self.metrics.replicas.draining.clone());
        let (database, config) = (self.database.clone(), self.config.clone());
        let follow = async move {
            loop {
                tokio::select! {
                    () = signal.notified() => {
                        let actor = Actor::new("signal:USR1");
                        let ordered =
                            replicas::order_drain(&desk, &database, &config, &actor, false).await;
                        if let Err(refusal) = ordered {
                            tracing::error!("SIGUSR1 orders a drain, which is refused: {refusal}");
                            continue;
                        }
                    }
                    _ = desk.wait_until(DrainState::is_ordered) => {}
                }
                readiness.unwell(COMPONENT, "draining: other replicas receive the messages");
                gauge.set(1);
                tracing::info!(
                    actor = desk.state().actor,
                    "a drain is ordered: Sluice leaves the share group, and stores what waits for it"
                );
                let why = await_end(&desk, config.replica.drain_patience).await;
                let Some(why) = why else { return std::future::pending().await };
                // A signal during the drain orders no second one.
                tokio::select! {
                    biased;
                    () = signal.notified() => {}
                    () = std::future::ready(()) => {}
                }
                tracing::warn!("the drain is given up: {why}; this replica is a member as before");
                readiness.well(COMPONENT);
                gauge.set(0);
            }
        };
        tasks.spawn("drain", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = follow => {}
            }
        });
    }

    /// Resolves when this replica is drained, and who ordered it has had time to read that.
    pub(super) async fn drained(&self) {
        let state = self.api.drain.wait_until(|state| state.phase == DrainPhase::Done).await;
        tracing::info!(
            messages = state.taken,
            actor = state.actor,
            "drained: nothing of this replica waits at the broker; the daemon ends"
        );
        sleep(LINGER).await;
    }

    /// Starts the watch for orphaned sessions, and with `ADOPT_ORPHANS` their adoption.
    pub(super) fn start_orphan_watch(
        &self,
        tasks: &mut Tasks,
        plan: watch::Receiver<Arc<ForwardPlan>>,
    ) {
        let (found_in, found) = watch::channel(Vec::new());
        let (metrics, readiness) = (self.metrics.replicas.clone(), self.readiness.clone());
        let watch = OrphanWatch::new(
            self.database.clone(),
            &self.config,
            metrics.clone(),
            readiness,
            found_in,
        );
        tasks.spawn("orphans", watch.run(self.stop.clone()));
        if !self.config.replica.adopts_orphans {
            return;
        }
        let adopter = Adopter {
            config: self.config.clone(),
            database: self.database.clone(),
            // Of its own: only the lanes that own the queues of `last_seen_at` may use theirs.
            grants: Grants::new(&self.config.ingest),
            ingest: self.metrics.ingest.clone(),
            plan,
            actor: Actor::new(&format!("{OWN_ACTOR}:{}", self.config.broker.client_id)),
        };
        let adopter = OrphanAdopter {
            adopter,
            drain: self.api.drain.clone(),
            metrics,
            broker_metrics: self.metrics.broker.clone(),
            left_alone: BTreeMap::new(),
        };
        let stop = self.stop.clone();
        tasks.spawn("adoption", async move { adopter.run(found, &stop).await });
    }
}

/// Waits for the end of a drain, at most for `patience`. `None`: the session has ended; else why the
/// drain is given up.
async fn await_end(desk: &DrainDesk, patience: Duration) -> Option<String> {
    let is_over = |state: &DrainState| !state.is_ordered() || state.has_ended();
    if tokio::time::timeout(patience, desk.wait_until(is_over)).await.is_err() {
        let DrainState { phase, taken, unacknowledged, .. } = desk.state();
        let waits = match phase {
            DrainPhase::Ordered => "the broker did not answer UNSUBSCRIBE".to_owned(),
            _ => format!("{taken} messages are stored, and {unacknowledged} received ones are not"),
        };
        desk.give_up(&format!(
            "it did not end within DRAIN_PATIENCE_SECONDS={}: {waits}",
            patience.as_secs()
        ));
    }
    match desk.state().phase {
        DrainPhase::GivenUp(why) => Some(why),
        _ => None,
    }
}

// === impl OrphanAdopter ===

impl OrphanAdopter {
    async fn run(
        mut self,
        mut found: watch::Receiver<Vec<ReplicaSession>>,
        stop: &tokio_util::sync::CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = found.changed() => if changed.is_err() {
                    // The watch has ended, so the daemon ends.
                    return stop.cancelled().await;
                },
            }
            let orphans = found.borrow_and_update().clone();
            self.left_alone.retain(|id, _| orphans.iter().any(|orphan| orphan.client_id == *id));
            for orphan in orphans {
                if self.is_due(&orphan) && !self.drain.is_ordered() && !stop.is_cancelled() {
                    self.adopt(&orphan.client_id, stop).await;
                }
            }
        }
    }

    /// Whether its replica was away for long, at the same broker, and its adoption did not just fail.
    fn is_due(&self, orphan: &ReplicaSession) -> bool {
        let config = &self.adopter.config;
        let after = config.replica.orphan_after;
        let broker = orphan.subscribed.as_ref().map(|last| last.broker.as_str());
        let is_left_alone = self
            .left_alone
            .get(&orphan.client_id)
            .is_some_and(|since| since.elapsed() < after * LEFT_ALONE);
        orphan.seen_seconds_ago >= (after * ADOPT_AFTER).as_secs_f64()
            && broker == Some(config.broker.address().as_str())
            && !is_left_alone
    }

    async fn adopt(&mut self, client_id: &str, stop: &tokio_util::sync::CancellationToken) {
        tracing::info!(client_id, "adopting the orphaned session (ADOPT_ORPHANS=1)");
        let desk = DrainDesk::default();
        let adopted = self.adopter.adopt(client_id, &desk, stop).await;
        self.broker_metrics.received.inc_by(desk.state().taken);
        match adopted {
            Ok(adopted) => {
                self.metrics.adopted.inc();
                tracing::info!(
                    client_id,
                    messages = adopted.messages,
                    "the orphaned session is adopted: its messages are stored, and it has ended"
                );
            }
            Err(AdoptError::Refused(AdoptRefusal::Busy(_) | AdoptRefusal::Unknown(_))) => {}
            Err(error) => {
                self.left_alone.insert(client_id.to_owned(), Instant::now());
                tracing::warn!(client_id, "{error}; Sluice leaves the session alone for a while");
            }
        }
    }
}
