//! Replicas that come and go: who may order a drain, and which sessions are orphaned.
//!
//! It reads rows only: the session with the broker carries out a drain, and the application an adoption.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::domain::ports::Outage;
use crate::domain::replica::{ReplicaSession, ReplicaState, duration_text};
use crate::lifecycle::Readiness;
use crate::lifecycle::draining::DrainDesk;
use crate::store::access::replica_sessions;
use crate::store::connection::database::Database;
use crate::store::registry::audit::Actor;
use crate::telemetry::replicas::ReplicaMetrics;

/// Name of the component in readiness.
const COMPONENT: &str = "replicas";

/// The sessions are read so many times in the time after which one is orphaned.
const LOOKS: u32 = 12;

/// How many names a warning lists.
const NAMES_MAX: usize = 3;

/// Why a drain is not ordered.
#[derive(Debug, thiserror::Error)]
pub enum DrainRefusal {
    /// There is no group to leave.
    #[error(
        "MQTT_SHARE_GROUP is not set: no other replica would receive the messages of the devices, and the broker would drop them; \
         stop this daemon with SIGTERM, and the broker keeps them"
    )]
    NoGroup,
    /// No other member runs.
    #[error(
        "no other replica subscribes to {0} and was seen lately: the broker would drop the messages of the devices; start one \
         first, or stop this daemon with SIGTERM, and the broker keeps them"
    )]
    LastMember(String),
    /// A drain runs.
    #[error("this replica is draining already")]
    Draining,
    /// Another member leaves the group.
    #[error(
        "another replica that subscribes to {0} drains now: order this drain when it has ended"
    )]
    OtherDrains(String),
    /// Postgres did not answer.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Why a session is not adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptRefusal {
    /// There is no row.
    #[error("replica {0} not found: the table broker_sessions has no row with this client id")]
    Unknown(String),
    /// It runs.
    #[error(
        "the replica {client_id} was seen {seen} ago, so it runs: drain it with `sluice drain` on its machine, or stop it and wait \
         until it was not seen for {after}"
    )]
    Running {
        /// Its client id.
        client_id: String,
        /// How long ago it was seen.
        seen: String,
        /// `ORPHAN_AFTER_SECONDS`.
        after: String,
    },
    /// It was no member of a group.
    #[error(
        "the session of {0} is no member of a share group: the other daemons receive the same messages, and Sluice would store \
         them twice; end the session at the broker, and delete its row of broker_sessions"
    )]
    NotShared(String),
    /// No member runs that receives the next messages.
    #[error(
        "no replica subscribes to {0} and was seen lately: without this session the broker would drop the messages of the devices; \
         start a replica first"
    )]
    LastMember(String),
    /// Its session is elsewhere.
    #[error(
        "the session of {client_id} is at the broker {broker}, and MQTT_HOST and MQTT_PORT name {own}: run the command with the \
         settings of that broker"
    )]
    OtherBroker {
        /// Its client id.
        client_id: String,
        /// The broker of the session.
        broker: String,
        /// The broker of the settings.
        own: String,
    },
    /// Another replica does it.
    #[error("another replica adopts the session of {0} now")]
    Busy(String),
    /// Postgres did not answer.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Orders the drain of this replica. `allows_last`: also if no other member runs.
pub async fn order_drain(
    desk: &DrainDesk,
    database: &Database,
    config: &Config,
    actor: &Actor,
    allows_last: bool,
) -> Result<(), DrainRefusal> {
    let broker = &config.broker;
    if broker.share_group.is_none() && !allows_last {
        return Err(DrainRefusal::NoGroup);
    }
    if desk.is_ordered() {
        return Err(DrainRefusal::Draining);
    }
    let is_ordered = if allows_last {
        desk.order(actor.as_str())
    } else {
        let filter = broker.filter();
        // First the right, then the count: two members that leave would count on each other.
        let right = replica_sessions::lock_leaving(database, &filter).await?;
        let right = right.ok_or_else(|| DrainRefusal::OtherDrains(filter.clone()))?;
        let sessions = replica_sessions::list(database.pool(), config.replica.orphan_after).await?;
        let is_other_member = |session: &ReplicaSession| {
            session.client_id != broker.client_id
                && session.state == ReplicaState::Running
                && session.filters.contains(&filter)
        };
        if !sessions.iter().any(is_other_member) {
            return Err(DrainRefusal::LastMember(filter));
        }
        desk.order_with(actor.as_str(), Box::new(right))
    };
    if is_ordered { Ok(()) } else { Err(DrainRefusal::Draining) }
}

/// The session of `client_id`, if it may be adopted from here.
pub async fn find_orphan(
    database: &Database,
    config: &Config,
    client_id: &str,
) -> Result<ReplicaSession, AdoptRefusal> {
    let after = config.replica.orphan_after;
    let sessions = replica_sessions::list(database.pool(), after).await?;
    let session = sessions.iter().find(|session| session.client_id == client_id).cloned();
    let session = session.ok_or_else(|| AdoptRefusal::Unknown(client_id.to_owned()))?;
    let is_member = |other: &ReplicaSession| {
        other.state == ReplicaState::Running
            && other.filters.iter().any(|filter| session.filters.contains(filter))
    };
    let has_member = sessions.iter().any(is_member);
    let (client_id, own) = (session.client_id.clone(), config.broker.address());
    let elsewhere = session.subscribed.as_ref().map(|last| &last.broker);
    match session.state {
        ReplicaState::Running => Err(AdoptRefusal::Running {
            client_id,
            seen: duration_text(session.seen_seconds_ago),
            after: duration_text(after.as_secs_f64()),
        }),
        ReplicaState::Gone => Err(AdoptRefusal::NotShared(client_id)),
        ReplicaState::Orphaned => match elsewhere.filter(|broker| **broker != own) {
            Some(broker) => {
                Err(AdoptRefusal::OtherBroker { client_id, broker: broker.clone(), own })
            }
            None if has_member => Ok(session),
            None => Err(AdoptRefusal::LastMember(session.filters.join(", "))),
        },
    }
}

/// Watches for orphaned sessions.
pub struct OrphanWatch {
    database: Database,
    client_id: String,
    orphan_after: Duration,
    metrics: ReplicaMetrics,
    readiness: Readiness,
    /// Those of the last look.
    found: watch::Sender<Vec<ReplicaSession>>,
    /// Since when every look has had an answer in time.
    steady_since: Option<Instant>,
    last_look: Option<Instant>,
}

// === impl OrphanWatch ===

impl OrphanWatch {
    /// Watches for others than this replica; sends them to `found`.
    pub fn new(
        database: Database,
        config: &Config,
        metrics: ReplicaMetrics,
        readiness: Readiness,
        found: watch::Sender<Vec<ReplicaSession>>,
    ) -> Self {
        let client_id = config.broker.client_id.clone();
        let orphan_after = config.replica.orphan_after;
        Self {
            database,
            client_id,
            orphan_after,
            metrics,
            readiness,
            found,
            steady_since: None,
            last_look: None,
        }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let period = self.orphan_after / LOOKS;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look(period) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(period) => {}
            }
        }
    }

    async fn look(&mut self, period: Duration) {
        let began = Instant::now();
        // A process that was suspended has missed what others noted; so has one without Postgres.
        let was_away = self.last_look.is_some_and(|last| began - last > period * 4);
        let listed = replica_sessions::list(self.database.pool(), self.orphan_after).await;
        self.last_look = Some(Instant::now());
        let Ok(sessions) = listed else {
            self.steady_since = None;
            return;
        };
        if was_away {
            self.steady_since = None;
        }
        // After an outage of Postgres, the replicas need a while to note themselves again.
        let steady_since = *self.steady_since.get_or_insert(began);
        if steady_since.elapsed() >= self.orphan_after / 2 {
            self.report(sessions);
        }
    }

    fn report(&self, sessions: Vec<ReplicaSession>) {
        let is_orphan = |session: &ReplicaSession| {
            session.state == ReplicaState::Orphaned && session.client_id != self.client_id
        };
        let orphans: Vec<_> = sessions.into_iter().filter(is_orphan).collect();
        self.metrics.orphans.set(i64::try_from(orphans.len()).unwrap_or(i64::MAX));
        self.readiness.warn(COMPONENT, warning(&orphans));
        let known = self.found.send_replace(orphans);
        let now = self.found.borrow();
        let is_in = |list: &[ReplicaSession], id: &str| list.iter().any(|one| one.client_id == id);
        for orphan in now.iter().filter(|orphan| !is_in(&known, &orphan.client_id)) {
            tracing::warn!(
                client_id = orphan.client_id,
                "{}; {}",
                orphan.orphan_text(),
                orphan.orphan_advice()
            );
        }
        for former in known.iter().filter(|former| !is_in(&now, &former.client_id)) {
            tracing::info!(client_id = former.client_id, "the session is no longer orphaned");
        }
    }
}

// --- private helpers ---

/// The note of `/readyz`.
fn warning(orphans: &[ReplicaSession]) -> Option<String> {
    match orphans {
        [] => None,
        [one] => Some(format!("{}; {}", one.orphan_text(), one.orphan_advice())),
        several => {
            let names: Vec<_> =
                several.iter().take(NAMES_MAX).map(|one| one.client_id.as_str()).collect();
            let more = if several.len() > NAMES_MAX { " and others" } else { "" };
            Some(format!(
                "{} sessions are orphaned, and their shares of the messages wait at the broker: {}{more}; start these replicas \
                 again, or run `sluice adopt` for each",
                several.len(),
                names.join(", ")
            ))
        }
    }
}
