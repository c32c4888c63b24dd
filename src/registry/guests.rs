//! Guests: issues public credentials and verifies them, for all replicas alike.
//!
//! What was issued stands in Postgres; what was looked up lately is remembered, so that a guest who comes back costs no
//! query. It limits nobody's rate, and a token is in no log, no row and no memory of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::access::hooks::guest::{self, GuestId, GuestRefusal, Pass};
use crate::access::hooks::subject::Subject;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::store::access::guests::{self, GuestRow};
use crate::store::connection::database::Database;

/// How long what Postgres said is believed without asking again: a row deleted by hand ends its guest within this.
const REMEMBERED_SECONDS: f64 = 60.0;

/// How many credentials are remembered, 100 bytes each; past it those asked about longest ago are asked again.
const REMEMBERED_MAX: usize = 20_000;

/// Credentials stored at a time: the public must not take the pool from those who serve devices.
const ISSUED_AT_ONCE: usize = 1;

/// Lookups at a time. They do not stand behind those who ask for credentials, however many these are.
const LOOKED_UP_AT_ONCE: usize = 2;

/// How long a login waits for Postgres: the broker stands still meanwhile.
const LOGIN_PATIENCE: Duration = Duration::from_secs(2);

/// Public credentials. Cheap to clone, shared by those who issue and those who verify.
#[derive(Clone, Debug)]
pub struct Guests(Arc<GuestIssuer>);

#[derive(Debug)]
struct GuestIssuer {
    database: Database,
    bound: u32,
    clock: Clock,
    issuing: Semaphore,
    looking_up: Semaphore,
    remembered: Mutex<HashMap<GuestId, CachedCredential>>,
}

#[derive(Clone, Copy, Debug)]
struct CachedCredential {
    pass: Pass,
    asked_at: Timestamp,
}

/// A credential as it is handed over, once.
pub struct Credential {
    /// Who the guest is from now on.
    pub id: GuestId,
    /// What proves it.
    pub token: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Why none was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestIssueError {
    /// There are as many as there may be.
    #[error("{0} guest credentials are good at the moment and no more are issued (PUBLIC_MAX_GUESTS): try again later")]
    Full(u32),
    /// The system gave no random bytes.
    #[error("the system gave no randomness for a token: try again")]
    NoRandomness,
    /// Postgres did not take it.
    #[error(transparent)]
    Outage(#[from] Outage),
}

// === impl Guests ===

impl Guests {
    /// On this database, with at most so many credentials good at a time.
    pub fn new(database: Database, bound: u32, clock: Clock) -> Self {
        let (issuing, looking_up) = (Semaphore::new(ISSUED_AT_ONCE), Semaphore::new(LOOKED_UP_AT_ONCE));
        Self(Arc::new(GuestIssuer { database, bound, clock, issuing, looking_up, remembered: Mutex::default() }))
    }

    /// Issues one; when it returns, every replica can verify it.
    pub async fn issue(&self) -> Result<Credential, GuestIssueError> {
        let office = &self.0;
        let (id, token) = guest::make().ok_or(GuestIssueError::NoRandomness)?;
        let turn = office.issuing.acquire().await;
        let now = (office.clock)();
        let row = GuestRow { token: token.hash(), expires_at: now.plus_seconds(guest::LIFETIME_SECONDS) };
        let added = guests::add(office.database.pool(), id.uuid(), &row, office.bound).await?;
        drop(turn);
        if !added {
            return Err(GuestIssueError::Full(office.bound));
        }
        office.remember(id, row.into(), now);
        Ok(Credential { id, token: token.into_text(), expires_at: row.expires_at })
    }

    /// Whether this user name and token, under this client id, are a guest's at this moment; and who it is then.
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

// === impl Office ===

impl GuestIssuer {
    /// From memory while that is fresh, else from Postgres. While Postgres is away, what is remembered holds to its end.
    async fn pass(&self, id: GuestId, now: Timestamp) -> Result<Pass, GuestRefusal> {
        let remembered = self.recall(id);
        if let Some(fresh) = remembered.filter(|known| known.is_fresh(now)) {
            return Ok(fresh.pass);
        }
        match self.look_up(id).await {
            Ok(Some(row)) => {
                self.remember(id, row.into(), now);
                Ok(row.into())
            }
            Ok(None) => {
                self.locked().remove(&id);
                Err(GuestRefusal::Unknown)
            }
            Err(Outage(why)) => remembered.map(|known| known.pass).ok_or(GuestRefusal::Unavailable(why)),
        }
    }

    async fn look_up(&self, id: GuestId) -> Result<Option<GuestRow>, Outage> {
        let asked = async {
            let _turn = self.looking_up.acquire().await;
            guests::find(self.database.pool(), id.uuid()).await
        };
        timeout(LOGIN_PATIENCE, asked).await.unwrap_or_else(|_| Err(Outage("Postgres did not answer in time".into())))
    }

    fn recall(&self, id: GuestId) -> Option<CachedCredential> {
        self.locked().get(&id).copied()
    }

    fn remember(&self, id: GuestId, pass: Pass, now: Timestamp) {
        let mut remembered = self.locked();
        if remembered.len() >= REMEMBERED_MAX && !remembered.contains_key(&id) {
            remembered.retain(|_, known| known.is_fresh(now));
            // All of the last minute: none of them is better than another, and forgetting costs a query each.
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
        }
        remembered.insert(id, CachedCredential { pass, asked_at: now });
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<GuestId, CachedCredential>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Remembered ===

impl CachedCredential {
    fn is_fresh(&self, now: Timestamp) -> bool {
        (0.0..REMEMBERED_SECONDS).contains(&now.seconds_since(self.asked_at)) && now < self.pass.expires_at
    }
}

// === impl Pass ===

impl From<GuestRow> for Pass {
    fn from(row: GuestRow) -> Self {
        Self { token: row.token, expires_at: row.expires_at }
    }
}
