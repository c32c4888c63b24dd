//! Brings the broker to act on a list: tells it, sees that it has read the list, and only then ends live sessions, for one
//! that ends sooner is back at once.
//!
//! It makes no list. Whatever has not held is tried again at the next turn, and noted for those who wait.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::broker_probe::{BrokerProbe, CrlEnforcement, ProbePair};
use super::broker_reload::{Recheck, Reload};
use super::session_endings::Endings;
use crate::config::Config;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::lifecycle::Readiness;
use crate::store::certificates::revocation_ledger::{OpenRevocation, RevocationLedger, RevocationStep};
use crate::telemetry::revocation::RevocationMetrics;

/// How often the broker is tried while all is well, ...
const CALM_PERIOD: Duration = Duration::from_mins(3);

/// ... and while it is not.
const ALARMED_PERIOD: Duration = Duration::from_secs(5);

/// How long the broker may take to read a new list before that is a finding; a watcher looks every second or two.
const GRACE: Duration = Duration::from_secs(10);

/// A broker that cannot be seen so long after a list is a finding: one that hangs answers nobody.
const UNSEEN_GRACE: Duration = Duration::from_secs(3);

/// While it may take its time it is tried so often in a turn, so far apart: usually it has the list in a moment.
const QUICK_LOOKS: u32 = 8;
const QUICK_PAUSE: Duration = Duration::from_millis(100);
const QUICK_BUDGET: Duration = Duration::from_secs(1);

/// Where nothing can be proven, a broker is taken to have read the list after this long.
const UNPROVEN_GRACE: Duration = Duration::from_secs(3);

/// A broker that has not read the list is told again after this long: the first word may have been lost.
const REPEAT_AFTER: Duration = Duration::from_mins(1);

/// The part of readiness that the chain speaks for.
const PART: &str = "revocation";

pub(super) const NO_PROBE: &str = "BROKER_PROBE_ADDR is not set, so nobody looks what the broker does with the CRL";

/// Tells how the chain stands: in readiness always, in the log when it changes.
pub struct RevocationHealth {
    readiness: Readiness,
    said: Option<String>,
}

/// What is known of the broker and the list published last.
pub struct Enforcer {
    endings: Endings,
    metrics: RevocationMetrics,
    now: Clock,
    reload: Reload,
    prover: Option<BrokerProbe>,
    list: Option<List>,
    /// Times the broker was notified.
    reloads: u64,
    /// Why it must not be.
    hold: Option<String>,
}

/// The list published last, and how far the broker is with it.
struct List {
    number: i64,
    canaries: Option<ProbePair>,
    published: Instant,
    /// When the broker was told; none: it has to be.
    told: Option<Instant>,
    is_in_force: bool,
    looked: Option<Instant>,
    /// What was found wrong.
    finding: Option<String>,
}

/// What a step found wrong, beside what Postgres has to say.
type EnforcementStep<T> = Result<Result<T, String>, Outage>;

// === impl Voice ===

impl RevocationHealth {
    pub(super) const fn new(readiness: Readiness) -> Self {
        Self { readiness, said: None }
    }

    pub(super) fn well(&mut self) {
        self.readiness.well(PART);
        if self.said.take().is_some() {
            tracing::info!("revocation is in order again");
        }
    }

    pub(super) fn trouble(&mut self, why: String) {
        self.readiness.unwell(PART, why.clone());
        if self.said.as_ref() != Some(&why) {
            tracing::error!(%why, "revocation is not in order; it is tried again");
            self.said = Some(why);
        }
    }
}

// === impl Enforcer ===

impl Enforcer {
    pub(super) fn new(config: &Config, metrics: RevocationMetrics, now: Clock) -> Self {
        let (reload, prover) = (Reload::of(&config.certificates), BrokerProbe::of(config));
        let endings = Endings::new(config.broker.clone());
        Self { endings, metrics, now, reload, prover, list: None, reloads: 0, hold: None }
    }

    /// Whoever looks what the broker does is woken when it was told.
    pub(super) fn waking(self, recheck: Recheck) -> Self {
        Self { reload: self.reload.waking(recheck), ..self }
    }

    /// Says at start what can never hold with these settings.
    pub(super) fn announce(&self) {
        if self.prover.is_none() {
            tracing::warn!("{NO_PROBE}: revocations are carried out and cannot be proven");
        }
    }

    pub(super) const fn can_prove(&self) -> bool {
        self.prover.is_some()
    }

    /// The number of the list that was published here last.
    pub(super) fn published(&self) -> Option<i64> {
        self.list.as_ref().map(|list| list.number)
    }

    /// While the access rules could end a broker that reads them, it is not notified of anything.
    pub(super) fn hold(&mut self, why: Option<String>) {
        self.hold = why;
    }

    /// The broker has to read its files again, also when it has read the list.
    pub(super) const fn owe_reload(&mut self) {
        if let Some(list) = &mut self.list {
            list.told = None;
        }
    }

    /// Times the broker was notified.
    pub(super) const fn reloads(&self) -> u64 {
        self.reloads
    }

    /// Notifies the broker; says whether anybody was.
    pub(super) async fn reload(&mut self) -> Result<bool, String> {
        if let Some(why) = &self.hold {
            return Err(format!("the broker is not notified of any file, for its access rules could end it: {why}"));
        }
        let was_told = self.reload.tell().await.map_err(|error| error.to_string())?;
        self.reloads += 1;
        Ok(was_told)
    }

    /// Whether the next turn should come soon: sessions are being ended.
    pub(super) fn is_busy(&self) -> bool {
        self.endings.is_busy()
    }

    /// Whether the last list was published less than so long ago.
    pub(super) fn has_published_within(&self, period: Duration) -> bool {
        self.list.as_ref().is_some_and(|list| list.published.elapsed() < period)
    }

    /// The broker may have let in those it must not: what was ended counts no longer.
    pub(super) fn doubt_sessions(&mut self) {
        self.endings.restart();
    }

    /// The file is not what was published, so nothing is enforced, whatever the broker still does; that is looked at too.
    /// A sentence for the operator.
    pub(super) async fn lost(&mut self, ledger: &mut RevocationLedger, why: &str) -> Result<String, Outage> {
        let canaries = self.list.as_ref().and_then(|list| list.canaries.as_ref());
        let sight = match (&self.prover, canaries) {
            (Some(prover), Some(canaries)) => Some(prover.look(canaries).await),
            _ => None,
        };
        let finding = match sight {
            Some(CrlEnforcement::InForce) => {
                format!("{why}; the broker still has the last list, until it reads the file again")
            }
            Some(CrlEnforcement::Not(what) | CrlEnforcement::Unseen(what)) => format!("{why}; {what}"),
            None => why.to_owned(),
        };
        if let Some(list) = &mut self.list {
            list.is_in_force = false;
            list.looked = None;
            list.finding = Some(finding.clone());
        }
        ledger.note_enforced(false, Some(&finding)).await?;
        Ok(finding)
    }

    /// There is a new list; it revokes the one of the canaries.
    pub(super) fn renewed(&mut self, number: u64, canaries: Option<ProbePair>) {
        let finding = self.list.take().and_then(|list| list.finding);
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let (published, told, looked) = (Instant::now(), None, None);
        self.list = Some(List { number, canaries, published, told, is_in_force: false, looked, finding });
    }

    /// One turn: as far along the chain as it goes. The inner error is a sentence for the operator.
    pub(super) async fn enforce(
        &mut self,
        ledger: &mut RevocationLedger,
        open: &[OpenRevocation],
    ) -> EnforcementStep<()> {
        if let Err(why) = self.tell(ledger, open).await? {
            return Ok(Err(why));
        }
        match self.look(ledger, open).await? {
            Err(why) => Ok(Err(why)),
            Ok(false) => Ok(Ok(())),
            Ok(true) => self.end_sessions(ledger, open).await,
        }
    }

    /// Tells the broker when that is owed.
    async fn tell(&mut self, ledger: &mut RevocationLedger, open: &[OpenRevocation]) -> EnforcementStep<()> {
        let can_prove = self.can_prove();
        let Some(list) = &self.list else { return Ok(Ok(())) };
        let is_forgotten = |told: Instant| can_prove && !list.is_in_force && told.elapsed() > REPEAT_AFTER;
        if list.told.is_some_and(|told| !is_forgotten(told)) {
            return Ok(Ok(()));
        }
        let waiting = ids(open, |one| !one.is_reloaded);
        match self.reload().await {
            Ok(was_told) => {
                if let Some(list) = &mut self.list {
                    list.told = Some(Instant::now());
                }
                if was_told {
                    ledger.note_held(RevocationStep::Reloaded, &waiting).await?;
                }
                Ok(Ok(()))
            }
            Err(why) => {
                ledger.note_failed(RevocationStep::Reloaded, &why, &waiting).await?;
                Ok(Err(why))
            }
        }
    }

    /// Whether the broker has the list: tries it when that is due.
    async fn look(&mut self, ledger: &mut RevocationLedger, open: &[OpenRevocation]) -> EnforcementStep<bool> {
        let Some(list) = &mut self.list else { return Ok(Ok(false)) };
        let is_young = list.published.elapsed() < GRACE;
        let (Some(prover), Some(canaries)) = (&self.prover, &list.canaries) else {
            return Ok(Ok(list.published.elapsed() > UNPROVEN_GRACE));
        };
        let period = match (list.is_in_force, is_young) {
            (true, _) => CALM_PERIOD,
            (false, true) => Duration::ZERO,
            (false, false) => ALARMED_PERIOD,
        };
        if list.looked.is_some_and(|looked| looked.elapsed() < period) {
            return Ok(list.finding.clone().map_or(Ok(list.is_in_force), Err));
        }
        let sight = look_often(prover, canaries, if is_young { QUICK_LOOKS } else { 1 }).await;
        list.looked = Some(Instant::now());
        list.is_in_force = sight == CrlEnforcement::InForce;
        match sight {
            CrlEnforcement::InForce => {
                list.finding = None;
                ledger.note_enforced(true, None).await?;
                // Where a watcher tells the broker, this is how we hear of it.
                ledger.note_held(RevocationStep::Reloaded, &ids(open, |one| !one.is_reloaded)).await?;
            }
            // It may be about to read the list; what was wrong before still is.
            CrlEnforcement::Not(_) if is_young => {}
            CrlEnforcement::Unseen(_) if list.published.elapsed() < UNSEEN_GRACE => {}
            CrlEnforcement::Not(why) => list.finding = Some(found(ledger, RevocationStep::Reloaded, why, open).await?),
            CrlEnforcement::Unseen(why) => list.finding = Some(found(ledger, RevocationStep::Proven, why, open).await?),
        }
        Ok(list.finding.clone().map_or(Ok(list.is_in_force), Err))
    }

    /// Ends the sessions of those the broker now refuses, and closes the chain of each that is ended.
    async fn end_sessions(&mut self, ledger: &mut RevocationLedger, open: &[OpenRevocation]) -> EnforcementStep<()> {
        let progress = self.endings.turn(open).await;
        self.metrics.sessions_not_ended.set(i64::try_from(self.endings.failing()).unwrap_or(i64::MAX));
        for (id, why) in &progress.failed {
            let why = format!("the live session was not ended: {why}");
            ledger.note_failed(RevocationStep::Ended, &why, std::slice::from_ref(id)).await?;
        }
        if !progress.ended.is_empty() {
            ledger.note_held(RevocationStep::Ended, &progress.ended).await?;
        }
        let is_ended = |one: &&OpenRevocation| one.is_ended || progress.ended.contains(&one.certificate_id);
        let is_listed = |one: &&OpenRevocation| one.crl_number.is_some() && !one.is_proven;
        let last: Vec<&OpenRevocation> = open.iter().filter(is_listed).filter(is_ended).collect();
        self.close(ledger, &last).await?;
        Ok(self.endings.trouble().map_or(Ok(()), Err))
    }

    /// The last link of these.
    async fn close(&self, ledger: &mut RevocationLedger, last: &[&OpenRevocation]) -> Result<(), Outage> {
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
            tracing::info!(%certificate, name, seconds, "a revocation is in force at the broker");
        }
        Ok(())
    }
}

// --- private helpers ---

/// Notes what was found wrong, and which link it is of.
async fn found(
    ledger: &mut RevocationLedger,
    link: RevocationStep,
    why: String,
    open: &[OpenRevocation],
) -> Result<String, Outage> {
    ledger.note_enforced(false, Some(&why)).await?;
    ledger.note_failed(link, &why, &ids(open, |_| true)).await?;
    Ok(why)
}

async fn look_often(prover: &BrokerProbe, canaries: &ProbePair, times: u32) -> CrlEnforcement {
    let begun = Instant::now();
    let mut sight = prover.look(canaries).await;
    for _ in 1..times {
        // A broker that is slow to answer does not keep the file and new revocations waiting.
        if sight == CrlEnforcement::InForce || begun.elapsed() > QUICK_BUDGET {
            break;
        }
        sleep(QUICK_PAUSE).await;
        sight = prover.look(canaries).await;
    }
    sight
}

/// Those in a list of which this is true.
fn ids(open: &[OpenRevocation], wanted: impl Fn(&OpenRevocation) -> bool) -> Vec<Uuid> {
    open.iter().filter(|one| one.crl_number.is_some() && wanted(one)).map(|one| one.certificate_id).collect()
}
