//! Metrics of what devices receive about their refused messages.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Updated by the code that publishes to the topic `errors` of a device.
#[derive(Clone, Debug)]
pub struct DeviceErrorMetrics {
    /// Errors that Mosquitto accepted.
    pub sent: IntCounter,
    /// Refused messages without an error of their own, because of a limit.
    pub suppressed: IntCounter,
    /// Errors that Mosquitto refused, or did not acknowledge before the connection ended.
    pub failed: IntCounter,
}

// === impl DeviceErrorMetrics ===

impl DeviceErrorMetrics {
    /// Creates and registers all of them; each known label starts at zero.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Errors to devices about refused messages, by result. suppressed: a limit let \
                    no error pass. Counted only with DEVICE_ERRORS=1.";
        let results =
            IntCounterVec::new(Opts::new("sluice_device_errors_total", help), &["result"])?;
        registry.register(Box::new(results.clone()))?;
        Ok(Self {
            sent: results.with_label_values(&["sent"]),
            suppressed: results.with_label_values(&["suppressed"]),
            failed: results.with_label_values(&["failed"]),
        })
    }
}
