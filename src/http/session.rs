//! Sessions of the console: who sends a request of a browser, and how a person signs in and out.
//!
//! Read it in this order:
//!
//! 1. [`arrival`] says from where a request comes, and whether by HTTPS;
//! 2. [`cookie`] holds the secret of a session, and the token that each change must repeat;
//! 3. [`person`] finds the person of a request, [`sign_in`] opens and ends sessions;
//! 4. [`recent`] remembers them for the time in which Postgres does not answer;
//! 5. [`attempts`] limits the tries of an address, [`upkeep`] deletes sessions that have ended.
//!
//! Sessions are rows of Postgres, so replicas and restarts agree on them. It renders no page.

pub(crate) mod arrival;
pub(crate) mod attempts;
pub(crate) mod cookie;
pub(crate) mod person;
pub(crate) mod recent;
pub(crate) mod sign_in;
pub(crate) mod upkeep;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Extensions;
use axum::http::request::Parts;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::config::sections::console::ConsoleConfig;
use crate::domain::time::{Clock, Timestamp};
use crate::domain::token::TokenHash;
use crate::store::connection::database::Database;
use crate::telemetry::console::ConsoleMetrics;
use arrival::Arrival;
use attempts::Attempts;
use recent::RecentPeople;

/// Look-ups of sessions and operators at a time: each takes a millisecond, and ingest must find a
/// connection.
const LOOKUPS_MAX: usize = 2;

/// How long a look-up may take: pages say within seconds that Postgres does not answer.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(2);

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
    attempts: Mutex<Attempts>,
    recent: Mutex<RecentPeople>,
    clock: Clock,
}

// === impl Sessions ===

impl Sessions {
    /// For these settings and this database.
    pub fn new(config: &Config, database: Database, metrics: ConsoleMetrics, clock: Clock) -> Self {
        let admin_token = config.http.admin_token.as_ref();
        Self {
            shared: Arc::new(Shared {
                database,
                settings: config.console.clone(),
                admin_token: admin_token.map(|token| TokenHash::of(token.expose())),
                metrics,
                lookups: Semaphore::new(LOOKUPS_MAX),
                attempts: Mutex::new(Attempts::new()),
                recent: Mutex::default(),
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

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.shared.attempts.lock().unwrap_or_else(PoisonError::into_inner)
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
