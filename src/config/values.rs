//! The checked settings as one value.
//!
//! It reads nothing: [`super::load`] fills it.

use super::sections;

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The connection to the broker.
    pub broker: sections::broker::BrokerConfig,
    /// The connection to Postgres, and retention.
    pub database: sections::database::DatabaseConfig,
    /// Ingest: authentication, limits and batches.
    pub ingest: sections::ingest::IngestConfig,
    /// What Sluice publishes to devices.
    pub downlink: sections::downlink::DownlinkConfig,
    /// Requests over MQTT.
    pub mqtt_api: sections::mqtt_api::MqttApiConfig,
    /// Links to other brokers and clouds.
    pub links: sections::links::LinksConfig,
    /// Certificates, the CRL and the broker's access rules.
    pub certificates: sections::certificates::CertificatesConfig,
    /// Access: the policy and the token issuers.
    pub access: sections::access::AccessConfig,
    /// The broker's plugin, and the proofs of publishers.
    pub plugin: sections::plugin::PluginConfig,
    /// The HTTP listeners.
    pub http: sections::http::HttpConfig,
    /// The console.
    pub console: sections::console::ConsoleConfig,
    /// Enrolment over Secure Transport.
    pub est: sections::est::EstConfig,
    /// Public credentials.
    pub public: sections::public::PublicConfig,
    /// Replicas on one broker.
    pub replica: sections::replica::ReplicaConfig,
    /// Logging and shutdown.
    pub process: sections::process::ProcessConfig,
}
