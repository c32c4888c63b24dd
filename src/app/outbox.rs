//! Starts the publisher of commands and documents.

use super::Daemon;
use crate::broker::exchange::Exchange;
use crate::downlink::outbox::OutboxPublisher;
use crate::lifecycle::Tasks;

// === impl Daemon ===

impl Daemon {
    /// Starts the publisher. It lets `exchange` connect only when there is something to publish.
    pub(super) fn start_outbox(&self, tasks: &mut Tasks, exchange: Exchange) {
        let publisher = OutboxPublisher::new(
            self.config.downlink.clone(),
            self.database.clone(),
            exchange,
            self.metrics.downlink.clone(),
            self.readiness.clone(),
        );
        tasks.spawn("outbox", publisher.run(self.stop.clone()));
    }
}
