//! Adopts the session of a replica that is gone: stores what waits in it, and ends it.
//!
//! The messages take the path of all messages: the checks, the batches, one transaction each, and only
//! then the acknowledgements. It takes no session of a replica that runs, and gives up when that replica
//! is back. Devices get no errors for what it refuses.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::subscription::{ACKS_QUEUE, DELIVERIES_QUEUE};
use crate::broker::session::BrokerSession;
use crate::broker::session::acks::Acks;
use crate::broker::session::subscription::SubscriptionMemory;
use crate::clock;
use crate::config::Config;
use crate::config::sections::broker::BrokerConfig;
use crate::config::sections::ingest::BATCHES_IN_FLIGHT;
use crate::domain::broker_subscription::SessionMemory;
use crate::domain::forwarding::ForwardPlan;
use crate::domain::message::{AckToken, Delivery};
use crate::domain::ports::Outage;
use crate::domain::replica::ReplicaSession;
use crate::domain::time::Clock;
use crate::ingest::authorize::Authorizer;
use crate::ingest::batching::{Gathering, Sizes};
use crate::ingest::changes::Changes;
use crate::ingest::grants::Grants;
use crate::ingest::lanes::Deliveries;
use crate::ingest::retry::Retry;
use crate::ingest::writer::Writer;
use crate::ingest::{Spine, SpineQueues};
use crate::lifecycle::Readiness;
use crate::lifecycle::draining::{DrainDesk, DrainPhase, DrainState};
use crate::registry::replicas::{self, AdoptRefusal};
use crate::store::access::replica_sessions::{self, SessionEnding};
use crate::store::connection::database::Database;
use crate::store::registry::audit::Actor;
use crate::store::registry::change_feed::{self, ChangeSignal};
use crate::telemetry::ingest::IngestMetrics;
use crate::telemetry::metrics::Metrics;

/// Registry changes between the listener and the spine.
const CHANGES_QUEUE: usize = 1024;

/// What an adoption works with.
pub(crate) struct Adopter {
    pub(crate) config: Config,
    pub(crate) database: Database,
    pub(crate) grants: Grants,
    /// Counters of the stored and refused messages.
    pub(crate) ingest: IngestMetrics,
    /// What to forward over links.
    pub(crate) plan: watch::Receiver<Arc<ForwardPlan>>,
    pub(crate) actor: Actor,
}

/// A session that was adopted.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct AdoptedSession {
    /// The replica whose session it was.
    pub(crate) client_id: String,
    /// The messages that waited.
    pub(crate) messages: u64,
    /// Whether the row was removed; a replica that has come back keeps it.
    pub(crate) row_removed: bool,
}

/// Why a session is not, or not wholly, adopted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    /// It may not be adopted.
    #[error(transparent)]
    Refused(#[from] AdoptRefusal),
    /// It was begun and given up. What is not acknowledged waits at the broker.
    #[error("the adoption of {client_id} was given up after {messages} messages: {why}")]
    GivenUp {
        /// The replica.
        client_id: String,
        /// The messages that were stored.
        messages: u64,
        /// The cause.
        why: String,
    },
    /// The metrics of the adoption cannot be made: a defect.
    #[error("{0}")]
    Metrics(String),
}

// === impl Adopter ===

impl Adopter {
    /// Adopts the session of `client_id`, at most until `stop`. `desk` shows how far it is.
    pub(crate) async fn adopt(
        &self,
        client_id: &str,
        desk: &DrainDesk,
        stop: &CancellationToken,
    ) -> Result<AdoptedSession, AdoptError> {
        replicas::find_orphan(&self.database, &self.config, client_id).await?;
        let lock = replica_sessions::lock_adoption(&self.database, client_id).await;
        let lock = lock.map_err(AdoptRefusal::from)?;
        let _lock = lock.ok_or_else(|| AdoptRefusal::Busy(client_id.to_owned()))?;
        // Another replica may have adopted it before this one had the lock.
        let orphan = replicas::find_orphan(&self.database, &self.config, client_id).await?;
        desk.order(self.actor.as_str());
        Box::pin(self.take_in(&orphan, desk, stop)).await?;
        let DrainState { phase, taken: messages, .. } = desk.state();
        let client_id = client_id.to_owned();
        if let DrainPhase::GivenUp(why) = phase {
            return Err(AdoptError::GivenUp { client_id, messages, why });
        }
        if phase != DrainPhase::SessionEnded {
            let why = "it was stopped, or nothing was stored for DRAIN_PATIENCE_SECONDS".to_owned();
            return Err(AdoptError::GivenUp { client_id, messages, why });
        }
        match self.forget(&orphan, messages).await {
            Ok(row_removed) => Ok(AdoptedSession { client_id, messages, row_removed }),
            Err(Outage(why)) => {
                let why = format!("the session has ended, and its row was not removed: {why}");
                Err(AdoptError::GivenUp { client_id, messages, why })
            }
        }
    }

    /// Runs a session and a spine of its own until nothing waits, or until the first failure.
    async fn take_in(
        &self,
        orphan: &ReplicaSession,
        desk: &DrainDesk,
        stop: &CancellationToken,
    ) -> Result<(), AdoptError> {
        // Its gauges are not those of this replica's own session.
        let metrics = Metrics::new().map_err(|error| AdoptError::Metrics(error.to_string()))?;
        let (deliveries_in, deliveries) = mpsc::channel(DELIVERIES_QUEUE);
        let (acks_in, acks) = mpsc::channel(ACKS_QUEUE);
        let (changes_in, changes) = broadcast::channel(CHANGES_QUEUE);
        let (_none, from_links) = mpsc::channel(1);
        let (batches_in, batches) = mpsc::channel(BATCHES_IN_FLIGHT as usize);
        let (ends, abandon) = (stop.child_token(), CancellationToken::new());
        let session = self.session(orphan, &metrics, deliveries_in, acks).adopting(desk.clone());
        let patience = self.config.process.shutdown_timeout;
        let follow = change_feed::follow(
            self.database.pool().clone(),
            changes_in,
            ChangeSignal::default(),
            metrics.store.clone(),
            Readiness::default(),
            ends.clone(),
        );
        let (deliveries, changes) = (Deliveries::Whole(deliveries), Changes(changes));
        let queues = SpineQueues { deliveries, from_links, changes, batches: batches_in };
        let spine = self.spine(&metrics, &abandon).run(queues);
        let retrying = retry(&metrics, &abandon);
        let sink = self.database.sink().of_client(&orphan.client_id);
        let writer = Writer::new(sink, Acks(acks_in), retrying, self.ingest.clone(), clock::now);
        let path = async {
            tokio::join!(session.run(ends.clone(), patience), spine, writer.run(batches), follow)
        };
        let ending = async {
            tokio::select! {
                () = ends.cancelled() => {}
                () = is_over(desk, self.config.replica.drain_patience) => ends.cancel(),
            }
            tokio::time::sleep(patience).await;
            abandon.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = path => {}
            () = ending => {}
        }
        Ok(())
    }

    fn session(
        &self,
        orphan: &ReplicaSession,
        metrics: &Metrics,
        deliveries: mpsc::Sender<Vec<Delivery>>,
        acks: mpsc::Receiver<Vec<AckToken>>,
    ) -> BrokerSession {
        let client_id = orphan.client_id.clone();
        let broker = BrokerConfig { client_id, ..self.config.broker.clone() };
        let (subscribed, filters) = (orphan.subscribed.clone(), orphan.filters.clone());
        // Its row is not kept: the session ends.
        let memory = SubscriptionMemory::new(
            SessionMemory { subscribed, filters },
            watch::Sender::default(),
        );
        let time = (self.config.ingest.flush_interval, clock::now as Clock);
        let readiness = Readiness::default();
        BrokerSession::new(
            broker,
            time,
            metrics.broker.clone(),
            readiness,
            memory,
            deliveries,
            acks,
        )
    }

    fn spine(
        &self,
        metrics: &Metrics,
        abandon: &CancellationToken,
    ) -> Spine<crate::store::registry::directory::PgDirectory> {
        let (config, grants) = (&self.config, self.grants.clone());
        let directory = self.database.directory();
        let mut authorizer =
            Authorizer::new(directory, &config.ingest, grants, self.ingest.clone(), clock::now);
        authorizer.forwarding(self.plan.clone());
        let window = usize::from(config.broker.receive_maximum);
        let sizes = Sizes::new(config.ingest.batch_size, window);
        let gathering = Gathering::new(sizes, config.ingest.flush_interval);
        let retrying = retry(metrics, abandon);
        Spine::new(authorizer, gathering, retrying, metrics.broker.clone(), clock::now)
    }

    async fn forget(&self, orphan: &ReplicaSession, messages: u64) -> Result<bool, Outage> {
        let ending = SessionEnding {
            client_id: &orphan.client_id,
            actor: &self.actor,
            action: "replica.adopt",
            messages,
        };
        let after = self.config.replica.orphan_after;
        replica_sessions::forget(self.database.pool(), ending, Some(after)).await
    }
}

// --- private helpers ---

/// Waits for the end of the adoption, or until nothing was stored for `patience`.
async fn is_over(desk: &DrainDesk, patience: Duration) {
    let mut stored = u64::MAX;
    loop {
        let moved =
            |state: &DrainState| !state.is_ordered() || state.has_ended() || state.taken != stored;
        let Ok(state) = timeout(patience, desk.wait_until(moved)).await else { return };
        if !state.is_ordered() || state.has_ended() {
            return;
        }
        stored = state.taken;
    }
}

fn retry(metrics: &Metrics, abandon: &CancellationToken) -> Retry {
    Retry::new("adoption", metrics.store.clone(), Readiness::default(), abandon.clone())
}
