//! The senders of all links: they follow the links file.
//!
//! A new link starts, a removed one stops, a changed one begins again; publish rules alone need no new
//! connection. The plan of ingest changes first: a message is queued for every link that it should go
//! to, and for no other. It reads no file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::forwarding::{ForwardPlan, LinkRoutes};
use crate::domain::link::LinkName;
use crate::domain::ports::Outage;
use crate::domain::time::Clock;
use crate::lifecycle::backoff::Backoff;
use crate::lifecycle::outage_log::OutageLog;
use crate::lifecycle::{Readiness, Tasks};
use crate::link::receiver::ReceiverContext;
use crate::link::sender::LinkSender;
use crate::link::sender::board::LinkBoard;
use crate::link::sender::context::SenderContext;
use crate::link::sender::wiring::LinkWires;
use crate::link::settings::{LinkSet, LinkSettings};
use crate::store::connection::database::Database;
use crate::store::links::known::{node, register};
use crate::telemetry::links::LinkMetrics;

/// The component of log and warnings.
const COMPONENT: &str = "links";

/// Time between two updates of the warning.
const WARN_PERIOD: Duration = Duration::from_secs(2);

/// A link whose oldest message has waited for this long is worth a warning.
const OLD_SECONDS: f64 = 60.0;

/// Pauses after an outage of Postgres.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Upper bound of one statement.
const PATIENCE: Duration = Duration::from_secs(10);

/// Upper bound for the end of all senders at the stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What the fleet is built from.
#[derive(Debug)]
pub struct FleetParts {
    /// The database of the outboxes.
    pub database: Database,
    /// The client id of this replica at the local broker.
    pub replica: String,
    /// The links, as the links file has them.
    pub links: watch::Receiver<Arc<LinkSet>>,
    /// Where ingest reads which messages to forward.
    pub plan: watch::Sender<Arc<ForwardPlan>>,
    /// For links with ingest rules; its node is replaced.
    pub receiver: ReceiverContext,
    /// Bells and acknowledgements.
    pub wires: LinkWires,
    /// Metrics of links.
    pub metrics: LinkMetrics,
    /// Shows links whose messages wait.
    pub readiness: Readiness,
    /// Notified when a link is new: the partitions need an index for it.
    pub has_new_link: Arc<Notify>,
    /// The time.
    pub clock: Clock,
}

/// The senders of all links.
#[derive(Debug)]
pub struct LinkFleet {
    parts: FleetParts,
    running: BTreeMap<LinkName, Running>,
    tasks: Tasks,
    /// Senders that were stopped and have not ended.
    ending: usize,
    /// The number of the next link.
    next_number: u32,
    /// The name that the running senders have for this installation.
    node: Option<Arc<str>>,
    outage: OutageLog,
}

/// A link that runs.
#[derive(Debug)]
struct Running {
    settings: LinkSettings,
    routes: watch::Sender<Arc<LinkRoutes>>,
    board: Arc<LinkBoard>,
    stop: CancellationToken,
    /// Cancelled when the sender has ended, also by a panic.
    ended: CancellationToken,
}

// === impl LinkFleet ===

impl LinkFleet {
    /// No link runs yet.
    pub fn new(parts: FleetParts) -> Self {
        Self {
            parts,
            running: BTreeMap::new(),
            tasks: Tasks::default(),
            ending: 0,
            next_number: 0,
            node: None,
            outage: OutageLog::default(),
        }
    }

    /// Follows the links file until `stop`. An earlier end means that a sender has died.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut warn_at = interval(WARN_PERIOD);
        let mut is_current = false;
        loop {
            if !is_current && !self.reconcile(&stop).await {
                break;
            }
            is_current = true;
            let is_busy = !self.running.is_empty() || self.ending > 0;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                ended = self.tasks.watch(&stop), if is_busy => {
                    // One that was stopped is not in the list any more, and may end meanwhile.
                    let has_died = self.running.values().any(|link| link.ended.is_cancelled());
                    if ended.is_some() && has_died {
                        tracing::error!("the sender of a link ended without a stop");
                        return;
                    }
                    self.ending = self.ending.saturating_sub(1);
                }
                changed = self.parts.links.changed() => match changed {
                    Ok(()) => is_current = false,
                    // Its source ends at the stop.
                    Err(_) => break,
                },
                _ = warn_at.tick() => self.warn(),
            }
        }
        for running in self.running.values() {
            running.stop.cancel();
        }
        self.tasks.finish(STOP_PATIENCE).await;
        self.parts.readiness.warn(COMPONENT, None);
    }

    /// Makes the running senders those of the links file; false: `stop`.
    async fn reconcile(&mut self, stop: &CancellationToken) -> bool {
        let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let links = Arc::clone(&self.parts.links.borrow_and_update());
            let registered = tokio::select! {
                () = stop.cancelled() => return false,
                registered = self.register(&links) => registered,
            };
            match registered {
                Ok(node) => {
                    self.apply(&links, &node);
                    return true;
                }
                Err(Outage(why)) => {
                    self.failed(&why);
                    tokio::select! {
                        () = stop.cancelled() => return false,
                        () = sleep(pauses.next_pause()) => {}
                    }
                }
            }
        }
    }

    /// Registers the links before messages are queued for them; returns the name of this installation.
    async fn register(&self, links: &LinkSet) -> Result<Arc<str>, Outage> {
        if links.links.is_empty() && self.running.is_empty() {
            return Ok(links.node.clone().unwrap_or_default().into());
        }
        let names: Vec<LinkName> = links.links.iter().map(|link| link.name.clone()).collect();
        let pool = self.parts.database.pool();
        let registering = async {
            if register(pool, &names).await? > 0 {
                self.parts.has_new_link.notify_one();
            }
            match &links.node {
                Some(node) => Ok(node.clone()),
                None => node(pool).await,
            }
        };
        let late = |_| Outage("Postgres did not answer in time".to_owned());
        Ok(timeout(PATIENCE, registering).await.map_err(late)??.into())
    }

    fn apply(&mut self, links: &LinkSet, node: &Arc<str>) {
        self.parts.plan.send_replace(Arc::new(links.plan()));
        let is_renamed = self.node.replace(Arc::clone(node)).is_some_and(|known| known != *node);
        let mut running = std::mem::take(&mut self.running);
        for settings in &links.links {
            let routes = Arc::new(settings.routes());
            match running.remove(&settings.name) {
                Some(known) if !is_renamed && known.is_like(settings) => {
                    known.routes.send_replace(routes);
                    let known = Running { settings: settings.clone(), ..known };
                    self.running.insert(settings.name.clone(), known);
                }
                known => {
                    if let Some(known) = known {
                        self.stop(&known);
                        tracing::info!(link = %settings.name, "the link {} has changed; Sluice connects again", settings.name);
                    }
                    self.start(settings, routes, node);
                }
            }
        }
        for (name, removed) in running {
            removed.board.remove();
            self.stop(&removed);
            self.parts.receiver.metrics.remove(&name);
            tracing::info!(link = %name, "the link {name} is no longer in the links file; Sluice stops it, and its messages stay");
        }
    }

    fn start(&mut self, settings: &LinkSettings, routes: Arc<LinkRoutes>, node: &Arc<str>) {
        let FleetParts { database, replica, receiver, wires, metrics, clock, .. } = &self.parts;
        let receiver = ReceiverContext { node: Arc::clone(node), ..receiver.clone() };
        let context = SenderContext {
            database: database.clone(),
            node: Arc::clone(node),
            replica: replica.clone(),
            metrics: metrics.clone(),
            receiver,
            wires: wires.clone(),
            clock: *clock,
        };
        let name = settings.name.clone();
        let board = Arc::new(LinkBoard::new(name.clone(), settings.lanes, metrics.clone(), *clock));
        let (routes_in, routes) = watch::channel(routes);
        let number = self.next_number;
        self.next_number += 1;
        let sender = LinkSender::new(settings.clone(), routes, context, Arc::clone(&board), number);
        let stop = CancellationToken::new();
        let ended = CancellationToken::new();
        let (until, guard) = (stop.clone(), ended.clone().drop_guard());
        self.tasks.spawn("link", async move {
            let _ends_with_the_task = guard;
            sender.run(until).await;
        });
        let running = Running { settings: settings.clone(), routes: routes_in, board, stop, ended };
        self.running.insert(name, running);
    }

    fn stop(&mut self, running: &Running) {
        running.board.retire();
        running.stop.cancel();
        self.ending += 1;
    }

    fn failed(&mut self, why: &str) {
        let now = tokio::time::Instant::now().into_std();
        if let Some(suppressed) = self.outage.failed(why, now) {
            tracing::warn!(
                suppressed,
                "the links file cannot be applied: {why}; the links stay as they are, retrying"
            );
        }
    }

    /// Warns on the readiness endpoint of links whose messages wait.
    fn warn(&self) {
        let mut sentences = Vec::new();
        for (name, running) in &self.running {
            let waited = running.board.oldest_seconds();
            if waited > OLD_SECONDS {
                let worst = running.board.worst();
                let detail = worst.and_then(|standing| standing.detail).unwrap_or_default();
                let colon = if detail.is_empty() { "" } else { ": " };
                sentences.push(format!(
                    "link {name}: the oldest message has waited for {waited:.0} s{colon}{detail}"
                ));
            }
        }
        let warning = (!sentences.is_empty()).then(|| sentences.join("; "));
        self.parts.readiness.warn(COMPONENT, warning);
    }
}

// === impl Running ===

impl Running {
    /// Whether these settings need no new connection: only the publish rules may differ.
    fn is_like(&self, settings: &LinkSettings) -> bool {
        let without =
            |settings: &LinkSettings| LinkSettings { publish: Vec::new(), ..settings.clone() };
        without(&self.settings) == without(settings)
    }
}
