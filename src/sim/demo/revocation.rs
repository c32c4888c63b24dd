//! Revokes the certificate of one demo device while it publishes, and records when each step takes
//! effect.
//!
//! It revokes as an operator does and observes as the device does; daemon and broker do the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::revocation_report::{RevocationReport, SessionEnd};
use super::traffic::{DeviceConnection, TrafficTally};
use crate::broker::error::BrokerError;
use crate::broker::tools::certificate_probe::ProbeOutcome;
use crate::clock;
use crate::command::context::{CommandContext, outage};
use crate::command::failure::Failure;
use crate::command::registry_errors::not_stored;
use crate::domain::time::Timestamp;
use crate::pki::crl::RevocationReason;
use crate::registry::ActionContext;
use crate::registry::certificates::revoke;
use crate::registry::revocation::progress::{self, RevocationFailure};
use crate::sim::fleet::certificates::{CertificateFolder, DeviceCertificate};
use crate::sim::fleet::demo_fleet::DeviceGroupSpec;
use crate::sim::fleet::device::Rights;
use crate::sim::fleet::device_listener::{DeviceListener, device_lost};
use crate::store::certificates::CertificateStatus;
use crate::store::certificates::inventory::{self, CertificateFilter};
use crate::store::certificates::revocation_ledger::RevocationProgress;
use crate::store::quarantine::filter::QuarantineFilter;
use crate::store::reads::quarantine;

/// Interval between two messages of the device: short enough to date its end.
const PUBLISH_EVERY: Duration = Duration::from_millis(200);

/// Interval between two attempts to reconnect.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Upper bound for all steps; then the revocation is reported as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Upper bound for the quarantine of messages published after the revocation.
const LATE_PATIENCE: Duration = Duration::from_secs(3);

const REASON: RevocationReason = RevocationReason::KeyCompromise;

/// When the device is revoked.
#[derive(Clone, Copy, Debug)]
pub struct RevocationPlan {
    /// Time from the start to the first revocation.
    pub first: Duration,
    /// Time from a revocation to the new certificate, and from there to the next; `None` revokes
    /// once.
    pub again: Option<Duration>,
}

/// Counts reconnects with a revoked certificate, by outcome.
#[derive(Clone, Debug, Default)]
pub struct ConnectAttempts(Arc<RevocationCounters>);

#[derive(Debug, Default)]
struct RevocationCounters {
    refused: AtomicU64,
    accepted: AtomicU64,
}

/// The device to revoke, and what that takes.
pub struct DeviceToRevoke {
    /// Actor and database of the revocation.
    pub operator: CommandContext,
    /// Issues its next certificate.
    pub folder: CertificateFolder,
    /// Its current certificate.
    pub certificate: DeviceCertificate,
    /// The listener it connects to.
    pub listener: DeviceListener,
    /// The device as a group of one.
    pub group: DeviceGroupSpec,
    /// The figures shared by all devices.
    pub tally: TrafficTally,
    /// Counts its reconnects.
    pub attempts: ConnectAttempts,
}

// === impl ConnectAttempts ===

impl ConnectAttempts {
    /// Attempts the broker refused.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Attempts the broker accepted; must stay 0.
    pub fn accepted(&self) -> u64 {
        self.0.accepted.load(Ordering::Relaxed)
    }

    fn count(&self, outcome: &ProbeOutcome) {
        match outcome {
            ProbeOutcome::Admitted => self.0.accepted.fetch_add(1, Ordering::Relaxed),
            ProbeOutcome::Revoked | ProbeOutcome::Refused(_) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed)
            }
            // An unreachable broker says nothing about the certificate.
            ProbeOutcome::Unreachable(_) => 0,
        };
    }
}

// === impl DeviceToRevoke ===

impl DeviceToRevoke {
    /// Publishes, is revoked as planned, and reconnects, until `stop`. A revocation that has begun
    /// completes.
    pub async fn run(
        mut self,
        plan: RevocationPlan,
        stop: CancellationToken,
        reports: mpsc::Sender<Result<RevocationReport, Failure>>,
    ) {
        if let Err(failure) = self.run_rounds(plan, &stop, &reports).await {
            // The receiver is gone only when the demonstration has failed already.
            let _ = reports.send(Err(failure)).await;
        }
        self.operator.database.close().await;
    }

    async fn run_rounds(
        &mut self,
        plan: RevocationPlan,
        stop: &CancellationToken,
        reports: &mpsc::Sender<Result<RevocationReport, Failure>>,
    ) -> Result<(), Failure> {
        let mut span = plan.first;
        while let Some(row) = self.certificate.row {
            // A broker that has not read the rules of a new certificate yet refuses its device.
            let rights = Rights::Unclear;
            let mut connection =
                DeviceConnection::connect(&self.listener, &self.certificate, rights).await?;
            let publishing = publish_for(&mut connection, &mut self.group, &self.tally, span, stop);
            let published = publishing.await;
            if stop.is_cancelled() {
                // A DISCONNECT that fails changes nothing.
                let _ = connection.close().await;
                return Ok(());
            }
            match (published, plan.again) {
                (Ok(()), again) => {
                    let report = self.end(connection, row).await?;
                    let _ = reports.send(Ok(report)).await;
                    self.retry_for(again, stop).await;
                }
                // A person at the console was faster; the device gets a new certificate later.
                (Err(_), Some(again)) => {
                    connection.abandon(&self.tally);
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = sleep(again) => {}
                    }
                }
                (Err(error), None) => {
                    return Err(device_lost(&self.certificate.device.to_string(), &error));
                }
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            let action = action(&self.operator);
            self.certificate = self.folder.reissue(&self.certificate.device, action).await?;
            span = plan.again.unwrap_or(plan.first);
        }
        Ok(())
    }

    /// Revokes the certificate, then watches every step and the device's own connection.
    async fn end(
        &mut self,
        mut connection: DeviceConnection,
        row: Uuid,
    ) -> Result<RevocationReport, Failure> {
        let since = self.revoke_all(row).await?;
        // The rules without the device may reach the broker before Sluice ends the connection.
        connection.set_rights(Rights::Unclear);
        let progress = progress::wait_for(&self.operator.database, row, PATIENCE, |_| ());
        let publishing = publish_until_ended(&mut connection, &mut self.group, &self.tally);
        let (end, outcome) = tokio::join!(publishing, progress);
        connection.abandon(&self.tally);
        let (progress, failure) = split_progress(outcome)?;
        let late_quarantined = self.quarantined(since, end.late).await?;
        let outcome =
            self.listener.try_connect(&self.certificate.device, &self.certificate.pem).await;
        self.attempts.count(&outcome);
        Ok(RevocationReport::new(
            &self.certificate.device,
            REASON.label(),
            progress,
            failure,
            end,
            late_quarantined,
            &outcome,
        ))
    }

    /// Revokes all certificates of the device, the one in use last; returns the time of that
    /// change.
    async fn revoke_all(&self, row: Uuid) -> Result<Timestamp, Failure> {
        let (action, status) = (action(&self.operator), Some(CertificateStatus::Active));
        let filter = CertificateFilter {
            device: Some(self.certificate.device.clone()),
            status,
            ..CertificateFilter::default()
        };
        let held =
            inventory::list(action.database.pool(), &filter, 100).await.map_err(not_stored)?;
        // A certificate whose file was lost would still be accepted.
        for other in held.iter().filter(|one| one.id != row) {
            revoke::revoke(action, other.id, REASON).await.map_err(not_stored)?;
        }
        let revoked = revoke::revoke(action, row, REASON).await.map_err(not_stored)?.certificate;
        Ok(revoked.revoked_at.map_or(action.now, Timestamp::from))
    }

    /// Counts its messages quarantined since `since`; waits up to `LATE_PATIENCE` for `wanted`.
    async fn quarantined(&self, since: Timestamp, wanted: u64) -> Result<i64, Failure> {
        let device = &self.certificate.device;
        let filter = QuarantineFilter {
            tenant: Some(device.tenant().to_string()),
            device: Some(device.device().to_string()),
            since: Some(since),
            ..QuarantineFilter::default()
        };
        let begun = Instant::now();
        loop {
            let found = quarantine::count(self.operator.database.pool(), &filter)
                .await
                .map_err(|error| outage(&error))?;
            if found.unsigned_abs() >= wanted || begun.elapsed() > LATE_PATIENCE {
                return Ok(found);
            }
            sleep(PUBLISH_EVERY).await;
        }
    }

    /// Retries the connection for `span`, or until `stop`; `None` has no time limit.
    async fn retry_for(&self, span: Option<Duration>, stop: &CancellationToken) {
        let retrying = async {
            loop {
                sleep(RETRY_EVERY).await;
                self.attempts.count(
                    &self
                        .listener
                        .try_connect(&self.certificate.device, &self.certificate.pem)
                        .await,
                );
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = retrying => {}
            () = async { match span { Some(span) => sleep(span).await, None => std::future::pending().await } } => {}
        }
    }
}

// === private helpers ===

fn action(operator: &CommandContext) -> ActionContext<'_> {
    ActionContext { database: &operator.database, actor: &operator.actor, now: clock::now() }
}

/// Publishes for `span`, or until `stop`.
async fn publish_for(
    connection: &mut DeviceConnection,
    group: &mut DeviceGroupSpec,
    tally: &TrafficTally,
    span: Duration,
    stop: &CancellationToken,
) -> Result<(), BrokerError> {
    let until = Instant::now() + span;
    while Instant::now() < until && !stop.is_cancelled() {
        if publish_one(connection, group, tally).await? > 0 {
            connection.set_rights(Rights::Own);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(PUBLISH_EVERY.min(until - Instant::now())) => {}
        }
    }
    Ok(())
}

/// Publishes until the broker ends the connection. The first pause lets every cache learn of the
/// revocation.
async fn publish_until_ended(
    connection: &mut DeviceConnection,
    group: &mut DeviceGroupSpec,
    tally: &TrafficTally,
) -> SessionEnd {
    let (mut end, begun) = (SessionEnd::default(), Instant::now());
    let publishing = async {
        loop {
            sleep(PUBLISH_EVERY).await;
            match publish_one(connection, group, tally).await {
                Ok(accepted) => end.late += accepted,
                Err(error) => return error,
            }
        }
    };
    if let Ok(error) = timeout(PATIENCE, publishing).await {
        end.after_seconds = Some(begun.elapsed().as_secs_f64());
        end.how = Some(error.to_string());
    }
    end
}

async fn publish_one(
    connection: &mut DeviceConnection,
    group: &mut DeviceGroupSpec,
    tally: &TrafficTally,
) -> Result<u64, BrokerError> {
    if let Some(index) = group.next_turn() {
        connection.publish(group.next_message(index, clock::now()), tally).await?;
    }
    connection.drain(tally).await
}

/// Splits the result into the progress made and the reason it stopped.
fn split_progress(
    outcome: Result<RevocationProgress, RevocationFailure>,
) -> Result<(RevocationProgress, Option<String>), Failure> {
    match outcome {
        Ok(progress) => Ok((progress, None)),
        Err(RevocationFailure::Outage(error)) => Err(outage(&error)),
        Err(error) => {
            let why = error.to_string();
            match error {
                RevocationFailure::Link { progress, .. } => Ok((*progress, Some(why))),
                RevocationFailure::NotRevoked(_) | RevocationFailure::Outage(_) => {
                    Err(Failure::unavailable(why))
                }
            }
        }
    }
}
