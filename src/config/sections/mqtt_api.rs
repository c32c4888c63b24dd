//! Settings of requests over MQTT.

use crate::config::load::reader::SettingReader;
use crate::config::setting::Setting;

/// Settings of requests over MQTT.
#[derive(Clone, Debug)]
pub struct MqttApiConfig {
    /// `DEVICE_API`.
    pub device_api: bool,
    /// `DEVICE_API_RPS`.
    pub device_rps: u32,
    /// `DEVICE_API_BURST`.
    pub device_burst: u32,
}

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::switch(
        "DEVICE_API",
        "0",
        "Whether devices may send requests to tenant/<tenant>/device/<device>/request/<route>. The broker's access rules need \
         the lines of docs/reference/device-api.md.",
    ),
    Setting::whole(
        "DEVICE_API_RPS",
        "1",
        (1, 1000),
        "requests per second",
        "How many requests of one device are answered in the long run.",
    ),
    Setting::whole(
        "DEVICE_API_BURST",
        "10",
        (1, 10_000),
        "requests",
        "How many requests of one device are answered in a burst.",
    ),
];

// === impl MqttApiConfig ===

impl MqttApiConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        Self {
            device_api: reader.switch("DEVICE_API"),
            device_rps: reader.whole("DEVICE_API_RPS"),
            device_burst: reader.whole("DEVICE_API_BURST"),
        }
    }
}
