//! The settings, parsed and checked once: code that gets a [`Config`] validates nothing again.
//!
//! In reading order: [`setting`] defines one setting, and [`table`] lists all of them by area.
//! [`sections`] holds the settings and the type of each area. [`load`] merges the sources, parses
//! each value and checks values against each other. [`secret`] holds a value that is never
//! displayed.
//!
//! All errors are reported at once, each with the name, the value and what is allowed. Nothing here
//! opens a connection: whether a host responds is found by the code that connects.

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
    /// The connection to the broker.
    pub broker: sections::broker::BrokerConfig,
    /// The connection to Postgres, and retention.
    pub database: sections::database::DatabaseConfig,
    /// Ingest: authentication, limits and batches.
    pub ingest: sections::ingest::IngestConfig,
    /// Certificates, the CRL and the broker's access rules.
    pub certificates: sections::certificates::CertificatesConfig,
    /// Access: the policy and the token issuers.
    pub access: sections::access::AccessConfig,
    /// The HTTP listeners.
    pub http: sections::http::HttpConfig,
    /// Public credentials.
    pub public: sections::public::PublicConfig,
    /// Logging and shutdown.
    pub process: sections::process::ProcessConfig,
}

/// The settings, and the source of each.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Each setting as displayed, in the order of the table.
    pub effective: Vec<Effective>,
}

/// One setting as displayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// Its area.
    pub area: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its value, `***` for a secret; `None` means unset.
    pub value: Option<String>,
    /// The source of the value.
    pub source: String,
}

// === impl Config ===

impl Config {
    /// Merges `sources` and checks every setting; the error holds all faults.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let mut errors = Vec::new();
        let merged = load::layers::merge(sources, &mut errors);
        let mut reader =
            SettingReader::new(table::all().map(|(_, setting)| setting), &merged, errors);
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
        load::cross_checks::check(&config, &mut reader);
        let errors = reader.finish();
        if errors.is_empty() {
            Ok(Loaded { config, effective: effective(&merged) })
        } else {
            Err(ConfigErrors(errors))
        }
    }
}

fn effective(merged: &Merged) -> Vec<Effective> {
    let row = |(area, setting): (&table::Area, &setting::Setting)| {
        let given = merged.get(setting.name);
        let value = given.filter(|given| !given.text.is_empty());
        Effective {
            area: area.name,
            name: setting.name,
            value: value.map(|given| {
                if setting.is_secret() { "***".to_owned() } else { given.text.clone() }
            }),
            source: given.map_or(SettingOrigin::Default, |given| given.origin.clone()).to_string(),
        }
    };
    table::all().map(row).collect()
}
