//! How the tasks of this wing report their health: as errors, because an operator must act, and
//! with few reminders, because a fault may last until then.
//!
//! It reports nothing itself.

use std::time::Duration;

use crate::lifecycle::Readiness;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};

/// Time between two log lines about a fault that lasts.
const REMINDER: Duration = Duration::from_hours(12);

/// A reporter of `component` in readiness and log.
pub(super) fn reporter(
    component: &'static str,
    readiness: Readiness,
    texts: HealthTexts,
) -> HealthReporter {
    HealthReporter::new(component, readiness, texts).at_error_level().reminding_every(REMINDER)
}
