//! The settings, checked once: nobody downstream validates again.
//!
//! One table names every setting; a wrong one is refused with its name, its value and what is allowed, all at once.
//! Nothing here connects anywhere: whether a host answers is for those who call it.

pub mod load;
pub mod secret;
pub mod sections;
pub mod setting;
pub mod table;
mod template;

use serde::Serialize;

pub use load::error::{ConfigError, ConfigErrors};
pub use load::layers::Sources;
use load::merged::Merged;
use load::origin::SettingOrigin;
use load::reader::SettingReader;
pub use template::template;

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The broker.
    pub broker: sections::broker::BrokerConfig,
    /// Postgres.
    pub database: sections::database::DatabaseConfig,
    /// The spine.
    pub ingest: sections::ingest::IngestConfig,
    /// Certificates.
    pub certificates: sections::certificates::CertificatesConfig,
    /// The broker's door.
    pub access: sections::access::AccessConfig,
    /// Listeners.
    pub http: sections::http::HttpConfig,
    /// Guests.
    pub public: sections::public::PublicConfig,
    /// The process.
    pub process: sections::process::ProcessConfig,
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
        let merged = load::layers::merge(sources, &mut errors);
        let mut reader = SettingReader::new(table::all().map(|(_, setting)| setting), &merged, errors);
        let config = Self {
            broker: sections::broker::BrokerConfig::read(&mut reader),
            database: sections::database::DatabaseConfig::read(&mut reader),
            ingest: sections::ingest::IngestConfig::read(&mut reader),
            certificates: sections::certificates::CertificatesConfig::read(&mut reader),
            access: sections::access::AccessConfig::read(&mut reader),
            http: sections::http::HttpConfig::read(&mut reader),
            public: sections::public::PublicConfig::read(&mut reader),
            process: sections::process::ProcessConfig::read(&mut reader),
        };
        load::cross_checks::across(&config, &mut reader);
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
            source: given.map_or(SettingOrigin::Default, |given| given.origin.clone()).to_string(),
        }
    };
    table::all().map(row).collect()
}
