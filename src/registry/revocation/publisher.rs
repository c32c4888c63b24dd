//! The publisher: carries each revocation from its row to the proof that the broker enforces it.
//!
//! One replica at a time is the publisher, by the ledger's lock; the others show its findings. A
//! round does what is due in the order of the steps. A failure is reported in readiness and noted
//! in the table, and the next round retries it. Making the broker enforce a CRL is the task of
//! [`enforcement`](super::enforcement).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::broker_probe::ProbePair;
use super::broker_reload::Recheck;
use super::crl::{self, ListError, PublishReason};
use super::enforcement::{EnforcementError, Enforcer};
use crate::config::Config;
use crate::config::sections::certificates::CertificatesConfig;
use crate::domain::clocks::Clocks;
use crate::domain::ports::Outage;
use crate::domain::time::Clock;
use crate::lifecycle::Readiness;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::pki::authority::Authority;
use crate::plugin_link::PluginControl;
use crate::registry::access_rules::writer::AclWriter;
use crate::registry::health;
use crate::store::certificates::revocation_ledger::{
    CrlRow, OpenRevocation, RevocationLedger, RevocationStep,
};
use crate::store::connection::database::Database;
use crate::telemetry::revocation::RevocationMetrics;

/// Time between two rounds. CRLs are at least this far apart, so several revocations share one
/// reload.
const PERIOD: Duration = Duration::from_secs(1);

/// Time between two checks of the file.
const FILE_PERIOD: Duration = Duration::from_secs(3);

/// Pause after the authority's files were unusable.
const AUTHORITY_PAUSE: Duration = Duration::from_secs(10);

/// Time between two rounds while sessions are being ended.
const PERIOD_WHEN_BUSY: Duration = Duration::from_millis(100);

/// The component of readiness, and its sentences.
const COMPONENT: &str = "revocation";
const HEALTH: HealthTexts = HealthTexts {
    failed: "a step of revocation failed",
    action: "Sluice retries",
    recovered: "revocation works again",
};

/// Longest duration of a round; beyond it the connection and its lock are given up, so that another
/// replica may try. A full round with takeovers fits.
const ROUND_TIMEOUT: Duration = Duration::from_secs(45);

/// The publisher, or a standby.
pub struct CrlPublisher {
    settings: CertificatesConfig,
    database: Database,
    metrics: RevocationMetrics,
    now: Clock,
    health: HealthReporter,
    enforcer: Enforcer,
    /// `false` means that this replica publishes no CRL.
    has_list: bool,
    /// Writes the access rules; `None` means that this replica writes none.
    acl: Option<AclWriter>,
    /// Probe certificates for the next CRL. Kept after a failed publication, so that a full disk
    /// does not fill the CRL with them.
    next: Option<ProbePair>,
    file_checked_at: Option<Instant>,
    /// What is wrong with the file; `None` means that it is the published CRL.
    fault: Option<String>,
    /// Certificates in no CRL, because their serial number cannot be read.
    unreadable: Vec<Uuid>,
}

// === impl CrlPublisher ===

impl CrlPublisher {
    /// `None` means that there is nothing to publish: authority or CRL path is unset, and no access
    /// rules are written.
    pub fn new(
        config: &Config,
        database: Database,
        metrics: RevocationMetrics,
        readiness: Readiness,
        acl: Option<AclWriter>,
        now: Clock,
    ) -> Option<Self> {
        let settings = config.certificates.clone();
        let paths = [&settings.ca_cert_path, &settings.ca_key_path, &settings.crl_output_path];
        let has_list = paths.iter().all(|path| path.is_some());
        (has_list || acl.is_some()).then(|| Self {
            has_list,
            acl,
            enforcer: Enforcer::new(config, metrics.clone(), now),
            settings,
            database,
            metrics,
            now,
            health: health::reporter(COMPONENT, readiness, HEALTH),
            next: None,
            file_checked_at: None,
            fault: None,
            unreadable: Vec::new(),
        })
    }

    /// Requests a probe from `recheck` after each notification, and closes sessions through `plugins`.
    #[must_use]
    pub fn with(self, recheck: Recheck, plugins: PluginControl) -> Self {
        Self { enforcer: self.enforcer.with(recheck, plugins), ..self }
    }

    /// Runs until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        if self.has_list {
            self.enforcer.announce();
        }
        if let Some(acl) = &self.acl {
            acl.announce();
        }
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.serve() => ended,
            };
            let mut pause = PERIOD;
            if let Err(error) = ended {
                if matches!(error, ListError::Authority(_)) {
                    pause = AUTHORITY_PAUSE;
                }
                self.report_fault(&error.to_string());
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Serves one connection to Postgres, first as a standby and then with the lock. An error ends both.
    async fn serve(&mut self) -> Result<(), ListError> {
        let mut ledger = RevocationLedger::open(&self.database).await?;
        while !ledger.claim(self.enforcer.has_plugin()).await? {
            let state = ledger.state().await?;
            self.show(&state);
            match (state.enforced, state.finding) {
                (Some(false), Some(finding)) if self.has_list => self.report_fault(&finding),
                _ => self.report_ok(),
            }
            if let Some(acl) = &mut self.acl {
                acl.show_standby(&ledger.acl_state().await?);
            }
            sleep(PERIOD).await;
        }
        let authority = self.authority(&mut ledger).await?;
        while !ledger.must_yield(self.enforcer.has_plugin()).await? {
            let round = self.run_round(&mut ledger, authority.as_ref());
            let round = timeout(ROUND_TIMEOUT, round).await;
            round.map_err(|_| ListError::Stuck(ROUND_TIMEOUT.as_secs()))??;
            sleep(if self.enforcer.is_busy() { PERIOD_WHEN_BUSY } else { PERIOD }).await;
        }
        tracing::info!("the replica that has the broker's plugin publishes the CRL from now on");
        Ok(())
    }

    /// Opens the authority. `None` means that this replica publishes no CRL. If it cannot be
    /// opened, the access rules are still written.
    async fn authority(
        &mut self,
        ledger: &mut RevocationLedger,
    ) -> Result<Option<Arc<Authority>>, ListError> {
        if !self.has_list {
            tracing::info!("this replica publishes the access rules and no CRL");
            return Ok(None);
        }
        let clocks = ledger.clocks(self.now).await?;
        let opened = crl::authority(&self.settings, clocks).await;
        match opened {
            Ok(authority) => {
                tracing::info!(
                    issuer = authority.certificate().name(),
                    "this replica publishes the CRL"
                );
                Ok(Some(authority))
            }
            Err(error) => {
                let round = timeout(ROUND_TIMEOUT, self.run_round(ledger, None)).await;
                round.map_err(|_| ListError::Stuck(ROUND_TIMEOUT.as_secs()))??;
                Err(error)
            }
        }
    }

    /// Runs one round. The access rules are written first, so that one reload serves both files.
    async fn run_round(
        &mut self,
        ledger: &mut RevocationLedger,
        authority: Option<&Arc<Authority>>,
    ) -> Result<(), ListError> {
        let reloads = self.enforcer.reloads();
        let owes_reload = match &mut self.acl {
            None => false,
            Some(acl) => {
                acl.update(ledger).await?;
                self.enforcer.hold(acl.danger());
                acl.owes_reload()
            }
        };
        if owes_reload {
            self.enforcer.owe_reload();
            // A reload makes the broker read the CRL too, so the CRL file is checked first.
            self.file_checked_at = None;
        }
        let revoked = match authority {
            Some(authority) => self.carry_revocations(ledger, authority).await,
            None => Ok(()),
        };
        if let Some(acl) = &mut self.acl {
            if owes_reload {
                let has_reloaded = self.enforcer.reloads() > reloads;
                let outcome = match &self.fault {
                    _ if has_reloaded => Ok(()),
                    Some(fault) => Err(format!(
                        "the broker is not notified, because it would read a wrong CRL: {fault}"
                    )),
                    None => self.enforcer.reload().await.map(drop),
                };
                acl.record_reload(ledger, outcome).await?;
            }
            acl.settle(ledger).await?;
        }
        revoked
    }

    async fn carry_revocations(
        &mut self,
        ledger: &mut RevocationLedger,
        authority: &Arc<Authority>,
    ) -> Result<(), ListError> {
        let issuer = authority.certificate().name();
        let can_prove = self.enforcer.can_prove();
        let clocks = ledger.clocks(self.now).await?;
        crl::check_end(authority, clocks)?;
        let mut open = ledger.open_revocations(issuer, can_prove, clocks.earlier()).await?;
        let state = ledger.state().await?;
        if let Some((why, in_file)) = self.due(ledger, authority, &state, &open, clocks).await? {
            if let Err(error) = self.publish(ledger, authority, why, in_file, clocks).await {
                let unlisted: Vec<Uuid> = open
                    .iter()
                    .filter(|one| one.crl_number.is_none())
                    .map(|one| one.certificate_id)
                    .collect();
                ledger
                    .note_failed(RevocationStep::Published, &error.to_string(), &unlisted)
                    .await?;
                return Err(self.note_unrepaired(ledger, error).await?);
            }
            if self.fault.take().is_some() {
                // A broker that read the damaged file may have admitted revoked devices, and keeps
                // their sessions.
                self.enforcer.doubt_sessions();
                ledger.doubt_sessions(issuer).await?;
                if !can_prove {
                    ledger.note_enforced(None, None).await?;
                }
            }
            open = ledger.open_revocations(issuer, can_prove, clocks.earlier()).await?;
        }
        match self.enforcer.enforce(ledger, &open).await {
            Ok(()) => self.report_ok(),
            Err(EnforcementError::Step(why)) => self.report_fault(&why),
            Err(EnforcementError::Store(outage)) => return Err(outage.into()),
        }
        self.show(&ledger.state().await?);
        Ok(())
    }

    /// Reports to all replicas that nothing is enforced while the file is not the published CRL.
    async fn note_unrepaired(
        &mut self,
        ledger: &mut RevocationLedger,
        error: ListError,
    ) -> Result<ListError, Outage> {
        let Some(fault) = &self.fault else { return Ok(error) };
        let why = format!(
            "the CRL file is not the published CRL ({fault}), and Sluice cannot repair \
                it: {error}"
        );
        let finding = self.enforcer.record_damage(ledger, &why).await?;
        self.show(&ledger.state().await?);
        Ok(ListError::Unrepaired(finding))
    }

    /// Why a CRL is due now, and the CRL number in the file; `None` means that none is due.
    async fn due(
        &mut self,
        ledger: &mut RevocationLedger,
        authority: &Arc<Authority>,
        state: &CrlRow,
        open: &[OpenRevocation],
        clocks: Clocks,
    ) -> Result<Option<(PublishReason, u64)>, Outage> {
        let Some(path) = crl::path_when_due(&self.settings, ledger).await? else { return Ok(None) };
        let issuer = authority.certificate().name();
        let hours = (self.settings.crl_validity_hours, self.settings.crl_refresh_hours);
        let is_too_soon = self.enforcer.has_published_within(PERIOD);
        let why = if crl::has_unlisted(open, &self.unreadable) && !is_too_soon {
            Some(PublishReason::Revoked)
        } else if let Some(why) = crl::is_due(state, issuer, hours, clocks) {
            Some(why)
        } else if self.enforcer.published() != Some(state.crl_number) {
            Some(PublishReason::NewPublisher)
        } else {
            None
        };
        if why.is_none()
            && self.fault.is_none()
            && self.file_checked_at.is_some_and(|seen| seen.elapsed() < FILE_PERIOD)
        {
            return Ok(None);
        }
        self.file_checked_at = Some(Instant::now());
        let last = ledger.last_list().await?;
        match crl::check_file(authority, &path, state.crl_number, last, clocks).await {
            Ok(number) => {
                // Another program restored it; the broker may have admitted revoked devices.
                let why = why.or(self.fault.as_ref().map(|_| PublishReason::Repair));
                Ok(why.map(|why| (why, number)))
            }
            // The very first CRL repairs nothing.
            Err(_) if state.published_at.is_none() => {
                Ok(Some((why.unwrap_or(PublishReason::Missing), 0)))
            }
            Err(fault) => {
                if self.fault.as_ref() != Some(&fault) {
                    tracing::warn!(path = %path.display(), %fault, "the CRL file is not the \
                        published CRL; Sluice publishes a new one");
                    self.fault = Some(fault);
                }
                Ok(Some((PublishReason::Repair, 0)))
            }
        }
    }

    async fn publish(
        &mut self,
        ledger: &mut RevocationLedger,
        authority: &Arc<Authority>,
        why: PublishReason,
        in_file: u64,
        clocks: Clocks,
    ) -> Result<(), ListError> {
        if self.next.is_none() {
            let next = ProbePair::make(authority, clocks)?;
            let canary = &next.revoked.certificate;
            let serial = canary.serial().to_string();
            ledger.add_canary(authority.certificate().name(), &serial, canary.not_after()).await?;
            self.next = Some(next);
        }
        let done = crl::publish(ledger, authority, &self.settings, in_file, clocks).await?;
        for certificate in done.unreadable.iter().filter(|one| !self.unreadable.contains(one)) {
            tracing::error!(%certificate, "the serial number in this certificate's row cannot be \
                read; no CRL contains the certificate; correct device_certificates.serial_number");
        }
        let why_not = "the serial number in its row cannot be read; correct \
            device_certificates.serial_number";
        ledger.note_failed(RevocationStep::Published, why_not, &done.unreadable).await?;
        self.unreadable = done.unreadable;
        self.enforcer.start_list(done.number, self.next.take());
        tracing::info!(
            number = done.number,
            entries = done.entries,
            until = %done.next_update,
            %why,
            "a CRL was published"
        );
        Ok(())
    }

    fn report_ok(&mut self) {
        self.health.worked(Instant::now().into_std());
    }

    fn report_fault(&mut self, why: &str) {
        self.health.failed(why, Instant::now().into_std());
    }

    fn show(&self, state: &CrlRow) {
        self.metrics.next_update.set(state.next_update.map_or(0, |at| at.timestamp()));
        self.metrics.enforced.set(i64::from(state.enforced == Some(true)));
    }
}
