//! Keeps one issuer's keys in memory: reads them, reads them again ahead of time, and goes on with the old ones while the
//! issuer is away.
//!
//! There is one keeper to an issuer and one reading at a time. Nobody waits for it but a login, and that not for long.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::fetch::{self, FetchError, MAX_BYTES};
use super::keys::{KeySet, KeysError};
use crate::config::sections::access::IssuerKeySource;
use crate::disk;
use crate::domain::time::{Clock, Timestamp};
use crate::telemetry::issuer_keys::IssuerKeyMetrics;

/// How often keys are fetched while all is well: a key the issuer withdraws is trusted no longer than this.
const REFRESH: Duration = Duration::from_mins(15);

/// How soon it is tried again after a failure.
const RETRY: Duration = Duration::from_secs(15);

/// How often a file is looked at: cheap, and a new key acts as soon as a person expects it.
const FILE_LOOK: Duration = Duration::from_secs(2);

/// Unknown keys make the issuer be asked at most this often: anybody can make up a name of a key.
const ASK_PAUSE: Duration = Duration::from_secs(10);

/// How long a login waits for a new key. Mosquitto stands still meanwhile, and some set its patience to one second.
const LOGIN_PATIENCE: Duration = Duration::from_millis(800);

/// How long keys are trusted after they were last read, while the issuer is away.
pub const KEYS_LAST_SECONDS: i64 = 24 * 3600;

/// How often the age is shown.
const TICK: Duration = Duration::from_secs(5);

/// Looks after the keys of one issuer.
pub struct KeyRefresher {
    issuer: String,
    source: IssuerKeySource,
    kept: watch::Sender<CachedKeys>,
    wish: Arc<Notify>,
    metrics: IssuerKeyMetrics,
    clock: Clock,
    /// What was told last: trouble is said once, and once when it is over.
    trouble: Option<String>,
}

/// Where the keys are in memory, for those who verify.
#[derive(Clone)]
pub struct KeysAt {
    kept: watch::Receiver<CachedKeys>,
    wish: Arc<Notify>,
}

#[derive(Clone, Debug, Default)]
struct CachedKeys {
    /// The keys, and when they were read.
    keys: Option<(Arc<KeySet>, Timestamp)>,
    /// How often they have changed: what was verified with other keys than these is not trusted.
    generation: u64,
    /// When a reading last ended, well or not.
    tried: Option<Instant>,
}

/// Why there are no newer keys.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the file cannot be read ({0})")]
    File(#[from] io::Error),
    #[error(transparent)]
    Keys(#[from] KeysError),
}

// === impl Keeper ===

impl KeyRefresher {
    pub(super) fn new(
        issuer: &str,
        source: IssuerKeySource,
        metrics: IssuerKeyMetrics,
        clock: Clock,
    ) -> (Self, KeysAt) {
        let (sender, kept) = watch::channel(CachedKeys::default());
        let wish = Arc::new(Notify::new());
        let keys = KeysAt { kept, wish: wish.clone() };
        let keeper = Self { issuer: issuer.to_owned(), source, kept: sender, wish, metrics, clock, trouble: None };
        keeper.show_age();
        (keeper, keys)
    }

    /// Works until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut due = Instant::now();
        loop {
            let tick = Instant::now() + TICK;
            let is_wished = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.wish.notified() => true,
                () = sleep_until(due.min(tick)) => false,
            };
            self.show_age();
            if Instant::now() < due && !(is_wished && is_time_to_ask(&self.kept.borrow())) {
                continue;
            }
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                read = read(&self.source) => read,
            };
            due = Instant::now() + self.take(read);
        }
    }

    /// Keeps what was read; how long until the next reading.
    fn take(&mut self, read: Result<KeySet, RefreshError>) -> Duration {
        let is_file = !matches!(self.source, IssuerKeySource::Url { .. });
        let pause = match read {
            Ok(keys) => {
                self.keep(keys);
                REFRESH
            }
            Err(trouble) => {
                self.kept.send_modify(|kept| kept.tried = Some(Instant::now()));
                self.tell(trouble.to_string());
                RETRY
            }
        };
        self.show_age();
        if is_file { FILE_LOOK } else { pause }
    }

    fn keep(&mut self, keys: KeySet) {
        let (now, count) = ((self.clock)(), keys.len());
        let mut is_new = false;
        self.kept.send_modify(|kept| {
            is_new = kept.keys.as_ref().is_none_or(|(known, _)| **known != keys);
            kept.generation += u64::from(is_new);
            kept.keys = Some((Arc::new(keys), now));
            kept.tried = Some(Instant::now());
        });
        let (issuer, source) = (&self.issuer, &self.source);
        if self.trouble.take().is_some() {
            tracing::info!(issuer, keys = count, "the issuer's keys can be read from {source} again");
        } else if is_new {
            tracing::info!(issuer, keys = count, "the issuer's keys were read from {source}");
        }
    }

    /// Says it once, however its words change while it lasts.
    fn tell(&mut self, trouble: String) {
        let (issuer, source) = (&self.issuer, &self.source);
        let has_keys = self.kept.borrow().keys.is_some();
        if self.trouble.is_some() {
            tracing::debug!(issuer, "the issuer's keys still cannot be read from {source}: {trouble}");
        } else if has_keys {
            let hours = KEYS_LAST_SECONDS / 3600;
            tracing::warn!(
                issuer,
                "the issuer's keys cannot be read from {source}: {trouble}; those read before are trusted for {hours} hours"
            );
        } else {
            tracing::warn!(
                issuer,
                "the issuer's keys cannot be read from {source}: {trouble}; none of its tokens is believed until they are"
            );
        }
        self.trouble = Some(trouble);
    }

    fn show_age(&self) {
        let age = self.kept.borrow().keys.as_ref().map(|(_, read_at)| (self.clock)().seconds_since(*read_at));
        self.metrics.show_keys_age(&self.issuer, age);
    }
}

// === impl KeysAt ===

impl KeysAt {
    /// The keys and their generation, unless there are none or they were read too long ago.
    pub(super) fn good_at(&self, now: Timestamp) -> Option<(Arc<KeySet>, u64)> {
        let kept = self.kept.borrow();
        let (keys, read_at) = kept.keys.as_ref()?;
        (now < read_at.plus_seconds(KEYS_LAST_SECONDS)).then(|| (keys.clone(), kept.generation))
    }

    /// Whether the keys of this generation are still the ones that are good.
    pub(super) fn is_current(&self, generation: u64, now: Timestamp) -> bool {
        let kept = self.kept.borrow();
        let is_good = |(_, read_at): &(Arc<KeySet>, Timestamp)| now < read_at.plus_seconds(KEYS_LAST_SECONDS);
        kept.generation == generation && kept.keys.as_ref().is_some_and(is_good)
    }

    /// Whether the key of this hash is one of them, as far as is known: before the first reading none is missing.
    pub(super) fn may_hold(&self, hash: &[u8; 16]) -> bool {
        self.kept.borrow().keys.as_ref().is_none_or(|(keys, _)| keys.holds(hash))
    }

    /// Asks for newer keys, and does not wait for them.
    pub(super) fn ask(&self) {
        if is_time_to_ask(&self.kept.borrow()) {
            self.wish.notify_one();
        }
    }

    /// Waits for the next reading to end; false at once when the last one has only just ended. All who wait share one.
    pub(super) async fn renewed(&self) -> bool {
        let mut kept = self.kept.clone();
        if !is_time_to_ask(&kept.borrow_and_update()) {
            return false;
        }
        self.wish.notify_one();
        matches!(timeout(LOGIN_PATIENCE, kept.changed()).await, Ok(Ok(())))
    }
}

// --- private helpers ---

fn is_time_to_ask(kept: &CachedKeys) -> bool {
    kept.tried.is_none_or(|tried| tried.elapsed() >= ASK_PAUSE)
}

async fn read(source: &IssuerKeySource) -> Result<KeySet, RefreshError> {
    Ok(match source {
        IssuerKeySource::Url { url, ca_cert } => KeySet::from_jwks(&fetch::fetch(url, ca_cert.clone()).await?)?,
        IssuerKeySource::JwksFile(path) => KeySet::from_jwks(&read_file(path).await?)?,
        IssuerKeySource::PemFile(path) => KeySet::from_pem(&read_file(path).await?)?,
    })
}

async fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let at = path.to_owned();
    disk::apart(path, move || disk::read(&at, MAX_BYTES as u64)).await.map_err(io::Error::other)?
}
