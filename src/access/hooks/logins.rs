//! Logins whose proof the broker does not repeat: in memory for the next question, and written behind to the logbook, so
//! that a restart or another replica knows them too.
//!
//! It holds no token and no password. What Postgres does not take in time is told and counted, never waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::denial::Denial;
use super::subject::{Subject, SubjectKind};
use super::two_generation_map::TwoGenerationMap;
use crate::access::tokens::proof::TokenSigner;
use crate::domain::broker_login::BrokerLogin;
use crate::domain::ports::{Logbook, Outage};
use crate::domain::time::{Clock, Timestamp};
use crate::telemetry::hooks::HookMetrics;
use crate::telemetry::outage_log::Spell;

/// Logins in memory; the others are asked of Postgres when their next question comes. 8 KiB each at the very most.
const REMEMBERED: usize = 20_000;

/// Logins that wait for Postgres; those beyond are known until the daemon ends.
const WAITING: usize = 10_000;

/// Logins in one statement.
const AT_ONCE: usize = 500;

/// How long names without a login are not asked about again: so long a login at another replica may stay unknown here.
const NOBODY_SECONDS: f64 = 5.0;

/// The pause after Postgres did not take them.
const RETRY: Duration = Duration::from_secs(1);

/// How often those that have ended are deleted, and how long after their end: clocks differ.
const PURGE_PERIOD: Duration = Duration::from_mins(1);
const PURGE_AFTER_SECONDS: i64 = 600;

/// The last second of the year 9999: what a token says beyond it, no row holds.
const LAST_END: Timestamp = Timestamp::from_micros(253_402_300_799_000_000);

/// How long the last ones may take when the daemon stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// A user name and a client id, as one hash: neither can be made to look like another pair.
type LoginKey = [u8; 32];

/// The logins. Clones share them.
#[derive(Clone, Debug)]
pub struct Logins(Arc<SharedLogins>);

#[derive(Debug)]
struct SharedLogins {
    memory: Mutex<TwoGenerationMap<LoginKey, KnownLogin>>,
    waiting: Mutex<HashMap<LoginKey, BrokerLogin>>,
    bell: Notify,
    metrics: HookMetrics,
}

/// Whose login it is, and what proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who it is.
    pub subject: Arc<Subject>,
    /// What signed its token; none: a guest, or the login was written by an older release.
    pub signer: Option<TokenSigner>,
}

/// What is known of a pair of names.
#[derive(Clone, Debug)]
enum KnownLogin {
    Somebody(Holder),
    Nobody { since: Timestamp },
}

/// What memory says of a pair of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginAnswer {
    /// It is this one.
    Somebody(Holder),
    /// A moment ago there was no login.
    Nobody,
    /// It has to be looked up.
    Unknown,
}

// === impl Logins ===

impl Logins {
    /// Nobody is known yet.
    pub fn new(metrics: HookMetrics) -> Self {
        let (memory, waiting) = (Mutex::new(TwoGenerationMap::new(REMEMBERED)), Mutex::default());
        Self(Arc::new(SharedLogins { memory, waiting, bell: Notify::new(), metrics }))
    }

    /// Somebody logged in under these names. The names of a login that has not ended and `keeps_them` stay with it, also
    /// when it came at the same moment.
    pub fn remember(
        &self,
        username: &str,
        client_id: &str,
        holder: Holder,
        now: Timestamp,
        keeps_them: impl FnOnce(&Holder) -> bool,
    ) -> Result<(), Denial> {
        let login = login_of(username, client_id, &holder, now);
        login.check()?;
        let key = key(username, client_id);
        {
            let mut memory = self.memory();
            if matches!(memory.get(&key), Some(KnownLogin::Somebody(known)) if !known.has_ended(now) && keeps_them(&known))
            {
                return Err(Denial::NamesTaken);
            }
            memory.insert(key, KnownLogin::Somebody(holder));
        }
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING && !waiting.contains_key(&key) {
            self.0.metrics.plain.logins_lost.inc();
        } else {
            waiting.insert(key, login);
        }
        drop(waiting);
        self.0.bell.notify_one();
        Ok(())
    }

    /// Whose login these names are, as far as it is known here. One that has ended has to be looked up: there may be another
    /// since, at another replica.
    pub fn recall(&self, username: &str, client_id: &str, now: Timestamp) -> LoginAnswer {
        match self.memory().get(&key(username, client_id)) {
            Some(KnownLogin::Somebody(holder)) if !holder.has_ended(now) => LoginAnswer::Somebody(holder),
            Some(KnownLogin::Nobody { since }) if (0.0..NOBODY_SECONDS).contains(&now.seconds_since(since)) => {
                LoginAnswer::Nobody
            }
            _ => LoginAnswer::Unknown,
        }
    }

    /// Takes what the logbook said of these names, and says whose login it is. What was proved here in the meantime is not
    /// overwritten by it.
    pub fn learned(
        &self,
        username: &str,
        client_id: &str,
        found: Option<BrokerLogin>,
        now: Timestamp,
    ) -> Option<Holder> {
        let key = key(username, client_id);
        let mut memory = self.memory();
        let holder = match memory.get(&key) {
            Some(KnownLogin::Somebody(holder)) if !holder.has_ended(now) => Some(holder),
            _ => found.and_then(holder_of).filter(|holder| !holder.has_ended(now)),
        };
        let known = holder.clone().map_or(KnownLogin::Nobody { since: now }, KnownLogin::Somebody);
        memory.insert(key, known);
        holder
    }

    /// Carries logins to the logbook until `stop`, and deletes there what has ended.
    pub async fn keep<L: Logbook>(self, logbook: L, clock: Clock, stop: CancellationToken) {
        let mut purge_at = Instant::now() + PURGE_PERIOD;
        let mut trouble = Spell::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.0.bell.notified() => {}
                () = tokio::time::sleep_until(purge_at) => {
                    purge_at = Instant::now() + PURGE_PERIOD;
                    if let Err(outage) = logbook.purge(clock().plus_seconds(-PURGE_AFTER_SECONDS)).await {
                        tell(&mut trouble, Err(outage));
                    }
                }
            }
            let written = self.write(&logbook).await;
            let is_written = written.is_ok();
            tell(&mut trouble, written);
            if !is_written {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(RETRY) => self.0.bell.notify_one(),
                }
            }
        }
        let last = tokio::time::timeout(FAREWELL, self.write(&logbook)).await;
        let left = self.waiting().len();
        if !matches!(last, Ok(Ok(()))) && left > 0 {
            self.0.metrics.plain.logins_lost.inc_by(left as u64);
            tracing::warn!(
                left,
                "Postgres did not take the last logins: those clients are denied until they log in anew"
            );
        }
    }

    /// Writes all that waits; what is not taken waits on, unless a later login took its place.
    async fn write<L: Logbook>(&self, logbook: &L) -> Result<(), Outage> {
        loop {
            let mut lot: Vec<(LoginKey, BrokerLogin)> = {
                let mut waiting = self.waiting();
                let keys: Vec<LoginKey> = waiting.keys().take(AT_ONCE).copied().collect();
                keys.into_iter().filter_map(|key| waiting.remove_entry(&key)).collect()
            };
            if lot.is_empty() {
                return Ok(());
            }
            // In one order, so that replicas that write the same rows lock alike.
            lot.sort_by(|(_, one), (_, other)| {
                (&one.username, &one.client_id).cmp(&(&other.username, &other.client_id))
            });
            let (keys, logins): (Vec<LoginKey>, Vec<BrokerLogin>) = lot.into_iter().unzip();
            if let Err(outage) = logbook.keep(&logins).await {
                let mut waiting = self.waiting();
                for (key, login) in keys.into_iter().zip(logins) {
                    waiting.entry(key).or_insert(login);
                }
                return Err(outage);
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, TwoGenerationMap<LoginKey, KnownLogin>> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<LoginKey, BrokerLogin>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Holder ===

impl Holder {
    /// Whether what was proved has ended.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.subject.has_ended(now)
    }

    /// Whether both are one and the same. Two issuers may use one name for two people.
    pub fn is(&self, other: &Self) -> bool {
        let issuers = self.signer.zip(other.signer);
        let is_one_issuer = issuers.is_none_or(|(one, other)| one.issuer == other.issuer);
        self.subject.kind == other.subject.kind && self.subject.id == other.subject.id && is_one_issuer
    }
}

// === private helpers ===

fn key(username: &str, client_id: &str) -> LoginKey {
    let mut hash = Sha256::new();
    hash.update(username.len().to_be_bytes());
    hash.update(username);
    hash.update(client_id);
    hash.finalize().into()
}

fn login_of(username: &str, client_id: &str, holder: &Holder, at: Timestamp) -> BrokerLogin {
    let subject = &holder.subject;
    BrokerLogin {
        username: username.into(),
        client_id: client_id.into(),
        kind: subject.kind.name().into(),
        subject: subject.id.clone(),
        groups: subject.groups.clone(),
        scopes: subject.scopes.clone(),
        at,
        // Who has no end is no login of this kind; such a one ends at once.
        expires_at: subject.expires_at.map_or(at, |end| end.min(LAST_END)),
        proved_by: holder.signer.map(Into::into),
    }
}

/// None: a kind this sluice does not know, or a device, which is known by its name and by nothing a row says.
fn holder_of(login: BrokerLogin) -> Option<Holder> {
    let kind = [SubjectKind::Service, SubjectKind::User, SubjectKind::Guest];
    let kind = kind.into_iter().find(|kind| kind.name() == &*login.kind)?;
    let BrokerLogin { subject, groups, scopes, expires_at, proved_by, .. } = login;
    let subject = Subject { kind, id: subject, groups, scopes, expires_at: Some(expires_at) };
    Some(Holder { subject: Arc::new(subject), signer: proved_by.map(TokenSigner::from) })
}

/// Says trouble in few lines, however often it comes and goes.
fn tell(spell: &mut Spell, written: Result<(), Outage>) {
    match written {
        Ok(()) => {
            if spell.worked(std::time::Instant::now()).is_some() {
                tracing::info!("Postgres takes the logins again");
            }
        }
        Err(outage) => {
            if let Some(held_back) = spell.failed(&outage.0, std::time::Instant::now()) {
                tracing::warn!(%outage, held_back, "Postgres does not take the logins: a restart would forget them; trying again");
            }
        }
    }
}
