//! `sluice config`: the commented file, the effective settings, and the faults in them.
//!
//! It reads settings and the links file, and checks that the files they name exist; it opens no
//! connection. The module [`crate::config`] masks the secrets.

use std::io::{self, Write};

use clap::Subcommand;
use serde::Serialize;

use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::config::load::file_checks;
use crate::config::{self, Config, Effective, Sources};
use crate::link::file::{self as links_file, LinksFileError};

/// Print or check the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Print a commented settings file with every setting at its default
    #[command(after_help = "Example:\n  sluice config template > /etc/sluice/sluice.toml")]
    Template,
    /// Print the effective settings and the source of each; secrets are masked
    #[command(after_help = "Example:\n  sluice config show --output json")]
    Show,
    /// Check the settings and the links file, and that the files they name exist
    #[command(
        after_help = "Exit code 0 when the settings are valid, 78 when not; then every fault is printed.\n\n\
            Example:\n  sluice config check --config /etc/sluice/sluice.toml"
    )]
    Check,
}

#[derive(Serialize)]
struct CheckedConfig {
    ok: bool,
    warnings: Vec<String>,
}

/// Runs one subcommand; prints to standard output.
pub fn run(command: ConfigCommand, sources: &Sources, output: OutputFormat) -> Result<(), Failure> {
    if command == ConfigCommand::Template {
        return Ok(io::stdout().write_all(config::template().as_bytes())?);
    }
    let loaded =
        Config::load(sources).map_err(|errors| Failure::new(Exit::Config, errors.to_string()))?;
    if command == ConfigCommand::Show {
        return Ok(table::rows(
            output,
            &["area", "setting", "value", "source"],
            &loaded.effective,
            cells,
        )?);
    }
    let mut faults = file_checks::faults(&loaded.effective);
    let mut warnings = loaded.config.warnings();
    match loaded.config.links.path.as_deref().map(links_file::check) {
        // The setting that names the file has this fault already.
        Some(Err(LinksFileError::Unreadable { .. })) if !faults.is_empty() => {}
        Some(Err(error)) => faults.push(error.to_string()),
        Some(Ok(links)) => warnings.extend(links.warnings.iter().map(ToString::to_string)),
        None => {}
    }
    if !faults.is_empty() {
        return Err(Failure::new(Exit::Config, faults.join("\n")));
    }
    match output {
        OutputFormat::Json => table::json(&CheckedConfig { ok: true, warnings })?,
        OutputFormat::Table => {
            let lines = warnings.iter().map(|warning| format!("warning: {warning}"));
            let lines: Vec<_> = lines.chain(["The settings are valid.".to_owned()]).collect();
            writeln!(io::stdout(), "{}", lines.join("\n"))?;
        }
    }
    Ok(())
}

fn cells(row: &Effective) -> Vec<String> {
    let value = row.value.clone().unwrap_or_else(|| "not set".to_owned());
    vec![row.area.to_owned(), row.name.to_owned(), value, row.source.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(name: &str, value: &str) -> Sources {
        Sources { environment: vec![(name.to_owned(), value.to_owned())], ..Sources::default() }
    }

    #[test]
    fn bad_settings_end_with_the_code_for_configuration_and_name_the_setting() {
        for command in [ConfigCommand::Show, ConfigCommand::Check] {
            let failure =
                run(command, &sources("MQTT_PORT", "no"), OutputFormat::Table).unwrap_err();
            assert_eq!(failure.exit, Exit::Config);
            assert!(
                failure.message.contains("MQTT_PORT = \"no\" (environment)"),
                "{}",
                failure.message
            );
        }
    }

    #[test]
    fn the_template_needs_no_good_settings() {
        assert!(
            run(ConfigCommand::Template, &sources("MQTT_PORT", "no"), OutputFormat::Table).is_ok()
        );
    }

    #[test]
    fn a_secret_is_a_mask_and_what_is_missing_is_not_set() {
        let loaded = Config::load(&sources("ADMIN_TOKEN", "hunter2hunter2")).unwrap();
        let line = |name: &str| {
            cells(loaded.effective.iter().find(|row| row.name == name).unwrap()).join(" ")
        };
        assert_eq!(line("ADMIN_TOKEN"), "http ADMIN_TOKEN *** environment");
        assert_eq!(line("DATABASE_URL"), "database DATABASE_URL not set default");
    }
}
