//! One device of the demo loses its certificate while it speaks, and the moment it stops is told link by link.
//!
//! It revokes as an operator does and watches as the device does: it makes nothing come true that the daemon and the broker
//! do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::revocation_report::RevocationReport;
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
use crate::sim::fleet::demo_fleet::{DeviceGroupSpec, Rights};
use crate::sim::fleet::device_listener::{DeviceListener, device_lost};
use crate::store::certificates::revocation_ledger::RevocationProgress;
use crate::store::certificates::{self, CertificateFilter, CertificateStatus};
use crate::store::reads::quarantine;

/// How often it says something: often enough to see when it stops.
const SPEAKS_EVERY: Duration = Duration::from_millis(200);

/// How often it tries to come back.
const KNOCKS_EVERY: Duration = Duration::from_secs(1);

/// A chain that has not held by then is told as broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the messages that came too late may take to be quarantined.
const LATE_PATIENCE: Duration = Duration::from_secs(3);

const REASON: RevocationReason = RevocationReason::KeyCompromise;

/// When it happens.
#[derive(Clone, Copy, Debug)]
pub struct RevocationPlan {
    /// The first time.
    pub first: Duration,
    /// How long after one it has a new certificate, and how long after that it loses it again; none: it happens once.
    pub again: Option<Duration>,
}

/// How often the device tried to come back after its end.
#[derive(Clone, Debug, Default)]
pub struct ConnectAttempts(Arc<RevocationCounters>);

#[derive(Debug, Default)]
struct RevocationCounters {
    refused: AtomicU64,
    let_in: AtomicU64,
}

/// The device, and all it takes to end it.
pub struct DeviceToRevoke {
    /// Who revokes, and where.
    pub operator: CommandContext,
    /// Where its next certificate comes from.
    pub wallet: CertificateFolder,
    /// What it shows now.
    pub papers: DeviceCertificate,
    /// Where it connects.
    pub gate: DeviceListener,
    /// The device alone.
    pub squad: DeviceGroupSpec,
    /// Its share in the common figures.
    pub tally: TrafficTally,
    /// How its attempts to come back ended.
    pub knocks: ConnectAttempts,
}

/// How the device heard of its end.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SessionEnd {
    /// Messages the broker still took after the row.
    pub late: u64,
    /// Seconds from the row to the end of its connection; none: it never ended.
    pub after_seconds: Option<f64>,
    /// In the broker's words.
    pub how: Option<String>,
}

// === impl Knocks ===

impl ConnectAttempts {
    /// How often it was refused.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// How often it was let in, which must never be.
    pub fn let_in(&self) -> u64 {
        self.0.let_in.load(Ordering::Relaxed)
    }

    fn count(&self, outcome: &ProbeOutcome) {
        match outcome {
            ProbeOutcome::Admitted => self.0.let_in.fetch_add(1, Ordering::Relaxed),
            ProbeOutcome::Revoked | ProbeOutcome::Refused(_) => self.0.refused.fetch_add(1, Ordering::Relaxed),
            // It says nothing of the certificate.
            ProbeOutcome::Unreachable(_) => 0,
        };
    }
}

// === impl Doomed ===

impl DeviceToRevoke {
    /// Speaks, is revoked as planned, and tries to come back, until told to stop. A revocation that has begun is seen through.
    pub async fn work(
        mut self,
        plan: RevocationPlan,
        stop: CancellationToken,
        stories: mpsc::Sender<Result<RevocationReport, Failure>>,
    ) {
        if let Err(failure) = self.live(plan, &stop, &stories).await {
            // Nobody listens any more only when the demonstration has failed already.
            let _ = stories.send(Err(failure)).await;
        }
        self.operator.database.close().await;
    }

    async fn live(
        &mut self,
        plan: RevocationPlan,
        stop: &CancellationToken,
        stories: &mpsc::Sender<Result<RevocationReport, Failure>>,
    ) -> Result<(), Failure> {
        let mut span = plan.first;
        while let Some(row) = self.papers.row {
            let mut line = DeviceConnection::connect(&self.gate, &self.papers, Rights::Own).await?;
            let speaking = speak(&mut line, &mut self.squad, &self.tally, span, stop);
            speaking.await.map_err(|trouble| device_lost(&self.papers.device.to_string(), &trouble))?;
            if stop.is_cancelled() {
                // It goes as it came: a goodbye that fails changes nothing.
                let _ = line.close().await;
                return Ok(());
            }
            let story = self.end(line, row).await?;
            let _ = stories.send(Ok(story)).await;
            self.knock_for(plan.again, stop).await;
            if stop.is_cancelled() {
                return Ok(());
            }
            let desk = desk(&self.operator);
            self.papers = self.wallet.papers_anew(&self.papers.device, desk).await?;
            span = plan.again.unwrap_or(plan.first);
        }
        Ok(())
    }

    /// Revokes the certificate and watches every link, and the device itself.
    async fn end(&mut self, mut line: DeviceConnection, row: Uuid) -> Result<RevocationReport, Failure> {
        let since = self.revoke_all(row).await?;
        let watching = progress::wait_for(&self.operator.database, row, PATIENCE, |_| ());
        let speaking = speak_on(&mut line, &mut self.squad, &self.tally);
        let (cut, chain) = tokio::join!(speaking, watching);
        line.abandon(&self.tally);
        let (chain, broken) = told(chain)?;
        let late_quarantined = self.quarantined(since, cut.late).await?;
        let outcome = self.gate.knock(&self.papers.device, &self.papers.pem).await;
        self.knocks.count(&outcome);
        Ok(RevocationReport::new(&self.papers.device, REASON.label(), chain, broken, cut, late_quarantined, &outcome))
    }

    /// Revokes what the device holds, the certificate it uses now at last; when that row changed.
    async fn revoke_all(&self, row: Uuid) -> Result<Timestamp, Failure> {
        let (desk, status) = (desk(&self.operator), Some(CertificateStatus::Active));
        let filter =
            CertificateFilter { device: Some(self.papers.device.clone()), status, ..CertificateFilter::default() };
        let held = certificates::list(desk.database.pool(), &filter, 100).await.map_err(not_stored)?;
        // One whose file was lost would still be believed.
        for other in held.iter().filter(|one| one.id != row) {
            revoke::revoke(desk, other.id, REASON).await.map_err(not_stored)?;
        }
        let revoked = revoke::revoke(desk, row, REASON).await.map_err(not_stored)?.certificate;
        Ok(revoked.revoked_at.map_or(desk.now, Timestamp::from))
    }

    /// How many of its messages were quarantined since; it waits a moment for so many.
    async fn quarantined(&self, since: Timestamp, wanted: u64) -> Result<i64, Failure> {
        let device = &self.papers.device;
        let filter = quarantine::QuarantineFilter {
            tenant: Some(device.tenant().to_string()),
            device: Some(device.device().to_string()),
            since: Some(since),
            ..quarantine::QuarantineFilter::default()
        };
        let begun = Instant::now();
        loop {
            let found =
                quarantine::count(self.operator.database.pool(), &filter).await.map_err(|error| outage(&error))?;
            if found.unsigned_abs() >= wanted || begun.elapsed() > LATE_PATIENCE {
                return Ok(found);
            }
            sleep(SPEAKS_EVERY).await;
        }
    }

    /// Tries to come back for so long, or until told to stop.
    async fn knock_for(&self, span: Option<Duration>, stop: &CancellationToken) {
        let knocking = async {
            loop {
                sleep(KNOCKS_EVERY).await;
                self.knocks.count(&self.gate.knock(&self.papers.device, &self.papers.pem).await);
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = knocking => {}
            () = async { match span { Some(span) => sleep(span).await, None => std::future::pending().await } } => {}
        }
    }
}

// === private helpers ===

fn desk(operator: &CommandContext) -> ActionContext<'_> {
    ActionContext { database: &operator.database, actor: &operator.actor, now: clock::now() }
}

/// Speaks for so long, or until told to stop.
async fn speak(
    line: &mut DeviceConnection,
    squad: &mut DeviceGroupSpec,
    tally: &TrafficTally,
    span: Duration,
    stop: &CancellationToken,
) -> Result<(), BrokerError> {
    let until = Instant::now() + span;
    while Instant::now() < until && !stop.is_cancelled() {
        say(line, squad, tally).await?;
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(SPEAKS_EVERY.min(until - Instant::now())) => {}
        }
    }
    Ok(())
}

/// Speaks until its connection is ended. Its first word comes when every cache has heard of the row.
async fn speak_on(line: &mut DeviceConnection, squad: &mut DeviceGroupSpec, tally: &TrafficTally) -> SessionEnd {
    let (mut cut, begun) = (SessionEnd::default(), Instant::now());
    let speaking = async {
        loop {
            sleep(SPEAKS_EVERY).await;
            match say(line, squad, tally).await {
                Ok(taken) => cut.late += taken,
                Err(trouble) => return trouble,
            }
        }
    };
    if let Ok(trouble) = timeout(PATIENCE, speaking).await {
        cut.after_seconds = Some(begun.elapsed().as_secs_f64());
        cut.how = Some(trouble.to_string());
    }
    cut
}

async fn say(
    line: &mut DeviceConnection,
    squad: &mut DeviceGroupSpec,
    tally: &TrafficTally,
) -> Result<u64, BrokerError> {
    if let Some(said) = squad.next(clock::now()) {
        line.publish(said.message, tally).await?;
    }
    line.settle(tally).await
}

/// How far the chain came, and what is wrong with it.
fn told(chain: Result<RevocationProgress, RevocationFailure>) -> Result<(RevocationProgress, Option<String>), Failure> {
    match chain {
        Ok(progress) => Ok((progress, None)),
        Err(RevocationFailure::Outage(error)) => Err(outage(&error)),
        Err(error) => {
            let why = error.to_string();
            match error {
                RevocationFailure::Link { progress, .. } => Ok((*progress, Some(why))),
                RevocationFailure::NotRevoked(_) | RevocationFailure::Outage(_) => Err(Failure::unavailable(why)),
            }
        }
    }
}
