//! Settings of what Sluice publishes to devices.

use std::time::Duration;

use crate::config::load::reader::SettingReader;
use crate::config::setting::Setting;

/// Settings of what Sluice publishes to devices.
#[derive(Clone, Debug)]
pub struct DownlinkConfig {
    /// `COMMAND_WINDOW`.
    pub command_window: u32,
    /// `COMMAND_TTL_SECONDS`.
    pub command_ttl: Duration,
    /// `COMMAND_RESEND_SECONDS`.
    pub command_resend: Duration,
    /// `COMMAND_ATTEMPTS`.
    pub command_attempts: u32,
    /// `SHADOW_RETAIN`.
    pub shadow_retain: bool,
    /// `SHADOW_MAX_BYTES`.
    pub shadow_max_bytes: usize,
    /// `DEVICE_ERRORS`.
    pub device_errors: bool,
}

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::whole(
        "COMMAND_WINDOW",
        "8",
        (1, 100),
        "commands",
        "How many commands of one device may be published and not yet finished. 1: each command waits for the end of the one \
         before it.",
    ),
    Setting::whole(
        "COMMAND_TTL_SECONDS",
        "3600",
        (10, 2_592_000),
        "seconds",
        "How long a command is valid if its sender names no end.",
    ),
    Setting::whole(
        "COMMAND_RESEND_SECONDS",
        "30",
        (5, 3600),
        "seconds",
        "After this time without an acknowledgement Sluice publishes a command again, if it has received a message of the \
         device since.",
    ),
    Setting::whole(
        "COMMAND_ATTEMPTS",
        "5",
        (1, 100),
        "attempts",
        "How often Sluice publishes one command at most.",
    ),
    Setting::switch(
        "SHADOW_RETAIN",
        "1",
        "Whether the broker retains the desired document of each device. 0: a device that is disconnected at the change has to \
         request it.",
    ),
    Setting::whole(
        "SHADOW_MAX_BYTES",
        "8192",
        (256, 65_536),
        "bytes",
        "The largest desired document.",
    ),
    Setting::switch(
        "DEVICE_ERRORS",
        "0",
        "Whether Sluice publishes to a device why it refused a message: at most one message per minute and reason.",
    ),
];

// === impl DownlinkConfig ===

impl DownlinkConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        Self {
            command_window: reader.whole("COMMAND_WINDOW"),
            command_ttl: reader.seconds("COMMAND_TTL_SECONDS"),
            command_resend: reader.seconds("COMMAND_RESEND_SECONDS"),
            command_attempts: reader.whole("COMMAND_ATTEMPTS"),
            shadow_retain: reader.switch("SHADOW_RETAIN"),
            shadow_max_bytes: reader.whole("SHADOW_MAX_BYTES"),
            device_errors: reader.switch("DEVICE_ERRORS"),
        }
    }
}
