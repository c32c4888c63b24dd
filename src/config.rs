//! The settings, checked once: nobody downstream validates again.
//!
//! One table names every setting; a wrong one is refused with its name, its value and what is allowed, all at once.
//! Nothing here connects anywhere: whether a host answers is for those who call it.

pub mod access;
pub mod broker;
pub mod broker_acl;
pub mod certificates;
mod checks;
pub mod database;
pub mod error;
mod file;
pub mod files;
pub mod http;
pub mod ingest;
mod issuers;
pub mod layers;
pub mod process;
pub mod public;
mod reader;
pub mod secret;
pub mod setting;
pub mod table;
mod template;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use error::{ConfigError, ConfigErrors};
use layers::Merged;
pub use layers::Sources;
use reader::Reader;
pub use template::template;

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
    /// The broker's door.
    pub access: access::AccessConfig,
    /// Listeners.
    pub http: http::HttpConfig,
    /// Guests.
    pub public: public::PublicConfig,
    /// The process.
    pub process: process::ProcessConfig,
}

/// The settings, and where each came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Each as it may be shown, in the order of the table.
    pub effective: Vec<Effective>,
}

/// One setting as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// Its area.
    pub area: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its value, `***` for a secret; none: not set.
    pub value: Option<String>,
    /// Where the value came from.
    pub source: String,
}

// === impl Config ===

impl Config {
    /// Merges the layers and checks every setting.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let mut errors = Vec::new();
        let merged = layers::merge(sources, &mut errors);
        let mut reader = Reader::new(&merged, errors);
        let config = Self {
            broker: broker::BrokerConfig::read(&mut reader),
            database: database::DatabaseConfig::read(&mut reader),
            ingest: ingest::IngestConfig::read(&mut reader),
            certificates: certificates::CertificatesConfig::read(&mut reader),
            access: access::AccessConfig::read(&mut reader),
            http: http::HttpConfig::read(&mut reader),
            public: public::PublicConfig::read(&mut reader),
            process: process::ProcessConfig::read(&mut reader),
        };
        checks::across(&config, &mut reader);
        let errors = reader.finish();
        if errors.is_empty() { Ok(Loaded { config, effective: effective(&merged) }) } else { Err(ConfigErrors(errors)) }
    }
}

fn effective(merged: &Merged) -> Vec<Effective> {
    let row = |(area, setting): (&table::Area, &setting::Setting)| {
        let given = merged.get(setting.name);
        let value = given.filter(|given| !given.text.is_empty());
        Effective {
            area: area.name,
            name: setting.name,
            value: value.map(|given| if setting.is_secret() { "***".to_owned() } else { given.text.clone() }),
            source: given.map_or(layers::Origin::Default, |given| given.origin.clone()).to_string(),
        }
    };
    table::all().map(row).collect()
}
