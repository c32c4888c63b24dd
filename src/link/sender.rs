//! Sends over one link what waits in its outbox, and receives from it.
//!
//! One replica sends over a link, by the lock of its connection to Postgres; the others wait. The
//! sender has one task for each lane, and serves their turns at the outbox one after the other. When
//! Postgres does not answer, the lock may be lost: all lanes end at once. It decides nothing about a
//! message that the other broker does not decide, and an outage of that broker ends nothing.
//!
//! In reading order: [`context`] is what senders share, [`lane`] and [`lane_context`] what a lane holds;
//! [`lane_run`] connects, [`serving`] is one connection and [`serving_loop`] its loop; [`looks`] reads the
//! outbox, [`publishing`] sends and [`answers`] takes the answers; [`lane_queue`] with [`refused_in_flight`], [`pace`], [`admission`],
//! [`refused_topics`] with [`topic_fault`], [`endings`] and [`blame`] decide what is sent and when; [`turn`] works on the outbox,
//! [`receiving`] is the incoming half, [`board`] what the lanes report
//! (with [`standing`] and [`lane_counts`]), [`reporting`] stores it with the [`rates`], [`topic_lines`]
//! and [`line_budget`] bound what is logged,
//! [`former_filters`] are subscriptions to end, [`fresh_credentials`] renews those of AWS, and
//! [`wiring`] connects senders with the writer.

mod admission;
mod answers;
mod blame;
pub mod board;
pub mod context;
mod endings;
mod former_filters;
mod fresh_credentials;
mod lane;
mod lane_context;
mod lane_counts;
mod lane_queue;
mod lane_run;
mod line_budget;
mod looks;
mod pace;
mod publishing;
mod rates;
mod receiving;
mod refused_in_flight;
mod refused_topics;
mod reporting;
mod serving;
mod serving_loop;
mod standing;
mod topic_fault;
mod topic_lines;
mod turn;
mod upkeep;
pub mod wiring;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::board::{LaneState, LinkBoard};
use self::context::SenderContext;
use self::former_filters::FormerFilters;
use self::lane::Lane;
use self::lane_context::LaneContext;
use self::receiving::LaneReceiving;
use self::turn::{LaneTurn, LanesOfRows};
use self::upkeep::Upkeep;
use crate::domain::forwarding::LinkRoutes;
use crate::domain::ports::Outage;
use crate::lifecycle::Tasks;
use crate::lifecycle::backoff::Backoff;
use crate::lifecycle::outage_log::OutageLog;
use crate::link::aws::identity::IdentityKeeper;
use crate::link::login::LoginSource;
use crate::link::receiver::LinkReceiver;
use crate::link::settings::LinkSettings;
use crate::store::links::known::forget_lanes;
use crate::store::links::outbox::LinkOutbox;

/// Time between two attempts to become the sender.
const STANDBY_PERIOD: Duration = Duration::from_secs(1);

/// Pauses after an outage of Postgres.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Upper bound for the end of the lanes at the stop: their messages in flight, the last turn, and
/// DISCONNECT.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// Upper bound for removing the reports of a removed link.
const FORGET_PATIENCE: Duration = Duration::from_secs(5);

/// The sender of one link.
#[derive(Debug)]
pub struct LinkSender {
    settings: LinkSettings,
    routes: watch::Receiver<Arc<LinkRoutes>>,
    context: SenderContext,
    board: Arc<LinkBoard>,
    /// The number of the link within the process.
    number: u32,
    outage: OutageLog,
}

// === impl LinkSender ===

impl LinkSender {
    /// A sender that reports on `board`. `routes` are the publish rules of the link as they are now:
    /// a gap is refilled by them.
    pub fn new(
        settings: LinkSettings,
        routes: watch::Receiver<Arc<LinkRoutes>>,
        context: SenderContext,
        board: Arc<LinkBoard>,
        number: u32,
    ) -> Self {
        Self { settings, routes, context, board, number, outage: OutageLog::default() }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !stop.is_cancelled() {
            if let Err(Outage(why)) = self.serve(&stop, &mut pauses).await {
                self.failed(&why);
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = sleep(pauses.next_pause()) => {}
                }
            }
        }
        self.context.wires.disconnect(self.number, &self.settings.name);
        if self.board.is_removed() {
            self.forget().await;
        }
    }

    /// Removes what shows the link; its messages stay.
    async fn forget(&self) {
        let link = &self.settings.name;
        let forgetting = forget_lanes(self.context.database.pool(), link, 0);
        if !matches!(timeout(FORGET_PATIENCE, forgetting).await, Ok(Ok(()))) {
            tracing::debug!(%link, "the reports of the lanes of a removed link stay; they are out of date");
        }
        self.context.metrics.forget(link.as_str());
    }

    fn failed(&mut self, why: &str) {
        let link = &self.settings.name;
        self.board.set_all(LaneState::Connecting);
        if let Some(suppressed) = self.outage.failed(why, Instant::now().into_std()) {
            tracing::warn!(
                %link,
                suppressed,
                "the link {link} cannot read its outbox: {why}; nothing is sent or received over it, retrying"
            );
        }
    }

    /// Waits for the lock, and sends while it is held. `Ok` follows `stop`.
    async fn serve(
        &mut self,
        stop: &CancellationToken,
        pauses: &mut Backoff,
    ) -> Result<(), Outage> {
        let opening = LinkOutbox::open(&self.context.database, self.settings.name.clone());
        let mut outbox = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            opened = opening => opened?,
        };
        while !outbox.claim().await? {
            pauses.reset();
            self.board.set_all(LaneState::Standby);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep(STANDBY_PERIOD) => {}
            }
        }
        pauses.reset();
        self.board.set_all(LaneState::Connecting);
        let routes = Arc::clone(&self.routes.borrow());
        outbox.adopt_lanes(&routes).await?;
        if self.outage.worked(Instant::now().into_std()).is_some() {
            tracing::info!(link = %self.settings.name, "the link {} reads its outbox again", self.settings.name);
        }
        let mut tasks = Tasks::default();
        let former = Arc::new(FormerFilters::note(&mut outbox, &self.settings).await?);
        let turns = self.start_lanes(&mut tasks, &former, stop);
        self.start_reporting(&mut tasks, stop);
        self.serve_turns(&mut outbox, turns, &former, &mut tasks, stop).await?;
        tasks.finish(STOP_PATIENCE).await;
        Ok(())
    }

    fn start_lanes(
        &self,
        tasks: &mut Tasks,
        former: &Arc<FormerFilters>,
        stop: &CancellationToken,
    ) -> mpsc::Receiver<LaneTurn> {
        let SenderContext { metrics, node, wires, clock, receiver, database, .. } = &self.context;
        let lanes = self.settings.lanes.max(1);
        // Each lane has one turn under way, and one more at its end.
        let (turns_in, turns) = mpsc::channel(usize::from(lanes) * 2);
        let identities = IdentityKeeper::of_daemon(database.clone(), self.settings.name.clone());
        let context = Arc::new(LaneContext {
            settings: self.settings.clone(),
            login: LoginSource::new(&self.settings, identities, *clock),
            node: Arc::clone(node),
            metrics: metrics.clone(),
            board: Arc::clone(&self.board),
            clock: *clock,
            link_number: self.number,
            connections: AtomicU32::new(wires.first_connection(self.number)),
        });
        tasks.spawn("link credentials", fresh_credentials::run(Arc::clone(&context), stop.clone()));
        let bells = wires.bells(self.number, &self.settings.name, lanes);
        for (number, bell) in (0..lanes).zip(bells) {
            let receiving = (number == 0 && !self.settings.ingest.is_empty()).then(|| {
                let rules = &self.settings.ingest;
                let receiver =
                    LinkReceiver::new(self.settings.name.clone(), rules, receiver.clone());
                LaneReceiving::new(receiver, wires.connect_acks(self.number), Arc::clone(former))
            });
            let lane = Lane::new(Arc::clone(&context), number, turns_in.clone(), bell, receiving);
            tasks.spawn("link lane", lane.run(stop.clone()));
        }
        turns
    }

    fn start_reporting(&self, tasks: &mut Tasks, stop: &CancellationToken) {
        let reporting = reporting::run(
            Arc::clone(&self.board),
            self.context.database.clone(),
            self.context.replica.clone(),
            stop.clone(),
        );
        tasks.spawn("link report", reporting);
    }

    /// Serves the lanes until all have ended.
    async fn serve_turns(
        &self,
        outbox: &mut LinkOutbox,
        mut turns: mpsc::Receiver<LaneTurn>,
        former: &FormerFilters,
        tasks: &mut Tasks,
        stop: &CancellationToken,
    ) -> Result<(), Outage> {
        let mut gone: HashMap<i16, Vec<i64>> = HashMap::new();
        let mut upkeep = Upkeep::new(&self.settings, &self.context, &self.board);
        loop {
            tokio::select! {
                biased;
                turn = turns.recv() => match turn {
                    Some(turn) => {
                        let gone = gone.remove(&turn.lane).unwrap_or_default();
                        let routes = Arc::clone(&self.routes.borrow());
                        if turn.run(outbox, gone, &routes).await? == LanesOfRows::Changed {
                            self.context.wires.ring_all(&self.settings.name);
                        }
                    }
                    None => return Ok(()),
                },
                ended = tasks.watch(stop), if !stop.is_cancelled() => {
                    if let Some(name) = ended {
                        // A defect: the log has the panic. The other lanes end, and all begin again.
                        return Err(Outage(format!("the task {name} ended")));
                    }
                }
                () = sleep_until(upkeep.due()) => {
                    let routes = Arc::clone(&self.routes.borrow());
                    for (lane, id) in upkeep.run(outbox, &routes).await? {
                        gone.entry(lane).or_default().push(id);
                    }
                    former.store(outbox).await?;
                }
            }
        }
    }
}
