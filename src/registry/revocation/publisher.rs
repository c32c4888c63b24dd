//! The publisher: sees every revocation through, from the row to the proof that the broker acts on it.
//!
//! One replica at a time, by the ledger's lock; the others look on, and tell what it found. A turn does what is due, in the
//! order of the chain; what fails is told in readiness and in the table, and tried again. How the broker is brought to act
//! on a list is for [`enforce`](super::enforcement).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::broker_probe::ProbePair;
use super::broker_reload::Recheck;
use super::crl::{self, ListError};
use super::enforcement::{Enforcer, RevocationHealth};
use crate::config::Config;
use crate::config::sections::certificates::CertificatesConfig;
use crate::domain::clocks::Clocks;
use crate::domain::ports::Outage;
use crate::domain::time::Clock;
use crate::lifecycle::Readiness;
use crate::pki::authority::Authority;
use crate::registry::access_rules::writer::AclKeeper;
use crate::store::certificates::revocation_ledger::{CrlRow, OpenRevocation, RevocationLedger, RevocationStep};
use crate::store::connection::database::Database;
use crate::telemetry::revocation::RevocationMetrics;

/// How often is looked for something to do. No two lists are closer together: several revocations are one reload.
const PERIOD: Duration = Duration::from_secs(1);

/// How often the file is looked at.
const FILE_PERIOD: Duration = Duration::from_secs(3);

/// After the authority's files were found unusable they are read again so much later.
const AUTHORITY_PAUSE: Duration = Duration::from_secs(10);

/// How soon after a turn the next one is while sessions are being ended.
const BUSY_PERIOD: Duration = Duration::from_millis(100);

/// Why a list is published when the file is not what was put there.
const REPAIR: &str = "the file was not right";

/// A turn that takes longer is given up with its connection, and with it the lock: another replica may fare better.
/// Long enough for the takeovers of a full turn.
const TURN_PATIENCE: Duration = Duration::from_secs(45);

/// The publisher, or one who would be.
pub struct CrlPublisher {
    settings: CertificatesConfig,
    database: Database,
    metrics: RevocationMetrics,
    now: Clock,
    voice: RevocationHealth,
    enforcer: Enforcer,
    /// None: no list is published here.
    has_list: bool,
    /// The broker's access rules, where they are written here.
    acl: Option<AclKeeper>,
    /// For the next list, when one could not be published: so a full disk does not fill the list with canaries.
    next: Option<ProbePair>,
    file_seen: Option<Instant>,
    /// What is wrong with the file, while it is not what was published.
    fault: Option<String>,
    /// Those in no list, because their serial number cannot be read.
    unreadable: Vec<Uuid>,
}

// === impl Publisher ===

impl CrlPublisher {
    /// None unless the authority and the place of the CRL are set, or access rules are to be kept.
    pub fn new(
        config: &Config,
        database: Database,
        metrics: RevocationMetrics,
        readiness: Readiness,
        acl: Option<AclKeeper>,
        now: Clock,
    ) -> Option<Self> {
        let settings = config.certificates.clone();
        let wanted = [&settings.ca_cert_path, &settings.ca_key_path, &settings.crl_output_path];
        let has_list = wanted.iter().all(|path| path.is_some());
        (has_list || acl.is_some()).then(|| Self {
            has_list,
            acl,
            enforcer: Enforcer::new(config, metrics.clone(), now),
            settings,
            database,
            metrics,
            now,
            voice: RevocationHealth::new(readiness),
            next: None,
            file_seen: None,
            fault: None,
            unreadable: Vec::new(),
        })
    }

    /// Wakes those who look what the broker does, each time it was told.
    #[must_use]
    pub fn waking(self, recheck: Recheck) -> Self {
        Self { enforcer: self.enforcer.waking(recheck), ..self }
    }

    /// Runs until told to stop.
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
                self.voice.trouble(error.to_string());
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// One connection to Postgres, first without the lock and then with it. It ends by an error, and the lock with it, so
    /// that a replica whose files are better off may try.
    async fn serve(&mut self) -> Result<(), ListError> {
        let mut ledger = RevocationLedger::open(&self.database).await?;
        while !ledger.claim().await? {
            let state = ledger.state().await?;
            self.show(&state);
            match (state.enforced, state.finding) {
                (Some(false), Some(finding)) if self.has_list => self.voice.trouble(finding),
                _ => self.voice.well(),
            }
            if let Some(acl) = &mut self.acl {
                acl.look_on(&ledger.acl_state().await?);
            }
            sleep(PERIOD).await;
        }
        let authority = self.authority(&mut ledger).await?;
        loop {
            let turn = timeout(TURN_PATIENCE, self.turn(&mut ledger, authority.as_ref())).await;
            turn.map_err(|_| ListError::Stuck(TURN_PATIENCE.as_secs()))??;
            sleep(if self.enforcer.is_busy() { BUSY_PERIOD } else { PERIOD }).await;
        }
    }

    /// None where no list is published. While it cannot be opened, the access rules are kept all the same.
    async fn authority(&mut self, ledger: &mut RevocationLedger) -> Result<Option<Arc<Authority>>, ListError> {
        if !self.has_list {
            tracing::info!("this replica publishes the access rules, and no CRL");
            return Ok(None);
        }
        let clocks = ledger.clocks(self.now).await?;
        let opened = crl::authority(&self.settings, clocks).await;
        match opened {
            Ok(authority) => {
                tracing::info!(issuer = authority.certificate().name(), "this replica publishes the CRL");
                Ok(Some(authority))
            }
            Err(error) => {
                let turn = timeout(TURN_PATIENCE, self.turn(ledger, None)).await;
                turn.map_err(|_| ListError::Stuck(TURN_PATIENCE.as_secs()))??;
                Err(error)
            }
        }
    }

    /// One turn: the access rules are written first, so that one reload serves both files.
    async fn turn(
        &mut self,
        ledger: &mut RevocationLedger,
        authority: Option<&Arc<Authority>>,
    ) -> Result<(), ListError> {
        let reloads = self.enforcer.reloads();
        let owes_reload = match &mut self.acl {
            None => false,
            Some(acl) => {
                acl.keep(ledger).await?;
                self.enforcer.hold(acl.danger());
                acl.owes_reload()
            }
        };
        if owes_reload {
            self.enforcer.owe_reload();
            // A reload makes the broker read the CRL too, so the file is looked at before it.
            self.file_seen = None;
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
                    Some(fault) => {
                        Err(format!("the broker is not notified, for it would read a CRL that is wrong: {fault}"))
                    }
                    None => self.enforcer.reload().await.map(drop),
                };
                acl.notified(ledger, outcome).await?;
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
        let provable = self.enforcer.can_prove();
        let clocks = ledger.clocks(self.now).await?;
        crl::check_end(authority, clocks)?;
        let mut open = ledger.open_revocations(issuer, provable, clocks.earlier()).await?;
        let state = ledger.state().await?;
        if let Some((why, in_file)) = self.due(ledger, authority, &state, &open, clocks).await? {
            if let Err(error) = self.publish(ledger, authority, why, in_file, clocks).await {
                let unlisted: Vec<Uuid> =
                    open.iter().filter(|one| one.crl_number.is_none()).map(|one| one.certificate_id).collect();
                ledger.note_failed(RevocationStep::Published, &error.to_string(), &unlisted).await?;
                return Err(self.unrepaired(ledger, error).await?);
            }
            if self.fault.take().is_some() {
                // A broker that read the damaged file may have let the revoked in, and keeps whom it has let in.
                self.enforcer.doubt_sessions();
                ledger.doubt_sessions(issuer).await?;
                if !provable {
                    ledger.note_enforced(None, None).await?;
                }
            }
            open = ledger.open_revocations(issuer, provable, clocks.earlier()).await?;
        }
        match self.enforcer.enforce(ledger, &open).await? {
            Ok(()) => self.voice.well(),
            Err(why) => self.voice.trouble(why),
        }
        self.show(&ledger.state().await?);
        Ok(())
    }

    /// While the file is not what was published, nothing is enforced: says so to everybody, and why.
    async fn unrepaired(&mut self, ledger: &mut RevocationLedger, error: ListError) -> Result<ListError, Outage> {
        let Some(fault) = &self.fault else { return Ok(error) };
        let why = format!("the CRL is not what was published ({fault}) and cannot be repaired: {error}");
        let finding = self.enforcer.lost(ledger, &why).await?;
        self.show(&ledger.state().await?);
        Ok(ListError::Unrepaired(finding))
    }

    /// Why a list is due now, and the number in the file; none: no list is due.
    async fn due(
        &mut self,
        ledger: &mut RevocationLedger,
        authority: &Arc<Authority>,
        state: &CrlRow,
        open: &[OpenRevocation],
        clocks: Clocks,
    ) -> Result<Option<(&'static str, u64)>, Outage> {
        let Some(path) = self.settings.crl_output_path.clone() else { return Ok(None) };
        let issuer = authority.certificate().name();
        let hours = (self.settings.crl_validity_hours, self.settings.crl_refresh_hours);
        let is_soon = self.enforcer.has_published_within(PERIOD);
        let why = if crl::has_unlisted(open, &self.unreadable) && !is_soon {
            Some("a certificate was revoked")
        } else if let Some(why) = crl::is_due(state, issuer, hours, clocks) {
            Some(why)
        } else if self.enforcer.published() != Some(state.crl_number) {
            Some("this replica has become the publisher")
        } else {
            None
        };
        if why.is_none() && self.fault.is_none() && self.file_seen.is_some_and(|seen| seen.elapsed() < FILE_PERIOD) {
            return Ok(None);
        }
        self.file_seen = Some(Instant::now());
        let last = ledger.last_list().await?;
        match crl::look(authority, &path, state.crl_number, last, clocks).await {
            Ok(number) => {
                // Somebody else has put the list back; whom the broker let in meanwhile is not known.
                let why = why.or(self.fault.as_ref().map(|_| REPAIR));
                Ok(why.map(|why| (why, number)))
            }
            // The first list of all is no repair.
            Err(_) if state.published_at.is_none() => Ok(Some((why.unwrap_or("there is none yet"), 0))),
            Err(fault) => {
                if self.fault.as_ref() != Some(&fault) {
                    tracing::warn!(path = %path.display(), %fault, "the CRL file is not right; a new list takes its place");
                    self.fault = Some(fault);
                }
                Ok(Some((REPAIR, 0)))
            }
        }
    }

    async fn publish(
        &mut self,
        ledger: &mut RevocationLedger,
        authority: &Arc<Authority>,
        why: &str,
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
            tracing::error!(%certificate, "the serial number in this certificate's row cannot be read: it is in no CRL");
        }
        let why_not = "the serial number in its row cannot be read; correct device_certificates.serial_number";
        ledger.note_failed(RevocationStep::Published, why_not, &done.unreadable).await?;
        self.unreadable = done.unreadable;
        self.enforcer.renewed(done.number, self.next.take());
        tracing::info!(number = done.number, entries = done.entries, until = %done.next_update, why, "a CRL was published");
        Ok(())
    }

    fn show(&self, state: &CrlRow) {
        self.metrics.next_update.set(state.next_update.map_or(0, |at| at.timestamp()));
        self.metrics.enforced.set(i64::from(state.enforced == Some(true)));
    }
}
