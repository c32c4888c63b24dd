//! Starts the links to other brokers: the links file, the senders, and their wires to ingest and writer.
//!
//! It connects queues and decides nothing.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::Daemon;
use crate::broker::session::acks::Acks;
use crate::clock;
use crate::domain::forwarding::ForwardPlan;
use crate::domain::message::{AckToken, Delivery};
use crate::domain::ports::Acknowledge;
use crate::lifecycle::Tasks;
use crate::link::file::reloading::LinksReloader;
use crate::link::fleet::{FleetParts, LinkFleet};
use crate::link::receiver::{LINK_QUEUE, ReceiverContext};
use crate::link::sender::wiring::LinkWires;
use crate::link::settings::LinkSet;

/// Ends of the links that the spine uses.
pub(super) struct LinkEnds {
    /// What to forward.
    pub(super) plan: watch::Receiver<Arc<ForwardPlan>>,
    /// Messages that came over links.
    pub(super) deliveries: mpsc::Receiver<Vec<Delivery>>,
    /// Bells and acknowledgements.
    pub(super) wires: LinkWires,
}

/// Acknowledges at the broker that a message came from.
pub(super) struct AllAcks {
    pub(super) session: Acks,
    pub(super) links: LinkWires,
}

// === impl AllAcks ===

impl Acknowledge for AllAcks {
    async fn acknowledge(&self, tokens: Vec<AckToken>) {
        self.session.acknowledge(self.links.acknowledge(tokens)).await;
    }
}

// === impl Daemon ===

impl Daemon {
    /// Starts the links. Without a links file there is one idle task, and an empty plan.
    pub(super) fn start_links(
        &self,
        tasks: &mut Tasks,
        links: watch::Receiver<Arc<LinkSet>>,
    ) -> LinkEnds {
        let reloader = LinksReloader::new(
            self.config.links.path.clone(),
            self.links.clone(),
            self.metrics.links.clone(),
        )
        .reporting_to(self.progress.clone());
        tasks.spawn("links file", reloader.run(self.stop.clone()));
        // Ingest begins before the links do: what it accepts by then must be queued, too.
        let first = Arc::new(links.borrow().plan());
        let (plan_in, plan) = watch::channel(first);
        let (deliveries_in, deliveries) = mpsc::channel(LINK_QUEUE);
        let wires = LinkWires::default();
        let receiver = ReceiverContext {
            node: Arc::from(""),
            deliveries: deliveries_in,
            broker_metrics: self.metrics.broker.clone(),
            metrics: self.metrics.link_ingest.clone(),
            clock: clock::now,
        };
        let fleet = LinkFleet::new(FleetParts {
            database: self.database.clone(),
            replica: self.config.broker.client_id.clone(),
            links,
            plan: plan_in,
            receiver,
            wires: wires.clone(),
            metrics: self.metrics.links.clone(),
            readiness: self.readiness.clone(),
            has_new_link: Arc::clone(&self.has_new_link),
            clock: clock::now,
        });
        tasks.spawn("links", fleet.run(self.stop.clone()));
        LinkEnds { plan, deliveries, wires }
    }
}
