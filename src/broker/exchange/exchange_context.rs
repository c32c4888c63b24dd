//! What all connections of the exchange share, and what CONNECT hands to the loop of one connection.
//!
//! Data only: nothing here connects or reads.

use super::ExchangeEnds;
use super::refusals::Refusals;
use super::request_queue::RequestQueue;
use super::subscriptions::ExchangeSubscriptions;
use crate::broker::login::Renewal;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::packets::{ConnAck, Incoming};
use crate::config::sections::broker::BrokerConfig;
use crate::domain::time::Clock;
use crate::lifecycle::Readiness;
use crate::lifecycle::health_reporter::HealthReporter;
use crate::telemetry::exchange::ExchangeMetrics;

/// Values that every connection of the exchange uses.
pub(super) struct ExchangeContext {
    pub(super) config: BrokerConfig,
    pub(super) subscriptions: ExchangeSubscriptions,
    pub(super) metrics: ExchangeMetrics,
    pub(super) readiness: Readiness,
    pub(super) clock: Clock,
}

/// State that outlives a connection.
pub(super) struct ExchangeLasting<'a> {
    pub(super) ends: &'a mut ExchangeEnds,
    pub(super) requests: &'a mut RequestQueue,
    pub(super) refusals: &'a mut Refusals,
    pub(super) health: &'a mut HealthReporter,
}

/// A connection after CONNACK.
pub(super) struct OpenExchange {
    pub(super) link: MqttStream,
    pub(super) connack: ConnAck,
    /// Packets that arrived right behind CONNACK.
    pub(super) incoming: Vec<Incoming>,
    /// When and how to replace the login; `None` means never.
    pub(super) renewal: Option<Renewal>,
}
