//! Waits for the steps of one revocation, and reports which were done when and which were not.
//!
//! It only reads: the publisher, on any replica, does the work.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::enforcement::NO_PROBE;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::certificates::revocation_ledger::{self, RevocationProgress, RevocationStep};
use crate::store::connection::database::Database;

/// Time between two reads of the table.
const PERIOD: Duration = Duration::from_millis(200);

/// The first step: the committed row, which every replica enforces.
const ROW: &str = "revoked";

/// A revocation, step by step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RevocationSteps {
    /// The certificate.
    pub certificate_id: Uuid,
    /// Whether the last step is done: the broker is proven to enforce the revocation.
    pub proven: bool,
    /// The step that failed last, or else the first that is not done; null when all are done.
    pub missing: Option<&'static str>,
    /// Why that step failed, if known.
    pub failure: Option<String>,
    /// The number of the CRL that lists the certificate.
    pub crl_number: Option<i64>,
    /// Each step, in order.
    pub links: Vec<StepState>,
}

/// One step of a revocation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepState {
    /// `revoked` (the row is committed), `published` (a CRL lists the certificate), `reloaded` (the
    /// broker was notified), `ended` (the live session has ended), or `proven` (the broker refused
    /// a certificate that only this CRL revokes).
    pub link: &'static str,
    /// When the step was done; null when it is not.
    pub held_at: Option<DateTime<Utc>>,
    /// Seconds between the row and this step.
    pub seconds: Option<f64>,
}

/// Why a revocation is not proven.
#[derive(Debug, thiserror::Error)]
pub enum RevocationFailure {
    /// The certificate is not revoked.
    #[error("certificate {0} is not revoked")]
    NotRevoked(Uuid),
    /// A step was not done in time.
    #[error(
        "the certificate is revoked, but the step `{}` is not done: {}",
        .link.label(),
        explain(.why.as_ref())
    )]
    Link {
        /// The step that was not done.
        link: RevocationStep,
        /// The cause, if known.
        why: Option<String>,
        /// How far the revocation got.
        progress: Box<RevocationProgress>,
    },
    /// Postgres failed.
    #[error("the progress of the revocation cannot be read: {0}")]
    Outage(#[from] Outage),
}

/// Waits until the last step is done. `seen` gets each state that is read.
pub async fn wait_for(
    database: &Database,
    certificate: Uuid,
    patience: Duration,
    mut seen: impl FnMut(&RevocationProgress),
) -> Result<RevocationProgress, RevocationFailure> {
    let deadline = Instant::now() + patience;
    loop {
        let progress = read(database, certificate).await?;
        seen(&progress);
        let Some(link) = missing(&progress) else { return Ok(progress) };
        // Without a probe of the broker no proof will come.
        let unprovable =
            link == RevocationStep::Proven && progress.failure.as_deref() == Some(NO_PROBE);
        if unprovable || Instant::now() >= deadline {
            return Err(RevocationFailure::Link {
                link,
                why: progress.failure.clone(),
                progress: Box::new(progress),
            });
        }
        sleep(PERIOD).await;
    }
}

/// Reads how far the revocation of `certificate` is.
pub async fn read(
    database: &Database,
    certificate: Uuid,
) -> Result<RevocationProgress, RevocationFailure> {
    let found = revocation_ledger::progress(database.pool(), certificate).await?;
    found.ok_or(RevocationFailure::NotRevoked(certificate))
}

/// The step that failed last, or else the first that is not done. `None` means that all are done.
pub fn missing(progress: &RevocationProgress) -> Option<RevocationStep> {
    progress.proven_at.is_none().then(|| {
        let failed = progress.failed_link.as_deref().and_then(RevocationStep::from_label);
        let first =
            || RevocationStep::ALL.into_iter().find(|step| progress.held_at(*step).is_none());
        failed.or_else(first).unwrap_or(RevocationStep::Proven)
    })
}

// === impl RevocationSteps ===

impl From<&RevocationProgress> for RevocationSteps {
    fn from(progress: &RevocationProgress) -> Self {
        let noticed_at = progress.noticed_at;
        let state = |link, held_at: Option<DateTime<Utc>>| {
            let seconds =
                held_at.map(|at| Timestamp::from(at).seconds_since(Timestamp::from(noticed_at)));
            StepState { link, held_at, seconds }
        };
        let row = state(ROW, Some(noticed_at));
        let others =
            RevocationStep::ALL.into_iter().map(|step| state(step.label(), progress.held_at(step)));
        Self {
            certificate_id: progress.certificate_id,
            proven: progress.proven_at.is_some(),
            missing: missing(progress).map(RevocationStep::label),
            failure: progress.failure.clone(),
            crl_number: progress.crl_number,
            links: std::iter::once(row).chain(others).collect(),
        }
    }
}

// --- private helpers ---

fn explain(why: Option<&String>) -> String {
    why.map_or_else(
        || {
            "no daemon reported it in time; check that a daemon runs with DEVICE_CA_CERT_PATH, \
             DEVICE_CA_KEY_PATH and CRL_OUTPUT_PATH, for the authority that issued the certificate"
                .to_owned()
        },
        Clone::clone,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(held: i64, failed: Option<RevocationStep>) -> RevocationProgress {
        let at = |number: i64| {
            Timestamp::from_micros(1_800_000_000_000_000).plus_seconds(number).to_utc()
        };
        let link = |number| (number <= held).then(|| at(number));
        RevocationProgress {
            certificate_id: Uuid::nil(),
            noticed_at: at(0),
            published_at: link(1),
            crl_number: Some(7),
            reloaded_at: link(2),
            ended_at: link(3),
            proven_at: link(4),
            failed_link: failed.map(|link| link.label().to_owned()),
            failure: failed.map(|_| "because".to_owned()),
        }
    }

    #[test]
    fn the_step_that_failed_is_named_or_else_the_first_that_is_not_done() {
        assert_eq!(missing(&progress(0, None)), Some(RevocationStep::Published));
        assert_eq!(missing(&progress(1, None)), Some(RevocationStep::Reloaded));
        assert_eq!(missing(&progress(4, None)), None);
        // The broker was notified and still accepts a revoked certificate.
        assert_eq!(
            missing(&progress(2, Some(RevocationStep::Reloaded))),
            Some(RevocationStep::Reloaded)
        );
        // The broker was not notified and is not probed.
        assert_eq!(
            missing(&progress(1, Some(RevocationStep::Proven))),
            Some(RevocationStep::Proven)
        );
    }

    #[test]
    fn each_step_is_reported_with_its_time() {
        let steps = RevocationSteps::from(&progress(2, None));
        let links: Vec<_> = steps.links.iter().map(|link| (link.link, link.seconds)).collect();
        let expected = [
            ("revoked", Some(0.0)),
            ("published", Some(1.0)),
            ("reloaded", Some(2.0)),
            ("ended", None),
            ("proven", None),
        ];
        assert_eq!(links, expected);
        assert_eq!((steps.proven, steps.missing), (false, Some("ended")));
        assert!(RevocationSteps::from(&progress(4, None)).proven);
    }
}
