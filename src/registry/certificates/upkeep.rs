//! Looks after the certificates while time passes: retires those whose grace is over, marks those past their end, counts
//! them, and warns of those that end soon. It also deletes the credentials of guests that have ended.
//!
//! Any number of replicas run it; one does the work of a round. It needs no file of the authority, signs nothing, and
//! tells no broker. What was due while no replica ran is done at the start.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::find;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, MICROS_PER_SECOND, Timestamp};
use crate::store::access::guests;
use crate::store::certificates::expiry::{self, Counts};
use crate::store::certificates::{self, CertificateFilter, CertificateStatus};
use crate::store::connection::database::Database;
use crate::telemetry::certificates::CertificateMetrics;
use crate::telemetry::logs::Repeated;

/// How often it looks: a certificate retires at most this much late in the table, and never late where it is believed.
const PERIOD: Duration = Duration::from_mins(1);
/// The pause after Postgres did not do it.
const AFTER_TROUBLE: Duration = Duration::from_secs(5);
/// The longest a round may take; beyond it the connection is taken for dead.
const ROUND_PATIENCE: Duration = Duration::from_mins(5);
/// How often the same warning is said.
const WARNING_INTERVAL: Duration = Duration::from_hours(12);
/// Certificates a warning names; `sluice cert list --expiring` names them all.
const NAMED: u32 = 5;

/// Looks after the certificates of the registry.
#[derive(Debug)]
pub struct CertificateUpkeep {
    database: Database,
    metrics: CertificateMetrics,
    clock: Clock,
    warning_days: u32,
    ending: Repeated,
    trouble: Repeated,
}

// === impl Keeper ===

impl CertificateUpkeep {
    /// A keeper that warns so many days ahead.
    pub fn new(database: Database, metrics: CertificateMetrics, warning_days: u32, clock: Clock) -> Self {
        let (ending, trouble) = (Repeated::new(WARNING_INTERVAL), Repeated::new(PERIOD));
        let keeper = Self { database, metrics, clock, warning_days, ending, trouble };
        // Known series start at zero.
        keeper.show(&Counts::default());
        keeper
    }

    /// Looks at the start and every minute until told to stop.
    pub async fn keep(mut self, stop: CancellationToken) {
        loop {
            let round = tokio::select! {
                () = stop.cancelled() => return,
                round = timeout(ROUND_PATIENCE, self.round()) => round,
            };
            let pause = match round.unwrap_or_else(|_| Err(Outage("Postgres did not answer in time".into()))) {
                Ok(()) => PERIOD,
                Err(outage) => {
                    self.tell_trouble(&outage);
                    AFTER_TROUBLE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn round(&mut self) -> Result<(), Outage> {
        let pool = self.database.pool();
        let kept = expiry::keep(pool, (self.clock)()).await?;
        if kept.retired > 0 {
            tracing::info!(
                certificates = kept.retired,
                "retired: another has taken their place and their grace is over"
            );
        }
        if kept.expired > 0 {
            tracing::warn!(certificates = kept.expired, "past their end, now EXPIRED");
        }
        let guests = guests::purge(pool).await?;
        if guests > 0 {
            tracing::debug!(guests, "credentials of guests have ended and are deleted");
        }
        let soon = find::days_ahead((self.clock)(), self.warning_days);
        let counts = expiry::count(pool, soon).await?;
        self.show(&counts);
        if counts.ending > 0 && self.ending.ready((self.clock)()).is_some() {
            self.warn_of_ends(counts.ending, soon).await?;
        }
        Ok(())
    }

    fn show(&self, counts: &Counts) {
        for status in CertificateStatus::ALL {
            self.metrics.certificates.with_label_values(&[status.label()]).set(counts.of(status));
        }
        let earliest = counts.earliest_not_after.map_or(0, |end| Timestamp::from(end).micros() / MICROS_PER_SECOND);
        self.metrics.earliest_not_after.set(earliest);
    }

    async fn warn_of_ends(&self, ending: i64, soon: Timestamp) -> Result<(), Outage> {
        let filter = CertificateFilter { ends_before: Some(soon), ..CertificateFilter::default() };
        let first = certificates::list(self.database.pool(), &filter, NAMED)
            .await
            .map_err(|error| Outage(error.to_string()))?;
        let named: Vec<String> = first
            .iter()
            .map(|row| format!("{}/{} at {}", row.tenant_id, row.device_id, Timestamp::from(row.not_after)))
            .collect();
        tracing::warn!(
            certificates = ending,
            first = named.join(", "),
            "certificates end within {} days and nothing has taken their place: `sluice cert list --expiring {}` lists them, \
             `sluice cert rotate` replaces one",
            self.warning_days,
            self.warning_days
        );
        Ok(())
    }

    fn tell_trouble(&mut self, outage: &Outage) {
        if self.trouble.ready((self.clock)()).is_some() {
            tracing::warn!(reason = %outage, "the certificates (and the guests' credentials) could not be looked after; trying again in a few seconds");
        }
    }
}
