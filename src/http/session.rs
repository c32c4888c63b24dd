//! Sessions of the console: who sends a request of a browser, and how a person signs in and out.
//!
//! Read it in this order:
//!
//! 1. [`arrival`] says from where a request comes, and whether by HTTPS;
//! 2. [`cookie`] holds the secret of a session, and the token that each change must repeat;
//! 3. [`person`] finds the person of a request, also by [`proxy`]; [`sign_in`] opens and ends
//!    sessions, also by an identity provider ([`oidc`]);
//! 4. [`recent`] remembers people for the time in which Postgres does not answer;
//! 5. [`attempts`] limits the tries of an address, [`upkeep`] deletes sessions that have ended.
//!
//! Sessions are rows of Postgres, so replicas and restarts agree on them. It renders no page.

pub(crate) mod arrival;
pub(crate) mod attempts;
pub(crate) mod cookie;
mod oidc;
pub(crate) mod person;
mod proxy;
pub(crate) mod recent;
pub(crate) mod sign_in;
pub(crate) mod upkeep;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Extensions;
use axum::http::request::Parts;
use tokio::sync::Semaphore;

use crate::access::oidc::OidcClient;
use crate::access::tokens::key_refresh::KeyRefresher;
use crate::config::Config;
use crate::config::sections::console::ConsoleConfig;
use crate::domain::time::{Clock, Timestamp};
use crate::domain::token::TokenHash;
use crate::store::connection::database::Database;
use crate::telemetry::console::ConsoleMetrics;
use crate::telemetry::logs::Repeated;
use crate::telemetry::metrics::Metrics;
use arrival::Arrival;
use attempts::LoginAttempts;
use recent::RecentPeople;

/// Look-ups of sessions and operators at a time: each takes a millisecond, and ingest must find a
/// connection.
const LOOKUPS_MAX: usize = 2;

/// How long a look-up may take: pages say within seconds that Postgres does not answer.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(2);

/// The interval between log lines about headers that only a trusted proxy may send.
const FOREIGN_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The sessions of the console. Clones share it.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    settings: ConsoleConfig,
    /// The hash of `ADMIN_TOKEN`.
    admin_token: Option<TokenHash>,
    metrics: ConsoleMetrics,
    lookups: Semaphore,
    attempts: Mutex<LoginAttempts>,
    recent: Mutex<RecentPeople>,
    foreign_log: Mutex<Repeated>,
    oidc: Option<OidcClient>,
    /// Keep the keys of the identity provider; the upkeep runs them.
    refreshers: Mutex<Vec<KeyRefresher>>,
    clock: Clock,
}

// === impl Sessions ===

impl Sessions {
    /// For these settings and this database.
    pub fn new(config: &Config, database: Database, metrics: &Metrics, clock: Clock) -> Self {
        let admin_token = config.http.admin_token.as_ref();
        let oidc = config.console.oidc.as_ref().and_then(|oidc| {
            let issuers = &config.access.issuers;
            let issuer = issuers.iter().find(|issuer| issuer.issuer == oidc.issuer)?;
            Some(OidcClient::open(oidc.clone(), issuer, &metrics.issuer_keys, clock))
        });
        let (oidc, refreshers) = oidc.unzip();
        Self {
            shared: Arc::new(Shared {
                database,
                settings: config.console.clone(),
                admin_token: admin_token.map(|token| TokenHash::of(token.expose())),
                metrics: metrics.console.clone(),
                lookups: Semaphore::new(LOOKUPS_MAX),
                attempts: Mutex::new(LoginAttempts::new()),
                recent: Mutex::default(),
                foreign_log: Mutex::new(Repeated::new(FOREIGN_LOG_INTERVAL)),
                oidc,
                refreshers: Mutex::new(refreshers.unwrap_or_default()),
                clock,
            }),
        }
    }

    /// From where a request comes.
    pub fn arrival(&self, parts: &Parts) -> Arrival {
        self.arrival_of(&parts.headers, &parts.extensions)
    }

    fn arrival_of(&self, headers: &axum::http::HeaderMap, extensions: &Extensions) -> Arrival {
        Arrival::of(headers, extensions, &self.shared.settings)
    }

    fn now(&self) -> Timestamp {
        (self.shared.clock)()
    }

    /// A session without a request since then has ended.
    fn idle_since(&self, now: Timestamp) -> Timestamp {
        now.plus_seconds(-whole_seconds(self.shared.settings.idle))
    }

    fn recent(&self) -> MutexGuard<'_, RecentPeople> {
        self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, LoginAttempts> {
        self.shared.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn foreign_log(&self) -> MutexGuard<'_, Repeated> {
        self.shared.foreign_log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole_seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// It contains the hash of a secret.
impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
