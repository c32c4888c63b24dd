//! The settings, checked once: nobody downstream validates again.

pub mod broker;
pub mod certificates;
pub mod database;
pub mod http;
pub mod ingest;
pub mod process;
pub mod secret;

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The broker.
    pub broker: broker::BrokerConfig,
    /// Postgres.
    pub database: database::DatabaseConfig,
    /// The spine.
    pub ingest: ingest::IngestConfig,
    /// Certificates.
    pub certificates: certificates::CertificatesConfig,
    /// Listeners.
    pub http: http::HttpConfig,
    /// The process.
    pub process: process::ProcessConfig,
}
