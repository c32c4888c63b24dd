//! The health of one component: what readiness shows of it, and when the log says that it failed
//! and that it works again.
//!
//! Readiness follows each call. The log gets few lines, however often the component fails: see
//! [`OutageLog`](super::outage_log::OutageLog). It reads no clock: the caller passes the time.

use std::time::{Duration, Instant};

use super::Readiness;
use super::outage_log::OutageLog;

/// The sentences of one component. A failure is logged as `<failed>: <cause>; <action>`.
#[derive(Clone, Copy, Debug)]
pub struct HealthTexts {
    /// What fails: "the write to Postgres failed".
    pub failed: &'static str,
    /// What Sluice does until it works: "retrying".
    pub action: &'static str,
    /// The line at the end: "writes to Postgres succeed again".
    pub recovered: &'static str,
}

/// Reports the health of one component.
#[derive(Clone, Debug)]
pub struct HealthReporter {
    component: &'static str,
    /// `None` for a component whose failure does not make the daemon unready.
    readiness: Option<Readiness>,
    texts: HealthTexts,
    is_error: bool,
    outage: OutageLog,
    /// What readiness shows; `None` before the first report.
    is_well: Option<bool>,
}

// === impl HealthReporter ===

impl HealthReporter {
    /// Reports `component` to readiness and, as warnings, to the log.
    pub fn new(component: &'static str, readiness: Readiness, texts: HealthTexts) -> Self {
        Self { readiness: Some(readiness), ..Self::log_only(component, texts) }
    }

    /// Reports `component` to the log alone.
    pub fn log_only(component: &'static str, texts: HealthTexts) -> Self {
        let outage = OutageLog::default();
        Self { component, readiness: None, texts, is_error: false, outage, is_well: None }
    }

    /// Logs failures as errors: a person has to act.
    #[must_use]
    pub fn at_error_level(mut self) -> Self {
        self.is_error = true;
        self
    }

    /// Repeats a failure that lasts at this interval in the log.
    #[must_use]
    pub fn reminding_every(mut self, interval: Duration) -> Self {
        self.outage = OutageLog::reminding_every(interval);
        self
    }

    /// Records a failure, and logs it if it is new or a reminder is due.
    pub fn failed(&mut self, cause: &str, now: Instant) {
        self.show(format!("{}: {cause}", self.texts.failed));
        let Some(suppressed) = self.outage.failed(cause, now) else { return };
        let (component, HealthTexts { failed, action, .. }) = (self.component, self.texts);
        if self.is_error {
            tracing::error!(component, suppressed, "{failed}: {cause}; {action}");
        } else {
            tracing::warn!(component, suppressed, "{failed}: {cause}; {action}");
        }
    }

    /// Records a success, and logs it if a failure was logged before.
    pub fn worked(&mut self, now: Instant) {
        if self.is_well != Some(true) {
            self.is_well = Some(true);
            if let Some(readiness) = &self.readiness {
                readiness.well(self.component);
            }
        }
        if let Some(failures) = self.outage.worked(now) {
            tracing::info!(component = self.component, failures, "{}", self.texts.recovered);
        }
    }

    /// Shows a sentence in readiness, and logs nothing: for what may still succeed.
    pub fn show(&mut self, sentence: impl Into<String>) {
        self.is_well = Some(false);
        if let Some(readiness) = &self.readiness {
            readiness.unwell(self.component, sentence);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    const TEXTS: HealthTexts = HealthTexts {
        failed: "the write failed",
        action: "retrying",
        recovered: "writes succeed again",
    };

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        /// The lines logged by `work`.
        fn lines(work: impl FnOnce()) -> Vec<String> {
            let captured = Self::default();
            let writer = captured.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .without_time()
                .with_target(false)
                .with_writer(move || writer.clone())
                .finish();
            tracing::subscriber::with_default(subscriber, work);
            let bytes = captured.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap().lines().map(|line| line.trim().to_owned()).collect()
        }
    }

    #[test]
    fn readiness_follows_every_report_and_the_log_every_change() {
        let (readiness, now) = (Readiness::default(), Instant::now());
        readiness.unwell("writer", "not started");
        let mut health = HealthReporter::new("writer", readiness.clone(), TEXTS);
        let lines = Captured::lines(|| {
            health.worked(now);
            assert!(readiness.troubles().is_empty(), "the first report replaces any other");
            health.failed("no answer", now);
            health.failed("no answer", now);
            assert_eq!(readiness.troubles()["writer"], "the write failed: no answer");
            health.failed("disk full", now);
            assert_eq!(readiness.troubles()["writer"], "the write failed: disk full");
            assert_eq!(health.is_well, Some(false));
            health.worked(now);
            health.worked(now);
            assert!(readiness.troubles().is_empty() && health.is_well != Some(false));
        });
        assert_eq!(
            lines,
            [
                "WARN the write failed: no answer; retrying component=\"writer\" suppressed=0",
                "WARN the write failed: disk full; retrying component=\"writer\" suppressed=1",
                "INFO writes succeed again component=\"writer\" failures=3",
            ]
        );
    }

    #[test]
    fn a_shown_sentence_is_not_logged_and_a_reminder_comes_at_its_interval() {
        let (readiness, now) = (Readiness::default(), Instant::now());
        let hour = Duration::from_hours(1);
        let mut health = HealthReporter::new("writer", readiness.clone(), TEXTS)
            .at_error_level()
            .reminding_every(hour);
        let lines = Captured::lines(|| {
            health.show("no answer yet");
            assert_eq!(readiness.troubles()["writer"], "no answer yet");
            for minute in 0..=120 {
                health.failed("full", now + Duration::from_mins(minute));
            }
        });
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines.iter().all(|line| line.starts_with("ERROR the write failed: full; retrying"))
        );
        let mut unseen = HealthReporter::log_only("other", TEXTS);
        unseen.failed("full", now);
        assert!(unseen.is_well == Some(false) && !readiness.troubles().contains_key("other"));
    }
}
