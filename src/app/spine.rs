//! Starts the path of a message: spine and writer, and the tasks that keep what they cache current.
//!
//! It connects queues and decides nothing.

use tokio::sync::mpsc;

use super::Daemon;
use super::links::{AllAcks, LinkEnds};
use super::subscription::Subscription;
use crate::broker::exchange::Exchange;
use crate::broker::session::acks::Acks;
use crate::clock;
use crate::config::sections::ingest::BATCHES_IN_FLIGHT;
use crate::domain::registry_change::RegistryChange;
use crate::ingest::authorize::Authorizer;
use crate::ingest::batching::{Gathering, Sizes};
use crate::ingest::writer::Writer;
use crate::ingest::{Spine, SpineQueues};
use crate::lifecycle::Tasks;
use crate::store::access::broker_sessions;
use crate::store::connection::engine::TelemetryLayout;
use crate::store::registry::change_feed;

/// Registry changes between the listener and the spine. Beyond this, the listener drops everything
/// cached instead.
const CHANGES_QUEUE: usize = 1024;

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
        let Subscription { deliveries, acks, sessions, absence } = subscription;
        let (changes_in, changes) = mpsc::channel(CHANGES_QUEUE);
        let (batches_in, batches) = mpsc::channel(BATCHES_IN_FLIGHT as usize);
        let Self { config, metrics, database, stop, abandon, .. } = self;

        let keep = broker_sessions::keep(
            database.pool().clone(),
            config.broker.client_id.clone(),
            config.replica.orphan_after,
            self.api.drain.clone(),
            sessions,
            stop.clone(),
        );
        tasks.spawn("broker_sessions", keep);
        tasks.spawn("listen", self.follow_changes(changes_in));

        let mut authorizer = Authorizer::new(
            database.directory(),
            &config.ingest,
            self.grants.clone(),
            metrics.ingest.clone(),
            clock::now,
        );
        authorizer.forwarding(links.plan);
        if let Some(live) = self.api.live_feed() {
            authorizer.show_decisions(live);
        }
        if let Some(absence) = absence {
            authorizer.record_absence(absence);
        }
        let reporter = self.start_device_errors(tasks, exchange);
        if reporter.is_some() {
            authorizer.list_refused();
        }
        let receive_maximum = usize::from(config.broker.receive_maximum);
        let sizes = match database.layout() {
            TelemetryLayout::Distributed => {
                Sizes::of_nodes(config.ingest.batch_size, receive_maximum)
            }
            _ => Sizes::new(config.ingest.batch_size, receive_maximum),
        };
        let gathering = Gathering::new(sizes, config.ingest.flush_interval);
        let retry = self.retry("registry", abandon);
        let spine = Spine::new(authorizer, gathering, retry, metrics.broker.clone(), clock::now);
        let from_links = links.deliveries;
        let queues = SpineQueues { deliveries, from_links, changes, batches: batches_in };
        tasks.spawn("spine", spine.run(queues));

        let sink = database.sink().of_client(&config.broker.client_id);
        let retry = self.retry("writer", abandon);
        let acks = AllAcks { session: Acks(acks), links: links.wires.clone() };
        let writer = Writer::new(sink, acks, retry, metrics.ingest.clone(), clock::now)
            .reporting_to(reporter)
            .waking(Some(Box::new(links.wires)));
        tasks.spawn("writer", writer.run(batches));
    }

    fn follow_changes(
        &self,
        changes: mpsc::Sender<RegistryChange>,
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
