//! The process: how it logs and how long it may take to stop.

use std::time::Duration;

/// The process' settings.
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
    /// For eyes.
    Text,
    /// For programs.
    Json,
}
