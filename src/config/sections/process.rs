//! Settings of the process: logging, and the time limit of a shutdown.

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind, SettingRule};

/// Settings of the process.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// `LOG_LEVEL`, in the syntax of `tracing`'s filter directives.
    pub log_level: String,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `SHUTDOWN_TIMEOUT_SECONDS`.
    pub shutdown_timeout: Duration,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// JSON for programs.
    Json,
}

const LEVEL: SettingKind = SettingKind::Text(SettingRule {
    allowed: "off, error, warn, info, debug or trace, or directives such as info,sluice::broker=debug",
    holds: is_level,
});

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::with_default("LOG_LEVEL", "info", LEVEL, "The lowest level that is logged."),
    Setting::with_default(
        "LOG_FORMAT",
        "text",
        SettingKind::Choice(&["text", "json"]),
        "The form of a log line: text for people, json for programs.",
    ),
    Setting::whole(
        "SHUTDOWN_TIMEOUT_SECONDS",
        "20",
        (1, 600),
        "seconds",
        "The maximum time that a shutdown may take to store and acknowledge the messages in flight.",
    ),
];

// === impl ProcessConfig ===

impl ProcessConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        let json = reader.text("LOG_FORMAT") == "json";
        Self {
            log_level: reader.text("LOG_LEVEL"),
            log_format: if json { LogFormat::Json } else { LogFormat::Text },
            shutdown_timeout: reader.seconds("SHUTDOWN_TIMEOUT_SECONDS"),
        }
    }
}

/// Rejects a bare word that is no level: the filter would read it as a module name and disable all
/// others.
fn is_level(text: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let directive =
        |part: &str| part.contains('=') || levels.contains(&part.to_ascii_lowercase().as_str());
    text.split(',').all(directive) && EnvFilter::builder().parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_level_is_a_level_or_directives_and_no_misspelling() {
        for good in ["info", "TRACE", "off", "warn,sluice=debug", "sluice::broker=trace,error"] {
            assert!(is_level(good), "{good}");
        }
        for bad in ["", "inof", "info,", "sluice", "sluice=loud", "info, debug"] {
            assert!(!is_level(bad), "{bad}");
        }
    }
}
