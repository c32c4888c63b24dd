//! The metrics registry, and the macro that makes a field's documentation its help text.

use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};

use super::broker::BrokerMetrics;
use super::broker_acl::BrokerAclMetrics;
use super::certificates::CertificateMetrics;
use super::declare::metrics;
use super::guests::GuestMetrics;
use super::hooks::HookMetrics;
use super::http::HttpMetrics;
use super::ingest::IngestMetrics;
use super::isolation::IsolationMetrics;
use super::issuer_keys::IssuerKeyMetrics;
use super::log_writer;
use super::revocation::RevocationMetrics;
use super::store::StoreMetrics;

metrics! {
    /// Of the log; brought up to date whenever the metrics are asked for.
    pub struct LogMetrics {
        /// Log lines that could not be written, because standard error was closed, full, or not read.
        lost: IntCounter("sluice_log_lines_lost_total"),
    }
}

/// All metrics of the process.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The connection to the broker.
    pub broker: BrokerMetrics,
    /// The broker's access rules.
    pub broker_acl: BrokerAclMetrics,
    /// The broker's questions.
    pub door: HookMetrics,
    /// The spine.
    pub ingest: IngestMetrics,
    /// The certificates.
    pub certificates: CertificateMetrics,
    /// The chain of revocation.
    pub revocation: RevocationMetrics,
    /// The proof that the broker isolates devices.
    pub isolation: IsolationMetrics,
    /// The door.
    pub access: IssuerKeyMetrics,
    /// Public credentials.
    pub guests: GuestMetrics,
    /// The listeners.
    pub http: HttpMetrics,
    /// The log.
    pub logs: LogMetrics,
    /// Postgres.
    pub store: StoreMetrics,
    registry: Registry,
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything in a registry of its own.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let build =
            IntGaugeVec::new(Opts::new("sluice_build_info", "Always 1; the labels tell the build."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        Ok(Self {
            broker: BrokerMetrics::register(&registry)?,
            broker_acl: BrokerAclMetrics::register(&registry)?,
            door: HookMetrics::new(&registry)?,
            ingest: IngestMetrics::new(&registry)?,
            certificates: CertificateMetrics::register(&registry)?,
            revocation: RevocationMetrics::register(&registry)?,
            isolation: IsolationMetrics::new(&registry)?,
            access: IssuerKeyMetrics::register(&registry)?,
            guests: GuestMetrics::register(&registry)?,
            http: HttpMetrics::new(&registry)?,
            logs: LogMetrics::register(&registry)?,
            store: StoreMetrics::register(&registry)?,
            registry,
        })
    }

    /// The exposition text.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.logs.lost.inc_by(log_writer::lost().saturating_sub(self.logs.lost.get()));
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_series_is_there_from_the_start() {
        let text = String::from_utf8(Metrics::new().unwrap().render().unwrap()).unwrap();
        for series in [
            "sluice_messages_received_total 0",
            "sluice_messages_total{result=\"stored\"} 0",
            "sluice_messages_total{result=\"duplicate\"} 0",
            "sluice_messages_total{result=\"quarantined\"} 0",
            "sluice_messages_total{result=\"ignored\"} 0",
            "sluice_quarantined_total{reason=\"TOKEN_INVALID\"} 0",
            "sluice_batch_rows_count 0",
            "sluice_batch_write_seconds_count 0",
            "sluice_store_latency_seconds_count 0",
            "sluice_inflight_unacked 0",
            "sluice_queue_depth 0",
            "sluice_auth_cache_hits 0",
            "sluice_auth_cache_misses 0",
            "sluice_auth_cache_entries 0",
            "sluice_auth_invalidations_total 0",
            "sluice_db_up 0",
            "sluice_db_retries_total 0",
            "sluice_mqtt_connected 0",
            "sluice_certificate_earliest_not_after_seconds 0",
            "sluice_mqtt_reconnects_total 0",
            "sluice_crl_enforced 0",
            "sluice_isolation_enforced 0",
            "sluice_isolation_checks_total{result=\"broken\"} 0",
            "sluice_sessions_not_ended 0",
            "sluice_crl_next_update_seconds 0",
            "sluice_revocation_seconds_count 0",
            "sluice_access_decisions_total{hook=\"acl\",result=\"fault\"} 0",
            "sluice_access_seconds_count 0",
            "sluice_access_faults_total 0",
            "sluice_http_connections{listener=\"hooks\"} 0",
            "sluice_http_connections_evicted_total{listener=\"api\"} 0",
            "sluice_http_connections_timed_out_total{listener=\"public\"} 0",
            "sluice_log_lines_lost_total ",
            "sluice_broker_acl_current 0",
            "sluice_broker_acl_rows 0",
            "sluice_broker_acl_written_total 0",
            "sluice_build_info{version=",
        ] {
            assert!(text.contains(series), "{series} is missing from\n{text}");
        }
    }
}
