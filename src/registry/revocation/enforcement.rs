//! Makes the broker enforce a CRL: notifies it, proves that it has read the CRL, and only then ends
//! live sessions. A session ended earlier would reconnect at once.
//!
//! It makes no CRL. A failed step is noted for callers that wait, and retried in the next round.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::broker_probe::{BrokerProbe, CrlEnforcement, ProbePair};
use super::broker_reload::{Recheck, Reload};
use super::session_endings::Endings;
use crate::config::Config;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::plugin_link::PluginControl;
use crate::plugin_link::control::ProbeUse;
use crate::store::certificates::revocation_ledger::{
    OpenRevocation, RevocationLedger, RevocationStep,
};
use crate::telemetry::revocation::RevocationMetrics;

/// Time between two probes while the CRL is in force.
const PERIOD_IN_FORCE: Duration = Duration::from_mins(3);

/// Time between two probes while it is not.
const PERIOD_NOT_IN_FORCE: Duration = Duration::from_secs(5);

/// Time the broker has to read a new CRL; after it, a broker without the CRL is a finding. A
/// watcher polls every second or two.
const GRACE: Duration = Duration::from_secs(10);

/// An unreachable broker is a finding this long after a new CRL: a hung broker answers no client.
const UNSEEN_GRACE: Duration = Duration::from_secs(3);

/// Probes per round while a CRL is new: the broker usually reads it within a moment.
const QUICK_PROBES: u32 = 8;
const QUICK_PAUSE: Duration = Duration::from_millis(100);
const QUICK_BUDGET: Duration = Duration::from_secs(1);

/// Without a probe, the broker is assumed to have read the CRL after this time.
const UNPROVEN_GRACE: Duration = Duration::from_secs(3);

/// Time after which a broker without the CRL is notified again: the first notification may be lost.
const REPEAT_AFTER: Duration = Duration::from_mins(1);

pub(super) const NO_PROBE: &str =
    "BROKER_PROBE_ADDR is not set, so Sluice cannot check whether the broker enforces the CRL";

/// The state of the broker and of the CRL published last.
pub struct Enforcer {
    endings: Endings,
    plugins: PluginControl,
    metrics: RevocationMetrics,
    now: Clock,
    reload: Reload,
    probe: Option<BrokerProbe>,
    list: Option<List>,
    /// Number of notifications sent to the broker.
    reloads: u64,
    /// Why the broker must not be notified; `None` means that it may.
    hold: Option<String>,
}

/// The CRL published last, and how far the broker has come with it.
struct List {
    number: i64,
    canaries: Option<ProbePair>,
    published_at: Instant,
    /// When the broker was notified; `None` means that this is owed.
    notified_at: Option<Instant>,
    is_in_force: bool,
    probed_at: Option<Instant>,
    /// What is wrong; `None` means nothing.
    finding: Option<String>,
}

/// Why a round did not get to the last step.
#[derive(Debug, thiserror::Error)]
pub enum EnforcementError {
    /// A step failed at the broker; the text is a sentence for the operator.
    #[error("{0}")]
    Step(String),
    /// Postgres failed.
    #[error(transparent)]
    Store(#[from] Outage),
}

// === impl Enforcer ===

impl Enforcer {
    pub(super) fn new(config: &Config, metrics: RevocationMetrics, now: Clock) -> Self {
        let (reload, probe) = (Reload::of(&config.certificates), BrokerProbe::of(config));
        let (endings, plugins) = (Endings::new(config.broker.clone()), PluginControl::default());
        Self { endings, plugins, metrics, now, reload, probe, list: None, reloads: 0, hold: None }
    }

    /// Requests a probe from `recheck` after each notification, and closes sessions through `plugins`.
    pub(super) fn with(self, recheck: Recheck, plugins: PluginControl) -> Self {
        let (reload, endings) = (self.reload.with_recheck(recheck), self.endings);
        Self { reload, endings: endings.with_plugins(plugins.clone()), plugins, ..self }
    }

    /// Logs at start what these settings make impossible.
    pub(super) fn announce(&self) {
        if self.probe.is_none() {
            tracing::warn!("{NO_PROBE}; Sluice carries out revocations and cannot prove them");
        }
    }

    pub(super) const fn can_prove(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether the broker's plugin is connected to this replica.
    pub(super) fn has_plugin(&self) -> bool {
        self.plugins.is_connected()
    }

    /// The CRL number that this replica published last.
    pub(super) fn published(&self) -> Option<i64> {
        self.list.as_ref().map(|list| list.number)
    }

    /// Forbids notifications while the access rules could make the broker exit; `None` allows them.
    pub(super) fn hold(&mut self, why: Option<String>) {
        self.hold = why;
    }

    /// Marks a notification as owed, even if the broker has the CRL.
    pub(super) const fn owe_reload(&mut self) {
        if let Some(list) = &mut self.list {
            list.notified_at = None;
        }
    }

    /// Number of notifications sent to the broker.
    pub(super) const fn reloads(&self) -> u64 {
        self.reloads
    }

    /// Notifies the broker. `false` means that a watcher does it.
    pub(super) async fn reload(&mut self) -> Result<bool, String> {
        if let Some(why) = &self.hold {
            return Err(format!(
                "the broker is not notified, because its access rules could make it exit: {why}"
            ));
        }
        let is_notified = self.reload.notify().await.map_err(|error| error.to_string())?;
        self.reloads += 1;
        Ok(is_notified)
    }

    /// Whether sessions are being ended, so that the next round should start soon.
    pub(super) fn is_busy(&self) -> bool {
        self.endings.is_busy()
    }

    /// Whether the last CRL was published less than `period` ago.
    pub(super) fn has_published_within(&self, period: Duration) -> bool {
        self.list.as_ref().is_some_and(|list| list.published_at.elapsed() < period)
    }

    /// Forgets ended sessions: the broker may have admitted revoked devices since.
    pub(super) fn doubt_sessions(&mut self) {
        self.endings.restart();
    }

    /// Records that the file is not the published CRL, so nothing is enforced whatever the broker
    /// still does. Returns a sentence for the operator.
    pub(super) async fn record_damage(
        &mut self,
        ledger: &mut RevocationLedger,
        why: &str,
    ) -> Result<String, Outage> {
        let canaries = self.list.as_ref().and_then(|list| list.canaries.as_ref());
        let outcome = match (&self.probe, canaries) {
            (Some(probe), Some(canaries)) => Some(probe.run(canaries).await),
            _ => None,
        };
        let finding = match outcome {
            Some(CrlEnforcement::InForce) => {
                format!("{why}; the broker keeps the last CRL until it reads the file again")
            }
            Some(CrlEnforcement::Not(what) | CrlEnforcement::Unseen(what)) => {
                format!("{why}; {what}")
            }
            None => why.to_owned(),
        };
        if let Some(list) = &mut self.list {
            list.is_in_force = false;
            list.probed_at = None;
            list.finding = Some(finding.clone());
        }
        ledger.note_enforced(false, Some(&finding)).await?;
        Ok(finding)
    }

    /// Starts with a new CRL, which revokes one certificate of `canaries`.
    pub(super) fn start_list(&mut self, number: u64, canaries: Option<ProbePair>) {
        if let Some(canaries) = &canaries {
            self.plugins.admit(ProbeUse::Crl, canaries.valid());
        }
        let finding = self.list.take().and_then(|list| list.finding);
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.list = Some(List {
            number,
            canaries,
            published_at: Instant::now(),
            notified_at: None,
            is_in_force: false,
            probed_at: None,
            finding,
        });
    }

    /// Runs the steps as far as they succeed.
    pub(super) async fn enforce(
        &mut self,
        ledger: &mut RevocationLedger,
        open: &[OpenRevocation],
    ) -> Result<(), EnforcementError> {
        self.notify(ledger, open).await?;
        if self.check_list(ledger, open).await? {
            self.end_sessions(ledger, open).await?;
        }
        Ok(())
    }

    /// Notifies the broker if that is owed.
    async fn notify(
        &mut self,
        ledger: &mut RevocationLedger,
        open: &[OpenRevocation],
    ) -> Result<(), EnforcementError> {
        let can_prove = self.can_prove();
        let Some(list) = &self.list else { return Ok(()) };
        let is_overdue = |notified_at: Instant| {
            can_prove && !list.is_in_force && notified_at.elapsed() > REPEAT_AFTER
        };
        if list.notified_at.is_some_and(|notified_at| !is_overdue(notified_at)) {
            return Ok(());
        }
        let waiting = ids(open, |one| !one.is_reloaded);
        match self.reload().await {
            Ok(is_notified) => {
                if let Some(list) = &mut self.list {
                    list.notified_at = Some(Instant::now());
                }
                if is_notified {
                    ledger.note_held(RevocationStep::Reloaded, &waiting).await?;
                }
                Ok(())
            }
            Err(why) => {
                ledger.note_failed(RevocationStep::Reloaded, &why, &waiting).await?;
                Err(EnforcementError::Step(why))
            }
        }
    }

    /// Whether the broker has the CRL; probes it if that is due.
    async fn check_list(
        &mut self,
        ledger: &mut RevocationLedger,
        open: &[OpenRevocation],
    ) -> Result<bool, EnforcementError> {
        let Some(list) = &mut self.list else { return Ok(false) };
        let is_young = list.published_at.elapsed() < GRACE;
        let (Some(probe), Some(canaries)) = (&self.probe, &list.canaries) else {
            return Ok(list.published_at.elapsed() > UNPROVEN_GRACE);
        };
        let period = match (list.is_in_force, is_young) {
            (true, _) => PERIOD_IN_FORCE,
            (false, true) => Duration::ZERO,
            (false, false) => PERIOD_NOT_IN_FORCE,
        };
        if list.probed_at.is_some_and(|probed_at| probed_at.elapsed() < period) {
            return list.state();
        }
        let outcome =
            probe_repeatedly(probe, canaries, if is_young { QUICK_PROBES } else { 1 }).await;
        list.probed_at = Some(Instant::now());
        list.is_in_force = outcome == CrlEnforcement::InForce;
        match outcome {
            CrlEnforcement::InForce => {
                list.finding = None;
                ledger.note_enforced(true, None).await?;
                // With a watcher this proof is the only sign of the reload.
                let waiting = ids(open, |one| !one.is_reloaded);
                ledger.note_held(RevocationStep::Reloaded, &waiting).await?;
            }
            // The broker may be about to read the CRL; an earlier finding stays.
            CrlEnforcement::Not(_) if is_young => {}
            CrlEnforcement::Unseen(_) if list.published_at.elapsed() < UNSEEN_GRACE => {}
            CrlEnforcement::Not(why) => {
                list.finding =
                    Some(note_finding(ledger, RevocationStep::Reloaded, why, open).await?);
            }
            CrlEnforcement::Unseen(why) => {
                list.finding = Some(note_finding(ledger, RevocationStep::Proven, why, open).await?);
            }
        }
        list.state()
    }

    /// Ends the sessions of devices the broker now refuses, and completes the revocation of each
    /// ended one.
    async fn end_sessions(
        &mut self,
        ledger: &mut RevocationLedger,
        open: &[OpenRevocation],
    ) -> Result<(), EnforcementError> {
        let progress = self.endings.run_round(open).await;
        let failing = i64::try_from(self.endings.failing()).unwrap_or(i64::MAX);
        self.metrics.sessions_not_ended.set(failing);
        for (id, why) in &progress.failed {
            let why = format!("the live session was not ended: {why}");
            ledger.note_failed(RevocationStep::Ended, &why, std::slice::from_ref(id)).await?;
        }
        if !progress.ended.is_empty() {
            ledger.note_held(RevocationStep::Ended, &progress.ended).await?;
        }
        let is_ended =
            |one: &&OpenRevocation| one.is_ended || progress.ended.contains(&one.certificate_id);
        let is_listed = |one: &&OpenRevocation| one.crl_number.is_some() && !one.is_proven;
        let last: Vec<&OpenRevocation> = open.iter().filter(is_listed).filter(is_ended).collect();
        self.close(ledger, &last).await?;
        self.endings.trouble().map_or(Ok(()), |why| Err(EnforcementError::Step(why)))
    }

    /// Completes each revocation in `last`.
    async fn close(
        &self,
        ledger: &mut RevocationLedger,
        last: &[&OpenRevocation],
    ) -> Result<(), Outage> {
        let ids: Vec<Uuid> = last.iter().map(|one| one.certificate_id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        if !self.can_prove() {
            return ledger.note_failed(RevocationStep::Proven, NO_PROBE, &ids).await;
        }
        ledger.note_held(RevocationStep::Proven, &ids).await?;
        for one in last {
            let seconds = (self.now)().seconds_since(Timestamp::from(one.noticed_at)).max(0.0);
            self.metrics.revocation_seconds.observe(seconds);
            let (certificate, name) = (one.certificate_id, &one.common_name);
            tracing::info!(%certificate, name, seconds, "the broker enforces a revocation");
        }
        Ok(())
    }
}

// === impl List ===

impl List {
    /// Whether the broker has the CRL, or the finding of the last probe.
    fn state(&self) -> Result<bool, EnforcementError> {
        self.finding.clone().map_or(Ok(self.is_in_force), |why| Err(EnforcementError::Step(why)))
    }
}

// --- private helpers ---

/// Notes the finding `why` and the step it concerns.
async fn note_finding(
    ledger: &mut RevocationLedger,
    step: RevocationStep,
    why: String,
    open: &[OpenRevocation],
) -> Result<String, Outage> {
    ledger.note_enforced(false, Some(&why)).await?;
    ledger.note_failed(step, &why, &ids(open, |_| true)).await?;
    Ok(why)
}

async fn probe_repeatedly(probe: &BrokerProbe, canaries: &ProbePair, times: u32) -> CrlEnforcement {
    let started_at = Instant::now();
    let mut outcome = probe.run(canaries).await;
    for _ in 1..times {
        // A slow broker must not delay the file and new revocations.
        if outcome == CrlEnforcement::InForce || started_at.elapsed() > QUICK_BUDGET {
            break;
        }
        sleep(QUICK_PAUSE).await;
        outcome = probe.run(canaries).await;
    }
    outcome
}

/// The certificates of `open` that are in a CRL and satisfy `wanted`.
fn ids(open: &[OpenRevocation], wanted: impl Fn(&OpenRevocation) -> bool) -> Vec<Uuid> {
    open.iter()
        .filter(|one| one.crl_number.is_some() && wanted(one))
        .map(|one| one.certificate_id)
        .collect()
}
