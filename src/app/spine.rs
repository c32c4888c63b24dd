//! Starts the path of a message: spine and writer, once for each lane, and the tasks that keep what
//! they cache current.
//!
//! It connects queues and decides nothing.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

use super::Daemon;
use super::links::{AllAcks, LinkEnds};
use super::subscription::Subscription;
use crate::broker::exchange::Exchange;
use crate::broker::session::acks::Acks;
use crate::clock;
use crate::config::sections::ingest::{BATCHES_IN_FLIGHT, IngestConfig};
use crate::domain::forwarding::ForwardPlan;
use crate::domain::message::Delivery;
use crate::domain::ports::{Acknowledge, RefusalReporter};
use crate::domain::quarantine_sampling::SharedSampler;
use crate::domain::registry_change::RegistryChange;
use crate::downlink::device_errors::ErrorReporter;
use crate::ingest::ack_order::ordered;
use crate::ingest::authorize::Authorizer;
use crate::ingest::authorize::rate_limit::Absence;
use crate::ingest::batching::{Gathering, Sizes};
use crate::ingest::changes::Changes;
use crate::ingest::lane_map::LaneMap;
use crate::ingest::lanes::{Deliveries, LaneSplitter};
use crate::ingest::writer::Writer;
use crate::ingest::{Spine, SpineQueues};
use crate::lifecycle::Tasks;
use crate::link::sender::wiring::LinkWires;
use crate::store::access::broker_sessions;
use crate::store::connection::engine::TelemetryLayout;
use crate::store::registry::change_feed;
use crate::store::registry::directory::PgDirectory;

/// The names of the parts of each lane, in logs and in readiness.
static LANES: [LaneNames; 8] = [
    LaneNames { spine: "spine", registry: "registry", writer: "writer" },
    LaneNames { spine: "spine 2", registry: "registry 2", writer: "writer 2" },
    LaneNames { spine: "spine 3", registry: "registry 3", writer: "writer 3" },
    LaneNames { spine: "spine 4", registry: "registry 4", writer: "writer 4" },
    LaneNames { spine: "spine 5", registry: "registry 5", writer: "writer 5" },
    LaneNames { spine: "spine 6", registry: "registry 6", writer: "writer 6" },
    LaneNames { spine: "spine 7", registry: "registry 7", writer: "writer 7" },
    LaneNames { spine: "spine 8", registry: "registry 8", writer: "writer 8" },
];

/// The names of the parts of one lane.
struct LaneNames {
    spine: &'static str,
    registry: &'static str,
    writer: &'static str,
}

/// What all lanes share.
struct LaneParts {
    plan: watch::Receiver<Arc<ForwardPlan>>,
    wires: LinkWires,
    changes: broadcast::Sender<RegistryChange>,
    sampler: SharedSampler,
    reporter: Option<ErrorReporter>,
    absence: Option<Absence>,
}

/// What one lane has of its own.
struct LaneEnds<A> {
    lane: usize,
    names: &'static LaneNames,
    deliveries: Deliveries,
    from_links: Chunks,
    acks: A,
}

/// Messages in chunks.
type Chunks = mpsc::Receiver<Vec<Delivery>>;

// === impl Daemon ===

impl Daemon {
    /// Starts the path of a message, from the broker to the table and back. Each task ends when the
    /// one before it closes its queue; the session is the first to stop reading and the last to
    /// end.
    pub(super) fn start_spine(
        &self,
        tasks: &mut Tasks,
        subscription: Subscription,
        links: LinkEnds,
        exchange: &Exchange,
    ) {
        let Subscription { deliveries, acks, sessions, absence, shards } = subscription;
        let LinkEnds { plan, deliveries: from_links, wires } = links;
        let (changes, first_reader) = (self.changes.clone(), self.changes.subscribe());
        let Self { config, database, stop, .. } = self;

        let keep = broker_sessions::keep(
            database.pool().clone(),
            config.broker.client_id.clone(),
            config.replica.orphan_after,
            self.api.drain.clone(),
            sessions,
            stop.clone(),
        );
        tasks.spawn("broker_sessions", keep);
        tasks.spawn("listen", self.follow_changes(changes.clone()));

        let acks = AllAcks { session: Acks(acks), links: wires.clone() };
        let sampler = SharedSampler::new(config.ingest.quarantine_max_per_minute);
        let reporter = self.start_device_errors(tasks, exchange);
        let parts = LaneParts { plan, wires, changes, sampler, reporter, absence };
        let lanes = LANES.get(..config.ingest.writer_lanes).unwrap_or(&LANES);
        if let [names] = lanes {
            let deliveries = Deliveries::Whole(deliveries);
            self.start_lane(
                tasks,
                &parts,
                LaneEnds { lane: 0, names, deliveries, from_links, acks },
            );
        } else {
            let map = LaneMap::new(lanes.len(), &shards);
            self.start_lanes(tasks, &parts, (map, lanes), (deliveries, from_links), acks);
        }
        // The listener ends without a reader; from here on the lanes are readers.
        drop(first_reader);
    }

    /// Starts several lanes, and the splitter that gives each message to one of them.
    fn start_lanes(
        &self,
        tasks: &mut Tasks,
        parts: &LaneParts,
        (map, names): (LaneMap, &'static [LaneNames]),
        (deliveries, from_links): (Chunks, Chunks),
        acks: AllAcks,
    ) {
        let metrics = &self.metrics.ingest.lanes;
        let (expected, acks) = ordered(acks, map.lanes(), metrics.clone());
        let window = usize::from(self.config.broker.receive_maximum);
        let (splitter, queues) = LaneSplitter::new(map, window, expected, metrics);
        tasks.spawn("lanes", splitter.run(deliveries, from_links));
        for (lane, ((names, queue), acks)) in names.iter().zip(queues).zip(acks).enumerate() {
            let deliveries = Deliveries::Lane(queue);
            // Its queue has the messages of the links, too.
            let (_, from_links) = mpsc::channel(1);
            self.start_lane(tasks, parts, LaneEnds { lane, names, deliveries, from_links, acks });
        }
    }

    /// Starts the spine and the writer of one lane.
    fn start_lane<A: Acknowledge>(&self, tasks: &mut Tasks, parts: &LaneParts, ends: LaneEnds<A>) {
        let Self { config, metrics, database, abandon, .. } = self;
        let LaneEnds { lane, names, deliveries, from_links, acks } = ends;
        let (batches_in, batches) = mpsc::channel(BATCHES_IN_FLIGHT as usize);
        let lanes = config.ingest.writer_lanes;
        let window = usize::from(config.broker.receive_maximum) / lanes;
        let sizes = match database.layout() {
            TelemetryLayout::Distributed => Sizes::of_nodes(config.ingest.batch_size, window),
            _ => Sizes::new(config.ingest.batch_size, window),
        };
        let gathering = Gathering::new(sizes, config.ingest.flush_interval);
        let authorizer = self.authorizer(parts);
        let retry = self.retry(names.registry, abandon);
        let spine = Spine::new(authorizer, gathering, retry, metrics.broker.clone(), clock::now);
        let changes = Changes(parts.changes.subscribe());
        let queues = SpineQueues { deliveries, from_links, changes, batches: batches_in };
        tasks.spawn(names.spine, spine.run(queues));

        let sink = database.sink().of_client(&config.broker.client_id).of_lane(lane);
        let retry = self.retry(names.writer, abandon);
        let reporter = parts.reporter.clone();
        let reporter = reporter.map(|reporter| Box::new(reporter) as Box<dyn RefusalReporter>);
        let writer = Writer::new(sink, acks, retry, metrics.ingest.clone(), clock::now)
            .reporting_to(reporter)
            .waking(Some(Box::new(parts.wires.clone())));
        tasks.spawn(names.writer, writer.run(batches));
    }

    /// The authorizer of one lane.
    fn authorizer(&self, parts: &LaneParts) -> Authorizer<PgDirectory> {
        let Self { config, metrics, database, .. } = self;
        let lanes = config.ingest.writer_lanes;
        let share = config.ingest.cache_max_size.div_ceil(lanes as u64);
        let ingest = IngestConfig { cache_max_size: share, ..config.ingest.clone() };
        let mut authorizer = Authorizer::new(
            database.directory(),
            &ingest,
            self.grants.clone(),
            metrics.ingest.clone(),
            clock::now,
        );
        authorizer.share_limits(parts.sampler.clone(), lanes);
        authorizer.forwarding(parts.plan.clone());
        if let Some(live) = self.api.live_feed() {
            authorizer.show_decisions(live);
        }
        if let Some(absence) = parts.absence {
            authorizer.record_absence(absence);
        }
        if parts.reporter.is_some() {
            authorizer.list_refused();
        }
        authorizer
    }

    fn follow_changes(
        &self,
        changes: broadcast::Sender<RegistryChange>,
    ) -> impl Future<Output = ()> + use<> {
        change_feed::follow(
            self.database.pool().clone(),
            changes,
            self.signal.clone(),
            self.metrics.store.clone(),
            self.readiness.clone(),
            self.stop.clone(),
        )
    }
}
