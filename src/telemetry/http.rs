//! Metrics of the HTTP listeners.

use prometheus::{IntCounter, IntGauge, Registry};

use super::declare::metrics;

metrics! {
    /// The metrics of all listeners, by listener.
    pub struct ByListener {
        /// Open connections, by listener.
        open: IntGaugeVec("sluice_http_connections", ["listener"]),
        /// Connections closed to make room for a new one, because their listener had its maximum.
        evicted: IntCounterVec("sluice_http_connections_evicted_total", ["listener"]),
        /// Connections closed because the peer sent or read too slowly, or was idle too long.
        timed_out: IntCounterVec("sluice_http_connections_timed_out_total", ["listener"]),
    }
}

/// Updated by the listeners.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    /// `HTTP_BIND`.
    pub api: ListenerMetrics,
    /// `EST_BIND`.
    pub est: ListenerMetrics,
    /// `HOOKS_BIND`.
    pub hooks: ListenerMetrics,
    /// `OPS_BIND`.
    pub ops: ListenerMetrics,
    /// `PUBLIC_BIND`.
    pub public: ListenerMetrics,
}

/// The metrics of one listener.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    /// Connections open.
    pub open: IntGauge,
    /// Connections closed to make room.
    pub evicted: IntCounter,
    /// Connections closed because they were too slow.
    pub timed_out: IntCounter,
}

// === impl HttpMetrics ===

impl HttpMetrics {
    /// Creates and registers all of them; each listener starts at zero.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let all = ByListener::register(registry)?;
        Ok(Self {
            api: all.of("api"),
            est: all.of("est"),
            hooks: all.of("hooks"),
            ops: all.of("ops"),
            public: all.of("public"),
        })
    }
}

// === impl ByListener ===

impl ByListener {
    fn of(&self, listener: &str) -> ListenerMetrics {
        ListenerMetrics {
            open: self.open.with_label_values(&[listener]),
            evicted: self.evicted.with_label_values(&[listener]),
            timed_out: self.timed_out.with_label_values(&[listener]),
        }
    }
}
