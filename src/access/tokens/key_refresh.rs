//! Keeps one issuer's keys in memory: refreshes them ahead of time, and uses the old ones while the
//! issuer is unreachable.
//!
//! Each issuer has one refresher, which runs one read at a time. Only a login waits for it, and
//! briefly.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::fetch::{self, FetchError, MAX_BYTES};
use super::keys::{KeySet, KeysError};
use crate::config::sections::issuer::IssuerKeySource;
use crate::disk;
use crate::domain::time::{Clock, Timestamp};
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::telemetry::issuer_keys::IssuerKeyMetrics;

/// The interval between successful fetches: a withdrawn key is trusted for at most this long.
const REFRESH: Duration = Duration::from_mins(15);

/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(15);

/// The interval between reads of a file: they are cheap, and an operator expects a new key to act
/// at once.
const FILE_REFRESH: Duration = Duration::from_secs(2);

/// The pause between fetches caused by unknown keys: any client can invent the id of a key.
const REQUEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a login waits for a new key. Mosquitto is blocked meanwhile, and its timeout may be one
/// second.
const LOGIN_TIMEOUT: Duration = Duration::from_millis(800);

/// How long keys are trusted after the last read, while the issuer is unreachable.
pub const KEYS_LAST_SECONDS: i64 = 24 * 3600;

const HEALTH_TEXTS: HealthTexts = HealthTexts {
    failed: "reading an issuer's keys failed",
    action: "retrying; keys that were read before stay trusted for 24 hours, and without any the issuer's tokens are \
        refused",
    recovered: "the issuer's keys are readable again",
};

/// How often the age metric is updated.
const AGE_INTERVAL: Duration = Duration::from_secs(5);

/// Refreshes the keys of one issuer.
pub struct KeyRefresher {
    issuer: String,
    source: IssuerKeySource,
    cached: watch::Sender<CachedKeys>,
    refresh_request: Arc<Notify>,
    metrics: IssuerKeyMetrics,
    clock: Clock,
    health: HealthReporter,
}

/// Reads the cached keys of one issuer, and requests newer ones.
#[derive(Clone)]
pub struct CachedKeysReader {
    cached: watch::Receiver<CachedKeys>,
    refresh_request: Arc<Notify>,
}

#[derive(Clone, Debug, Default)]
struct CachedKeys {
    /// The keys and the time of the read.
    keys: Option<(Arc<KeySet>, Timestamp)>,
    /// Counts the changes of the keys: a proof of another generation is not used again.
    generation: u64,
    /// When the last read ended, successfully or not.
    last_read: Option<Instant>,
}

/// Why a refresh failed.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the file is unreadable ({0})")]
    File(#[from] io::Error),
    #[error(transparent)]
    Keys(#[from] KeysError),
}

// === impl KeyRefresher ===

impl KeyRefresher {
    pub(super) fn new(
        issuer: &str,
        source: IssuerKeySource,
        metrics: IssuerKeyMetrics,
        clock: Clock,
    ) -> (Self, CachedKeysReader) {
        let (sender, cached) = watch::channel(CachedKeys::default());
        let refresh_request = Arc::new(Notify::new());
        let keys = CachedKeysReader { cached, refresh_request: refresh_request.clone() };
        let refresher = Self {
            issuer: issuer.to_owned(),
            source,
            cached: sender,
            refresh_request,
            metrics,
            clock,
            health: HealthReporter::log_only("issuer keys", HEALTH_TEXTS),
        };
        refresher.update_age();
        (refresher, keys)
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut due = Instant::now();
        loop {
            let tick = Instant::now() + AGE_INTERVAL;
            let is_requested = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.refresh_request.notified() => true,
                () = sleep_until(due.min(tick)) => false,
            };
            self.update_age();
            if Instant::now() < due && !(is_requested && may_request_refresh(&self.cached.borrow()))
            {
                continue;
            }
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                read = read(&self.source) => read,
            };
            due = Instant::now() + self.apply(read);
        }
    }

    /// Applies the result of a read, and returns the pause before the next one.
    fn apply(&mut self, read: Result<KeySet, RefreshError>) -> Duration {
        let is_file = !matches!(self.source, IssuerKeySource::Url { .. });
        let pause = match read {
            Ok(keys) => {
                self.keep(keys);
                REFRESH
            }
            Err(trouble) => {
                self.cached.send_modify(|cached| cached.last_read = Some(Instant::now()));
                let cause = format!("{} from {}: {trouble}", self.issuer, self.source);
                self.health.failed(&cause, std::time::Instant::now());
                RETRY
            }
        };
        self.update_age();
        if is_file { FILE_REFRESH } else { pause }
    }

    fn keep(&mut self, keys: KeySet) {
        let now = (self.clock)();
        let count = keys.len();
        let mut is_new = false;
        self.cached.send_modify(|cached| {
            is_new = cached.keys.as_ref().is_none_or(|(known, _)| **known != keys);
            cached.generation += u64::from(is_new);
            cached.keys = Some((Arc::new(keys), now));
            cached.last_read = Some(Instant::now());
        });
        self.health.worked(std::time::Instant::now());
        if is_new {
            let (issuer, source) = (&self.issuer, &self.source);
            tracing::info!(issuer, keys = count, "the issuer's keys were read from {source}");
        }
    }

    fn update_age(&self) {
        let age = self
            .cached
            .borrow()
            .keys
            .as_ref()
            .map(|(_, read_at)| (self.clock)().seconds_since(*read_at));
        self.metrics.set_keys_age(&self.issuer, age);
    }
}

// === impl CachedKeysReader ===

impl CachedKeysReader {
    /// The keys and their generation. `None` means there are none, or they are too old.
    pub(super) fn valid_at(&self, now: Timestamp) -> Option<(Arc<KeySet>, u64)> {
        let cached = self.cached.borrow();
        let (keys, read_at) = cached.keys.as_ref()?;
        (now < read_at.plus_seconds(KEYS_LAST_SECONDS)).then(|| (keys.clone(), cached.generation))
    }

    /// Whether the keys of `generation` are the current ones and not too old.
    pub(super) fn is_current(&self, generation: u64, now: Timestamp) -> bool {
        let cached = self.cached.borrow();
        let is_trusted =
            |(_, read_at): &(Arc<KeySet>, Timestamp)| now < read_at.plus_seconds(KEYS_LAST_SECONDS);
        cached.generation == generation && cached.keys.as_ref().is_some_and(is_trusted)
    }

    /// Whether the key with this hash may be current. Before the first read, every key may be.
    pub(super) fn may_hold(&self, hash: &[u8; 16]) -> bool {
        self.cached.borrow().keys.as_ref().is_none_or(|(keys, _)| keys.holds(hash))
    }

    /// Requests newer keys without waiting for them.
    pub(super) fn request_refresh(&self) {
        if may_request_refresh(&self.cached.borrow()) {
            self.refresh_request.notify_one();
        }
    }

    /// Waits for the next read, which all waiting logins share. It returns false at once if the
    /// last read is recent.
    pub(super) async fn wait_for_refresh(&self) -> bool {
        let mut cached = self.cached.clone();
        if !may_request_refresh(&cached.borrow_and_update()) {
            return false;
        }
        self.refresh_request.notify_one();
        matches!(timeout(LOGIN_TIMEOUT, cached.changed()).await, Ok(Ok(())))
    }
}

// --- private helpers ---

fn may_request_refresh(cached: &CachedKeys) -> bool {
    cached.last_read.is_none_or(|last_read| last_read.elapsed() >= REQUEST_PAUSE)
}

async fn read(source: &IssuerKeySource) -> Result<KeySet, RefreshError> {
    Ok(match source {
        IssuerKeySource::Url { url, ca_cert } => {
            KeySet::from_jwks(&fetch::fetch(url, ca_cert.as_deref()).await?)?
        }
        IssuerKeySource::JwksFile(path) => KeySet::from_jwks(&read_file(path).await?)?,
        IssuerKeySource::PemFile(path) => KeySet::from_pem(&read_file(path).await?)?,
    })
}

async fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let at = path.to_owned();
    disk::run(path, move || disk::read(&at, MAX_BYTES as u64)).await.map_err(io::Error::other)?
}
