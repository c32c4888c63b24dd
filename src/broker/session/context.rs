//! What all connections of the session share, and what CONNECT hands to the loop of one connection.
//!
//! Data only: nothing here connects or reads.

use super::read_pacing::ReadPacing;
use crate::broker::login::Renewal;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::packets::{ConnAck, Incoming};
use crate::config::sections::broker::BrokerConfig;
use crate::domain::time::Clock;
use crate::lifecycle::Readiness;
use crate::lifecycle::draining::DrainDesk;
use crate::telemetry::broker::BrokerMetrics;

/// Name of the session's component in readiness.
pub const COMPONENT: &str = "broker";

/// Values that every connection of the session uses.
pub struct SessionContext {
    /// Settings of the section `broker`.
    pub config: BrokerConfig,
    /// Metrics of the session.
    pub metrics: BrokerMetrics,
    /// Health reported on `/readyz`.
    pub readiness: Readiness,
    /// Source of receipt times.
    pub clock: Clock,
    /// Pause between two reads of the socket.
    pub pacing: ReadPacing,
    /// Whether to leave the share group.
    pub drain: DrainDesk,
    /// Whether another replica's session is adopted: the first failure ends it.
    pub is_adopting: bool,
}

/// A connection after CONNACK.
pub(super) struct ConnectedSession {
    pub(super) link: MqttStream,
    pub(super) connack: ConnAck,
    /// Packets that arrived right behind CONNACK.
    pub(super) incoming: Vec<Incoming>,
    /// When and how to replace the login; `None` means never.
    pub(super) renewal: Option<Renewal>,
}
