//! Upkeep of the certificates over time: retires those whose grace period ended, marks expired
//! ones, counts them, and warns before they end: in the log, and by notices to the devices. It also
//! fills in hashes of keys, and deletes expired guest credentials.
//!
//! Every replica runs it; one does the work of a round. It opens no authority, signs nothing and
//! notifies no broker. The first round does what was due while no replica ran.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{find, public_keys};
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, MICROS_PER_SECOND, Timestamp};
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::store::access::guests;
use crate::store::cells::membership;
use crate::store::certificates::CertificateStatus;
use crate::store::certificates::expiry::{self, Counts, UpkeepReport};
use crate::store::certificates::inventory::{self, CertificateFilter};
use crate::store::connection::database::Database;
use crate::store::downlink::notices::{self, NoticeTerms};
use crate::telemetry::certificates::{CertificateMetrics, RenewedBy};
use crate::telemetry::logs::Repeated;

/// Time between two rounds. The row of a certificate changes at most this late; checks of its
/// validity use the exact time.
const PERIOD: Duration = Duration::from_mins(1);
/// Pause after a failed round.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Longest duration of a round; beyond it the connection is treated as dead.
const ROUND_TIMEOUT: Duration = Duration::from_mins(5);
/// The name of the task in the log, and its sentences.
const COMPONENT: &str = "certificates";
const HEALTH: HealthTexts = HealthTexts {
    failed: "maintenance of certificates and guest credentials failed",
    action: "Sluice retries every few seconds",
    recovered: "maintenance of certificates and guest credentials works again",
};
/// Time between two equal warnings.
const WARNING_INTERVAL: Duration = Duration::from_hours(12);
/// Certificates that a warning names; `sluice cert list --expiring` lists all.
const MAX_NAMED: u32 = 5;

/// Statements of one round that write notices; the next round continues.
const MAX_NOTICE_STEPS: usize = 10;

/// Whether devices get notices of certificates that end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notices {
    /// No; written ones are withdrawn.
    Off,
    /// Yes.
    On,
    /// Yes, with the topic for the renewal.
    WithRenewTopic,
}

/// Runs the upkeep of the certificates in the registry.
#[derive(Debug)]
pub struct CertificateUpkeep {
    database: Database,
    metrics: CertificateMetrics,
    clock: Clock,
    warning_days: u32,
    notices: Notices,
    ending: Repeated,
    health: HealthReporter,
}

// === impl CertificateUpkeep ===

impl CertificateUpkeep {
    /// Warns `warning_days` before a certificate ends.
    pub fn new(
        database: Database,
        metrics: CertificateMetrics,
        warning_days: u32,
        notices: Notices,
        clock: Clock,
    ) -> Self {
        let ending = Repeated::new(WARNING_INTERVAL);
        let health = HealthReporter::log_only(COMPONENT, HEALTH);
        let upkeep = Self { database, metrics, clock, warning_days, notices, ending, health };
        // Known series start at zero.
        upkeep.show(&Counts::default());
        for by in RenewedBy::ALL {
            upkeep.metrics.renewed.with_label_values(&[by.label()]);
        }
        upkeep
    }

    /// Runs a round at the start and every `PERIOD` until `stop` is cancelled.
    pub async fn keep(mut self, stop: CancellationToken) {
        loop {
            let round = tokio::select! {
                () = stop.cancelled() => return,
                round = timeout(ROUND_TIMEOUT, self.round()) => round,
            };
            let pause = match round
                .unwrap_or_else(|_| Err(Outage("Postgres did not answer in time".into())))
            {
                Ok(()) => {
                    self.health.worked(Instant::now().into_std());
                    PERIOD
                }
                Err(Outage(why)) => {
                    self.health.failed(&why, Instant::now().into_std());
                    RETRY_PAUSE
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
        // A cell has a copy: the Sluice at the registry changes the rows.
        let is_cell = membership::membership(pool).await?.is_some();
        let changed = if is_cell {
            UpkeepReport::default()
        } else {
            expiry::keep(pool, (self.clock)()).await?
        };
        if changed.retired > 0 {
            tracing::info!(
                certificates = changed.retired,
                "certificates were retired: their grace period has ended"
            );
        }
        if changed.expired > 0 {
            tracing::warn!(
                certificates = changed.expired,
                "certificates have expired; their \
                status is EXPIRED now"
            );
        }
        let guests = guests::purge(pool).await?;
        if guests > 0 {
            tracing::debug!(guests, "expired guest credentials were deleted");
        }
        let soon = find::days_ahead((self.clock)(), self.warning_days);
        let counts = expiry::count(pool, soon).await?;
        self.show(&counts);
        self.keep_notices(soon, is_cell).await?;
        let filled = if is_cell { 0 } else { public_keys::fill(&self.database).await? };
        if filled > 0 {
            tracing::info!(certificates = filled, "hashes of public keys were filled in");
        }
        if counts.ending > 0 && self.ending.ready((self.clock)()).is_some() {
            self.warn_of_ends(counts.ending, soon).await?;
        }
        Ok(())
    }

    /// Writes and withdraws the notices to devices.
    async fn keep_notices(&self, soon: Timestamp, is_cell: bool) -> Result<(), Outage> {
        let (pool, now) = (self.database.pool(), (self.clock)());
        let ending_before = (self.notices != Notices::Off).then_some(soon);
        // A cell cannot renew.
        let with_renew_topic = self.notices == Notices::WithRenewTopic && !is_cell;
        for _ in 0..MAX_NOTICE_STEPS {
            if notices::withdraw(pool, now, ending_before).await? < notices::ROWS_AT_ONCE {
                break;
            }
        }
        let Some(ending_before) = ending_before else { return Ok(()) };
        let terms = NoticeTerms { now, ending_before, with_renew_topic };
        let mut written = 0;
        for _ in 0..MAX_NOTICE_STEPS {
            let step = notices::write(pool, terms).await?;
            written += step;
            if step < notices::ROWS_AT_ONCE {
                break;
            }
        }
        if written > 0 {
            tracing::info!(
                devices = written,
                "notices of certificates that expire were written; the outbox publishes them"
            );
        }
        Ok(())
    }

    fn show(&self, counts: &Counts) {
        for status in CertificateStatus::ALL {
            self.metrics.certificates.with_label_values(&[status.label()]).set(counts.of(status));
        }
        let earliest = counts
            .earliest_not_after
            .map_or(0, |end| Timestamp::from(end).micros() / MICROS_PER_SECOND);
        self.metrics.earliest_not_after.set(earliest);
    }

    async fn warn_of_ends(&self, ending: i64, soon: Timestamp) -> Result<(), Outage> {
        let filter = CertificateFilter { ends_before: Some(soon), ..CertificateFilter::default() };
        let first = inventory::list(self.database.pool(), &filter, MAX_NAMED)
            .await
            .map_err(|error| Outage(error.to_string()))?;
        let named: Vec<String> = first
            .iter()
            .map(|row| {
                format!("{}/{} at {}", row.tenant_id, row.device_id, Timestamp::from(row.not_after))
            })
            .collect();
        tracing::warn!(
            certificates = ending,
            first = named.join(", "),
            "certificates expire within {} days and have no successor: `sluice cert list \
             --expiring {}` lists them, `sluice cert rotate` replaces one",
            self.warning_days,
            self.warning_days
        );
        Ok(())
    }
}
