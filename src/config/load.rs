//! From sources to checked values: [`Config::load`] does all steps.
//!
//! In reading order: [`layers`] reads the sources, with [`mod@file`] for the settings file and
//! files of secrets. `merged` holds the merged texts, with the [`origin`] of each. [`reader`]
//! parses one setting per call. [`cross_checks`] and [`file_checks`] check settings against each
//! other and against the file system, and [`warnings`] finds what is legal but dangerous.
//! [`error`] defines what can be wrong, and [`effective`] is what `config show` displays.
//!
//! All errors are collected and reported at once. Only [`cross_checks`] and [`warnings`] know what
//! a setting is for.

pub(crate) mod cross_checks;
pub(crate) mod effective;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod file_checks;
pub(crate) mod layers;
pub(crate) mod merged;
pub(crate) mod origin;
pub(crate) mod reader;
#[cfg(test)]
pub(super) mod tests;
mod texts;
pub(crate) mod warnings;

use super::values::Config;
use super::{sections, table};
use effective::Effective;
use error::ConfigErrors;
use layers::Sources;
use reader::SettingReader;

/// The settings, and the source of each.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Each setting as displayed, in the order of the table.
    pub effective: Vec<Effective>,
}

// === impl Config ===

impl Config {
    /// Merges `sources` and checks every setting; the error holds all faults.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let mut errors = Vec::new();
        let merged = layers::merge(sources, &mut errors);
        let mut reader =
            SettingReader::new(table::all().map(|(_, setting)| setting), &merged, errors);
        let mut config = Self {
            broker: sections::broker::BrokerConfig::read(&mut reader),
            database: sections::database::DatabaseConfig::read(&mut reader),
            ingest: sections::ingest::IngestConfig::read(&mut reader),
            replica: sections::replica::ReplicaConfig::read(&mut reader),
            downlink: sections::downlink::DownlinkConfig::read(&mut reader),
            mqtt_api: sections::mqtt_api::MqttApiConfig::read(&mut reader),
            links: sections::links::LinksConfig::read(&mut reader),
            certificates: sections::certificates::CertificatesConfig::read(&mut reader),
            access: sections::access::AccessConfig::read(&mut reader),
            plugin: sections::plugin::PluginConfig::read(&mut reader),
            http: sections::http::HttpConfig::read(&mut reader),
            console: sections::console::ConsoleConfig::read(&mut reader),
            est: sections::est::EstConfig::read(&mut reader),
            public: sections::public::PublicConfig::read(&mut reader),
            process: sections::process::ProcessConfig::read(&mut reader),
        };
        config.ingest.proofs = config.plugin.proofs();
        cross_checks::check(&config, &mut reader);
        let errors = reader.finish();
        if errors.is_empty() {
            Ok(Loaded { config, effective: effective::of(&merged) })
        } else {
            Err(ConfigErrors(errors))
        }
    }
}
