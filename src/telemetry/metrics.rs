//! The registry of all metrics, and their text for Prometheus.

use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};

use super::broker::BrokerMetrics;
use super::broker_acl::BrokerAclMetrics;
use super::cells::CellMetrics;
use super::certificates::CertificateMetrics;
use super::console::ConsoleMetrics;
use super::declare::metrics;
use super::device_errors::DeviceErrorMetrics;
use super::downlink::DownlinkMetrics;
use super::est::EstMetrics;
use super::exchange::ExchangeMetrics;
use super::guests::GuestMetrics;
use super::hooks::HookMetrics;
use super::http::HttpMetrics;
use super::ingest::IngestMetrics;
use super::isolation::IsolationMetrics;
use super::issuer_keys::IssuerKeyMetrics;
use super::link_ingest::LinkIngestMetrics;
use super::links::LinkMetrics;
use super::live::LiveMetrics;
use super::log_writer;
use super::mqtt_api::{MqttApiMetrics, RequestDrop};
use super::plugin::PluginMetrics;
use super::replays::ReplayMetrics;
use super::replicas::ReplicaMetrics;
use super::revocation::RevocationMetrics;
use super::store::StoreMetrics;

metrics! {
    /// Metrics of the log, updated at each scrape.
    pub struct LogMetrics {
        /// Log lines that could not be written because standard error was closed, full or not read.
        lost: IntCounter("sluice_log_lines_lost_total"),
    }
}

/// All metrics of the process.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Metrics of the connection to the broker.
    pub broker: BrokerMetrics,
    /// Metrics of the broker's access rules.
    pub broker_acl: BrokerAclMetrics,
    /// Metrics of the exchange with the broker.
    pub exchange: ExchangeMetrics,
    /// Metrics of the broker's hook requests.
    pub hooks: HookMetrics,
    /// Metrics of ingest.
    pub ingest: IngestMetrics,
    /// Counters of ingest for messages that the API replays.
    pub replay: IngestMetrics,
    /// Metrics of replay jobs.
    pub replays: ReplayMetrics,
    /// Metrics of replicas on one broker.
    pub replicas: ReplicaMetrics,
    /// Metrics of cells and of their registry.
    pub cells: CellMetrics,
    /// Metrics of certificates.
    pub certificates: CertificateMetrics,
    /// Metrics of the console.
    pub console: ConsoleMetrics,
    /// Metrics of revocation.
    pub revocation: RevocationMetrics,
    /// Metrics of the proof that the broker isolates devices.
    pub isolation: IsolationMetrics,
    /// Metrics of the issuers' keys.
    pub issuer_keys: IssuerKeyMetrics,
    /// Counts what comes in over links.
    pub link_ingest: LinkIngestMetrics,
    /// Metrics of what is published to devices.
    pub downlink: DownlinkMetrics,
    /// Metrics of enrolment over Secure Transport.
    pub est: EstMetrics,
    /// Metrics of public credentials.
    pub guests: GuestMetrics,
    /// Metrics of errors to devices.
    pub device_errors: DeviceErrorMetrics,
    /// Metrics of the HTTP listeners.
    pub http: HttpMetrics,
    /// Metrics of the links to other brokers.
    pub links: LinkMetrics,
    /// Metrics of the live tail.
    pub live: LiveMetrics,
    /// Metrics of the log.
    pub logs: LogMetrics,
    /// Metrics of requests over MQTT.
    pub mqtt_api: MqttApiMetrics,
    /// Metrics of the broker's plugin.
    pub plugin: PluginMetrics,
    /// Metrics of Postgres.
    pub store: StoreMetrics,
    registry: Registry,
}

// === impl Metrics ===

impl Metrics {
    /// Creates a registry and registers all metrics in it.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let build = IntGaugeVec::new(
            Opts::new("sluice_build_info", "Always 1; the label is the version."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        let ingest = IngestMetrics::new(&registry)?;
        let mqtt_api = MqttApiMetrics::new(&registry)?;
        let overflowed = mqtt_api.dropped(RequestDrop::Full).clone();
        Ok(Self {
            broker: BrokerMetrics::register(&registry)?,
            broker_acl: BrokerAclMetrics::register(&registry)?,
            exchange: ExchangeMetrics::new(&registry, overflowed)?,
            hooks: HookMetrics::new(&registry)?,
            replay: ingest.for_replay()?,
            replays: ReplayMetrics::register(&registry)?,
            replicas: ReplicaMetrics::register(&registry)?,
            link_ingest: ingest.links.clone(),
            ingest,
            cells: CellMetrics::register(&registry)?,
            certificates: CertificateMetrics::register(&registry)?,
            console: ConsoleMetrics::new(&registry)?,
            revocation: RevocationMetrics::register(&registry)?,
            isolation: IsolationMetrics::new(&registry)?,
            issuer_keys: IssuerKeyMetrics::register(&registry)?,
            downlink: DownlinkMetrics::register(&registry)?,
            est: EstMetrics::new(&registry)?,
            guests: GuestMetrics::register(&registry)?,
            device_errors: DeviceErrorMetrics::new(&registry)?,
            http: HttpMetrics::new(&registry)?,
            links: LinkMetrics::register(&registry)?,
            live: LiveMetrics::register(&registry)?,
            logs: LogMetrics::register(&registry)?,
            mqtt_api,
            plugin: PluginMetrics::register(&registry)?,
            store: StoreMetrics::register(&registry)?,
            registry,
        })
    }

    /// Renders all metrics in the exposition format.
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
            "sluice_certificates_enrolled_total{by=\"est\"} 0",
            "sluice_http_connections{listener=\"hooks\"} 0",
            "sluice_http_connections_evicted_total{listener=\"api\"} 0",
            "sluice_http_connections_timed_out_total{listener=\"public\"} 0",
            "sluice_api_requests_dropped_total{why=\"budget\"} 0",
            "sluice_api_requests_waiting 0",
            "sluice_device_errors_total{result=\"sent\"} 0",
            "sluice_command_delivery_seconds_count 0",
            "sluice_command_answer_seconds_count 0",
            "sluice_outbox_dirty 0",
            "sluice_outbox_oldest_seconds 0",
            "sluice_log_lines_lost_total ",
            "sluice_broker_acl_current 0",
            "sluice_broker_acl_rows 0",
            "sluice_broker_acl_written_total 0",
            "sluice_api_connected 0",
            "sluice_api_outgoing_queue_depth 0",
            "sluice_pushes_refused_total{code=\"0x87\"} 0",
            "sluice_console_logins_total{result=\"refused\"} 0",
            "sluice_console_sessions 0",
            "sluice_build_info{version=",
        ] {
            assert!(text.contains(series), "{series} is missing from\n{text}");
        }
    }
}
