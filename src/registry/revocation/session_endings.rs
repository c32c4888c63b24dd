//! Ends the live sessions of revoked devices, many at a time and independently. A failed attempt
//! delays no other; it is retried with growing pauses and logged once.
//!
//! Attempts continue between rounds. It does not decide which devices are revoked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::broker::error::BrokerError;
use crate::broker::tools::takeover::{self, TakeoverEnd};
use crate::config::sections::broker::BrokerConfig;
use crate::plugin_link::PluginControl;
use crate::plugin_link::control::Closing;
use crate::store::certificates::revocation_ledger::{MAX_OPEN, OpenRevocation};

/// Attempts at the same time.
const MAX_ATTEMPTS: usize = 32;

/// Most attempts among these that are retries: they may fail slowly.
const MAX_RETRIES: usize = 8;

/// Longest duration of one attempt, reached only if the broker hangs.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait of a round for attempts, so that a new revocation is published meanwhile.
const ROUND_SHARE: Duration = Duration::from_millis(500);

/// Pause after the first failure. It doubles with each further one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Most failures that are tracked; those beyond are retried at once.
const MAX_FAILURES: usize = 10_000;

/// The running attempts and the failed ones.
pub struct Endings {
    broker: Arc<BrokerConfig>,
    plugins: PluginControl,
    attempts: JoinSet<Result<(), String>>,
    running: HashMap<task::Id, (Uuid, String)>,
    failures: HashMap<Uuid, EndingFailure>,
    /// Whether the ledger holds more than the last round got.
    has_more: bool,
}

/// A session whose last attempt failed.
struct EndingFailure {
    name: String,
    why: String,
    times: u32,
    retry_at: Instant,
}

/// The outcome of one round.
#[derive(Debug, Default)]
pub struct Progress {
    /// Certificates whose sessions ended.
    pub ended: Vec<Uuid>,
    /// Certificates whose attempt failed, with the cause.
    pub failed: Vec<(Uuid, String)>,
}

// === impl Endings ===

impl Endings {
    /// Ends sessions through the listener of `broker` that the daemon uses.
    pub fn new(broker: BrokerConfig) -> Self {
        let (attempts, running, failures) = (JoinSet::new(), HashMap::new(), HashMap::new());
        let (broker, plugins) = (Arc::new(broker), PluginControl::default());
        Self { broker, plugins, attempts, running, failures, has_more: false }
    }

    /// Closes sessions through the broker's plugins, where they are connected.
    pub fn with_plugins(self, plugins: PluginControl) -> Self {
        Self { plugins, ..self }
    }

    /// Starts due attempts and collects outcomes for `ROUND_SHARE`. `open` holds the ledger's open
    /// revocations.
    pub async fn run_round(&mut self, open: &[OpenRevocation]) -> Progress {
        let is_all = i64::try_from(open.len()).is_ok_and(|length| length < MAX_OPEN);
        if is_all {
            // Revocations that are no longer open need no retry.
            let known: HashSet<Uuid> = open.iter().map(|one| one.certificate_id).collect();
            self.failures.retain(|id, _| known.contains(id));
        }
        let deadline = Instant::now() + ROUND_SHARE;
        let mut due = self.due(open).into_iter();
        let mut progress = Progress::default();
        loop {
            while self.running.len() < MAX_ATTEMPTS {
                let Some(one) = due.next() else { break };
                self.start(one);
            }
            match timeout_at(deadline, self.attempts.join_next_with_id()).await {
                Ok(Some(joined)) => self.handle_ended(joined, &mut progress),
                Ok(None) | Err(_) => break,
            }
        }
        self.has_more = !is_all && !progress.ended.is_empty();
        self.name_new_failures(&progress);
        progress
    }

    /// Whether attempts run or more are due, so that the next round should start soon.
    pub fn is_busy(&self) -> bool {
        self.has_more || !self.running.is_empty()
    }

    /// Number of sessions whose last attempt failed.
    pub fn failing(&self) -> usize {
        self.failures.len()
    }

    /// A sentence about the failed ones; `None` means that there are none.
    pub fn trouble(&self) -> Option<String> {
        let first = self.failures.values().min_by(|one, other| one.name.cmp(&other.name))?;
        let others = match self.failures.len() - 1 {
            0 => String::new(),
            count => format!(", and {count} more were not ended"),
        };
        Some(format!(
            "the live session of {:?} was not ended ({}){others}: a revoked device may still \
             publish; Sluice retries; a restart of the broker ends the session",
            first.name, first.why
        ))
    }

    /// Aborts the running attempts: an ended session may have come back since.
    pub fn restart(&mut self) {
        self.attempts = JoinSet::new();
        self.running.clear();
    }

    /// The revocations to attempt in this round; retries come last.
    fn due<'a>(&self, open: &'a [OpenRevocation]) -> Vec<&'a OpenRevocation> {
        let now = Instant::now();
        let running: HashSet<Uuid> = self.running.values().map(|(id, _)| *id).collect();
        let is_wanted = |one: &&OpenRevocation| {
            one.crl_number.is_some() && !one.is_ended && !running.contains(&one.certificate_id)
        };
        let wanted = open.iter().filter(is_wanted);
        let (again, mut due): (Vec<_>, Vec<_>) =
            wanted.partition(|one| self.failures.contains_key(&one.certificate_id));
        let is_due = |one: &&OpenRevocation| {
            self.failures.get(&one.certificate_id).is_some_and(|it| it.retry_at <= now)
        };
        let repeated = running.iter().filter(|id| self.failures.contains_key(id)).count();
        due.extend(again.into_iter().filter(is_due).take(MAX_RETRIES.saturating_sub(repeated)));
        due
    }

    fn start(&mut self, one: &OpenRevocation) {
        let takeover_end =
            if one.has_successor { TakeoverEnd::Messages } else { TakeoverEnd::Nothing };
        let (broker, name) = (Arc::clone(&self.broker), one.common_name.clone());
        let (plugins, fingerprint) = (self.plugins.clone(), one.fingerprint_sha256.clone());
        let started = self.attempts.spawn(async move {
            let closing = plugins.close(&name, &fingerprint).await;
            if matches!(closing, Closing::Closed(1..)) {
                return Ok(());
            }
            match timeout(ATTEMPT_TIMEOUT, takeover::end_session(&broker, &name, takeover_end))
                .await
            {
                Ok(ended) => after_takeover(closing, ended),
                Err(_) => {
                    Err(format!("the broker did not answer within {} s", ATTEMPT_TIMEOUT.as_secs()))
                }
            }
        });
        self.running.insert(started.id(), (one.certificate_id, one.common_name.clone()));
    }

    fn handle_ended(
        &mut self,
        joined: Result<(task::Id, Result<(), String>), JoinError>,
        progress: &mut Progress,
    ) {
        let (task, result) = match joined {
            Ok((task, result)) => (task, result),
            Err(error) => (error.id(), Err(error.to_string())),
        };
        let Some((id, name)) = self.running.remove(&task) else { return };
        match result {
            Ok(()) => {
                self.failures.remove(&id);
                progress.ended.push(id);
            }
            Err(why) => {
                self.note_failure(id, name, why.clone());
                progress.failed.push((id, why));
            }
        }
    }

    fn note_failure(&mut self, id: Uuid, name: String, why: String) {
        let times = self.failures.get(&id).map_or(1, |failure| failure.times.saturating_add(1));
        if times > 1 || self.failures.len() < MAX_FAILURES {
            let retry_at = Instant::now() + pause_after(times);
            self.failures.insert(id, EndingFailure { name, why, times, retry_at });
        }
    }

    /// Logs one line for all first failures.
    fn name_new_failures(&self, progress: &Progress) {
        let is_new = |id: &Uuid| self.failures.get(id).filter(|failure| failure.times == 1);
        let mut new = progress.failed.iter().filter_map(|(id, _)| is_new(id));
        if let Some(EndingFailure { name, why, .. }) = new.next() {
            let others = new.count();
            tracing::error!(
                ?name,
                others,
                "the live session of a revoked device was not ended: {why}; Sluice retries"
            );
        }
    }
}

// --- private helpers ---

/// Whether the session has ended. A plugin refuses the takeover while another client has the client id; it
/// has confirmed before that no session of the certificate is open.
fn after_takeover(closing: Closing, ended: Result<(), BrokerError>) -> Result<(), String> {
    match ended {
        Err(BrokerError::Refused { .. }) if closing == Closing::Closed(0) => Ok(()),
        ended => ended.map_err(|trouble| trouble.to_string()),
    }
}

fn pause_after(times: u32) -> Duration {
    let factor = 1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_from_the_first_to_the_longest() {
        assert_eq!(pause_after(1), FIRST_PAUSE);
        assert_eq!(pause_after(2), 2 * FIRST_PAUSE);
        assert_eq!([pause_after(9), pause_after(40), pause_after(u32::MAX)], [LONGEST_PAUSE; 3]);
    }
}
