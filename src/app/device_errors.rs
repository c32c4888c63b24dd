//! Starts the errors to devices, if `DEVICE_ERRORS` is set.
//!
//! It decides nothing.

use super::Daemon;
use crate::broker::exchange::Exchange;
use crate::downlink::device_errors::{self, ErrorReporter};
use crate::lifecycle::Tasks;

// === impl Daemon ===

impl Daemon {
    /// Starts the task that publishes errors. The writers report refusals to clones of the
    /// returned reporter.
    pub(super) fn start_device_errors(
        &self,
        tasks: &mut Tasks,
        exchange: &Exchange,
    ) -> Option<ErrorReporter> {
        if !self.config.downlink.device_errors {
            return None;
        }
        let (reporter, publisher) = device_errors::device_errors(
            exchange.clone(),
            self.database.directory(),
            &self.metrics.device_errors,
        );
        tasks.spawn("device errors", publisher.run(self.stop.clone()));
        Some(reporter)
    }
}
