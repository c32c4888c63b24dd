//! Logins whose proof the broker does not repeat: kept in memory, and written to Postgres in the
//! background for a restart and for other replicas.
//!
//! It stores no token and no password. A login never waits for Postgres: a lost write is logged and
//! counted.

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
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::telemetry::hooks::HookMetrics;

/// Logins in memory, at most 8 KiB each. The next request of any other login causes a lookup in
/// Postgres.
const LOGINS_MAX: usize = 20_000;

/// Logins that wait to be written; further ones exist in memory only.
const WAITING_MAX: usize = 10_000;

/// Logins in one statement.
const BATCH_MAX: usize = 500;

/// How long a miss is cached: a login at another replica can stay unknown here for this long.
const MISS_SECONDS: f64 = 5.0;

/// The pause after a failed write.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How often expired logins are deleted, and how long after their end, because clocks differ.
const PURGE_PERIOD: Duration = Duration::from_mins(1);
const PURGE_AFTER_SECONDS: i64 = 600;

/// The last second of the year 9999: a row holds no later time.
const LAST_END: Timestamp = Timestamp::from_micros(253_402_300_799_000_000);

/// How long the last write may take when the daemon stops.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(2);

const HEALTH_TEXTS: HealthTexts = HealthTexts {
    failed: "storing logins in Postgres failed",
    action: "retrying; until it succeeds a restart loses them",
    recovered: "logins are stored in Postgres again",
};

/// The hash of a user name and a client id; no other pair has the same input.
type LoginKey = [u8; 32];

/// The logins. Clones share them.
#[derive(Clone, Debug)]
pub struct Logins(Arc<SharedLogins>);

#[derive(Debug)]
struct SharedLogins {
    memory: Mutex<TwoGenerationMap<LoginKey, KnownLogin>>,
    waiting: Mutex<HashMap<LoginKey, BrokerLogin>>,
    written_signal: Notify,
    metrics: HookMetrics,
}

/// The subject of a login, and the key that proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The subject.
    pub subject: Arc<Subject>,
    /// The key that signed its token. `None` means a guest, or a login written by an older release.
    pub signer: Option<TokenSigner>,
}

/// The cached result for a pair of names.
#[derive(Clone, Debug)]
enum KnownLogin {
    Held(Holder),
    NoLogin { since: Timestamp },
}

/// The answer of the memory for a pair of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginAnswer {
    /// This holder has the names.
    Held(Holder),
    /// A recent lookup found no login.
    NoLogin,
    /// The memory has no answer: look it up.
    Unknown,
}

// === impl Logins ===

impl Logins {
    /// An empty memory.
    pub fn new(metrics: HookMetrics) -> Self {
        let (memory, waiting) = (Mutex::new(TwoGenerationMap::new(LOGINS_MAX)), Mutex::default());
        Self(Arc::new(SharedLogins { memory, waiting, written_signal: Notify::new(), metrics }))
    }

    /// Stores a login under these names. A live login for which `keeps_names` is true keeps them,
    /// also when both logins arrive at the same moment.
    pub fn remember(
        &self,
        username: &str,
        client_id: &str,
        holder: Holder,
        now: Timestamp,
        keeps_names: impl FnOnce(&Holder) -> bool,
    ) -> Result<(), Denial> {
        let login = login_of(username, client_id, &holder, now);
        login.check()?;
        let key = key(username, client_id);
        {
            let mut memory = self.memory();
            if matches!(memory.get(&key), Some(KnownLogin::Held(known)) if !known.has_ended(now) && keeps_names(&known))
            {
                return Err(Denial::NamesTaken);
            }
            memory.insert(key, KnownLogin::Held(holder));
        }
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&key) {
            self.0.metrics.plain.logins_lost.inc();
        } else {
            waiting.insert(key, login);
        }
        drop(waiting);
        self.0.written_signal.notify_one();
        Ok(())
    }

    /// Reads the login of these names from memory. An expired one is unknown, because another
    /// replica may have a newer one.
    pub fn recall(&self, username: &str, client_id: &str, now: Timestamp) -> LoginAnswer {
        match self.memory().get(&key(username, client_id)) {
            Some(KnownLogin::Held(holder)) if !holder.has_ended(now) => LoginAnswer::Held(holder),
            Some(KnownLogin::NoLogin { since })
                if (0.0..MISS_SECONDS).contains(&now.seconds_since(since)) =>
            {
                LoginAnswer::NoLogin
            }
            _ => LoginAnswer::Unknown,
        }
    }

    /// Caches the result of a lookup, and returns the holder of the names. A login proved here in
    /// the meantime wins.
    pub fn apply_lookup(
        &self,
        username: &str,
        client_id: &str,
        found: Option<BrokerLogin>,
        now: Timestamp,
    ) -> Option<Holder> {
        let key = key(username, client_id);
        let mut memory = self.memory();
        let holder = match memory.get(&key) {
            Some(KnownLogin::Held(holder)) if !holder.has_ended(now) => Some(holder),
            _ => found.and_then(holder_of).filter(|holder| !holder.has_ended(now)),
        };
        let entry = holder.clone().map_or(KnownLogin::NoLogin { since: now }, KnownLogin::Held);
        memory.insert(key, entry);
        holder
    }

    /// Writes logins to the logbook until `stop`, and deletes expired ones there.
    pub async fn keep<L: Logbook>(self, logbook: L, clock: Clock, stop: CancellationToken) {
        let mut purge_at = Instant::now() + PURGE_PERIOD;
        let mut health = HealthReporter::log_only("hook logins", HEALTH_TEXTS);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.0.written_signal.notified() => {}
                () = tokio::time::sleep_until(purge_at) => {
                    purge_at = Instant::now() + PURGE_PERIOD;
                    if let Err(outage) = logbook.purge(clock().plus_seconds(-PURGE_AFTER_SECONDS)).await {
                        report(&mut health, Err(outage));
                    }
                }
            }
            let written = self.write(&logbook).await;
            let is_written = written.is_ok();
            report(&mut health, written);
            if !is_written {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(RETRY_PAUSE) => self.0.written_signal.notify_one(),
                }
            }
        }
        let last = tokio::time::timeout(LAST_WRITE_TIMEOUT, self.write(&logbook)).await;
        let left = self.waiting().len();
        if !matches!(last, Ok(Ok(()))) && left > 0 {
            self.0.metrics.plain.logins_lost.inc_by(left as u64);
            tracing::warn!(
                left,
                "storing the last logins failed; these clients are denied until they log in again"
            );
        }
    }

    /// Writes all waiting logins. A failed one waits again, unless a later login has replaced it.
    async fn write<L: Logbook>(&self, logbook: &L) -> Result<(), Outage> {
        loop {
            let mut batch: Vec<(LoginKey, BrokerLogin)> = {
                let mut waiting = self.waiting();
                let keys: Vec<LoginKey> = waiting.keys().take(BATCH_MAX).copied().collect();
                keys.into_iter().filter_map(|key| waiting.remove_entry(&key)).collect()
            };
            if batch.is_empty() {
                return Ok(());
            }
            // A fixed order, so that replicas lock the same rows in the same order.
            batch.sort_by(|(_, one), (_, other)| {
                (&one.username, &one.client_id).cmp(&(&other.username, &other.client_id))
            });
            let (keys, logins): (Vec<LoginKey>, Vec<BrokerLogin>) = batch.into_iter().unzip();
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
    /// Whether the proof has expired.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.subject.has_ended(now)
    }

    /// Whether both are the same subject of the same issuer: two issuers can use one name for two
    /// people.
    pub fn is(&self, other: &Self) -> bool {
        let issuers = self.signer.zip(other.signer);
        let is_one_issuer = issuers.is_none_or(|(one, other)| one.issuer == other.issuer);
        self.subject.kind == other.subject.kind
            && self.subject.id == other.subject.id
            && is_one_issuer
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
        // A subject without an end never gets here; its login would end at once.
        expires_at: subject.expires_at.map_or(at, |end| end.min(LAST_END)),
        proved_by: holder.signer.map(Into::into),
    }
}

/// `None` means an unknown kind, or a device, which no row can prove.
fn holder_of(login: BrokerLogin) -> Option<Holder> {
    let kind = [SubjectKind::Service, SubjectKind::User, SubjectKind::Guest];
    let kind = kind.into_iter().find(|kind| kind.name() == &*login.kind)?;
    let BrokerLogin { subject, groups, scopes, expires_at, proved_by, .. } = login;
    let subject = Subject { kind, id: subject, groups, scopes, expires_at: Some(expires_at) };
    Some(Holder { subject: Arc::new(subject), signer: proved_by.map(TokenSigner::from) })
}

fn report(health: &mut HealthReporter, written: Result<(), Outage>) {
    let now = std::time::Instant::now();
    match written {
        Ok(()) => health.worked(now),
        Err(outage) => health.failed(&outage.0, now),
    }
}
