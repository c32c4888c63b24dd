//! What the senders of all links share. Data only.

use std::sync::Arc;

use super::wiring::LinkWires;
use crate::domain::time::Clock;
use crate::link::receiver::ReceiverContext;
use crate::store::connection::database::Database;
use crate::telemetry::links::LinkMetrics;

/// What the senders of all links share.
#[derive(Clone, Debug)]
pub struct SenderContext {
    /// The database of the outbox.
    pub database: Database,
    /// The name of this installation.
    pub node: Arc<str>,
    /// The client id of this replica at the local broker.
    pub replica: String,
    /// Metrics of links.
    pub metrics: LinkMetrics,
    /// For links with ingest rules.
    pub receiver: ReceiverContext,
    /// Bells of the lanes, and the way of acknowledgements.
    pub wires: LinkWires,
    /// The time.
    pub clock: Clock,
}
