//! Issues public credentials to guests and verifies them; every replica accepts the credentials of
//! all.
//!
//! Postgres holds what was issued. A cache holds recent lookups, so that a guest who reconnects
//! costs no query. It limits no rate. A token is written to no log, no row and no cache: they hold
//! its hash.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::access::hooks::guest::{self, GuestId, GuestRefusal, Pass};
use crate::access::hooks::subject::Subject;
use crate::access::hooks::two_generation_map::TwoGenerationMap;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::store::access::guests::{self, GuestRow};
use crate::store::connection::database::Database;

/// Longest age of a cached row: the guest of a row deleted by hand is refused within this time.
const CACHE_SECONDS: f64 = 60.0;

/// Most credentials in the cache, about 100 bytes each; a full cache drops those not read lately.
const CACHE_MAX: usize = 20_000;

/// Credentials stored at the same time: guests must not exhaust the pool that devices need.
const CONCURRENT_ISSUES: usize = 1;

/// Lookups at the same time. They do not queue behind requests for new credentials.
const CONCURRENT_LOOKUPS: usize = 2;

/// Longest wait of a login for Postgres: Mosquitto blocks on the answer.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Issues and verifies public credentials. Clones share one cache.
#[derive(Clone, Debug)]
pub struct Guests(Arc<GuestIssuer>);

#[derive(Debug)]
struct GuestIssuer {
    database: Database,
    max_credentials: u32,
    clock: Clock,
    issue_permits: Semaphore,
    lookup_permits: Semaphore,
    cache: Mutex<TwoGenerationMap<GuestId, CachedCredential>>,
}

#[derive(Clone, Copy, Debug)]
struct CachedCredential {
    pass: Pass,
    queried_at: Timestamp,
}

/// A new credential; the token is returned once.
pub struct Credential {
    /// The identity of the guest, and its user name.
    pub id: GuestId,
    /// The token that proves the identity.
    pub token: String,
    /// When the credential expires.
    pub expires_at: Timestamp,
}

/// Why no credential was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestIssueError {
    /// `PUBLIC_MAX_GUESTS` credentials are valid already.
    #[error(
        "{0} guest credentials are valid, and PUBLIC_MAX_GUESTS allows no further one: try again \
         later"
    )]
    Full(u32),
    /// The operating system returned no random bytes.
    #[error("the system returned no random bytes for a token: try again")]
    NoRandomness,
    /// Postgres did not store it.
    #[error(transparent)]
    Outage(#[from] Outage),
}

// === impl Guests ===

impl Guests {
    /// Uses `database`; at most `bound` credentials are valid at the same time.
    pub fn new(database: Database, max_credentials: u32, clock: Clock) -> Self {
        let (issue_permits, lookup_permits) =
            (Semaphore::new(CONCURRENT_ISSUES), Semaphore::new(CONCURRENT_LOOKUPS));
        Self(Arc::new(GuestIssuer {
            database,
            max_credentials,
            clock,
            issue_permits,
            lookup_permits,
            cache: Mutex::new(TwoGenerationMap::new(CACHE_MAX)),
        }))
    }

    /// Issues a credential. When it returns, every replica can verify it.
    pub async fn issue(&self) -> Result<Credential, GuestIssueError> {
        let issuer = &self.0;
        let (id, token) = guest::make().ok_or(GuestIssueError::NoRandomness)?;
        let permit = issuer.issue_permits.acquire().await;
        let now = (issuer.clock)();
        let row =
            GuestRow { token: token.hash(), expires_at: now.plus_seconds(guest::LIFETIME_SECONDS) };
        let added =
            guests::add(issuer.database.pool(), id.uuid(), &row, issuer.max_credentials).await?;
        drop(permit);
        if !added {
            return Err(GuestIssueError::Full(issuer.max_credentials));
        }
        issuer.store_in_cache(id, row.into(), now);
        Ok(Credential { id, token: token.into_text(), expires_at: row.expires_at })
    }

    /// Verifies `user_name` and `token` under `client_id` at `now`, and returns the guest.
    pub async fn verify(
        &self,
        user_name: &str,
        token: &str,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Subject, GuestRefusal> {
        let id: GuestId = user_name.parse()?;
        guest::check_client_id(client_id)?;
        self.0.pass(id, now).await?.admit(id, token, now)
    }
}

// === impl GuestIssuer ===

impl GuestIssuer {
    /// Returns the cached row while it is fresh, else the row in Postgres. During an outage a
    /// cached row is valid until it expires.
    async fn pass(&self, id: GuestId, now: Timestamp) -> Result<Pass, GuestRefusal> {
        let cached = self.cached(id);
        if let Some(fresh) = cached.filter(|entry| entry.is_fresh(now)) {
            return Ok(fresh.pass);
        }
        match self.look_up(id).await {
            Ok(Some(row)) => {
                self.store_in_cache(id, row.into(), now);
                Ok(row.into())
            }
            Ok(None) => {
                self.lock_cache().remove(&id);
                Err(GuestRefusal::Unknown)
            }
            Err(Outage(why)) => {
                cached.map(|entry| entry.pass).ok_or(GuestRefusal::Unavailable(why))
            }
        }
    }

    async fn look_up(&self, id: GuestId) -> Result<Option<GuestRow>, Outage> {
        let query = async {
            let _permit = self.lookup_permits.acquire().await;
            guests::find(self.database.pool(), id.uuid()).await
        };
        timeout(LOGIN_TIMEOUT, query)
            .await
            .unwrap_or_else(|_| Err(Outage("Postgres did not answer in time".into())))
    }

    fn cached(&self, id: GuestId) -> Option<CachedCredential> {
        self.lock_cache().get(&id)
    }

    fn store_in_cache(&self, id: GuestId, pass: Pass, now: Timestamp) {
        self.lock_cache().insert(id, CachedCredential { pass, queried_at: now });
    }

    fn lock_cache(&self) -> MutexGuard<'_, TwoGenerationMap<GuestId, CachedCredential>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl CachedCredential ===

impl CachedCredential {
    fn is_fresh(&self, now: Timestamp) -> bool {
        (0.0..CACHE_SECONDS).contains(&now.seconds_since(self.queried_at))
            && now < self.pass.expires_at
    }
}

// === impl Pass ===

impl From<GuestRow> for Pass {
    fn from(row: GuestRow) -> Self {
        Self { token: row.token, expires_at: row.expires_at }
    }
}
