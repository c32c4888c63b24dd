//! Ends the live sessions of revoked devices: many at a time, and each for itself. One that cannot be ended keeps no other
//! waiting; it is tried again later and later, and named once.
//!
//! An attempt goes on while the publisher does other things. It decides nothing about who is revoked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::broker::tools::takeover::{self, TakeoverEnd};
use crate::config::sections::broker::BrokerConfig;
use crate::store::certificates::revocation_ledger::{MAX_OPEN, OpenRevocation};

/// Attempts at a time.
const AT_ONCE: usize = 32;

/// Of these, so many at most are for sessions that could not be ended before: they may be slow to fail.
const REPEATED_AT_ONCE: usize = 8;

/// One attempt; it fails long before, unless the broker hangs.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(10);

/// A turn waits no longer than this for attempts, so that a new revocation is published meanwhile.
const TURN_SHARE: Duration = Duration::from_millis(500);

/// How long after a failure the next attempt is; twice as long after each further one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// So many failures are remembered; those beyond are tried again at once, like the first time.
const MAX_REMEMBERED: usize = 10_000;

/// The attempts under way, and those that failed.
pub struct Endings {
    broker: Arc<BrokerConfig>,
    attempts: JoinSet<Result<(), String>>,
    running: HashMap<task::Id, (Uuid, String)>,
    failures: HashMap<Uuid, EndingFailure>,
    /// The ledger holds more than it has shown.
    has_more: bool,
}

/// A session that could not be ended.
struct EndingFailure {
    name: String,
    why: String,
    times: u32,
    again: Instant,
}

/// What has happened since the last turn.
#[derive(Debug, Default)]
pub struct Progress {
    /// These sessions are ended.
    pub ended: Vec<Uuid>,
    /// These were tried and are not ended: why.
    pub failed: Vec<(Uuid, String)>,
}

// === impl Endings ===

impl Endings {
    /// On the daemon's own listener of the broker.
    pub fn new(broker: BrokerConfig) -> Self {
        let (attempts, running, failures) = (JoinSet::new(), HashMap::new(), HashMap::new());
        Self { broker: Arc::new(broker), attempts, running, failures, has_more: false }
    }

    /// Starts what is due and takes what has come of it, for a while. `open` is what the ledger knows.
    pub async fn turn(&mut self, open: &[OpenRevocation]) -> Progress {
        let is_all = i64::try_from(open.len()).is_ok_and(|length| length < MAX_OPEN);
        if is_all {
            // Those that are not among them need no attempt any more.
            let known: HashSet<Uuid> = open.iter().map(|one| one.certificate_id).collect();
            self.failures.retain(|id, _| known.contains(id));
        }
        let deadline = Instant::now() + TURN_SHARE;
        let mut due = self.due(open).into_iter();
        let mut progress = Progress::default();
        loop {
            while self.running.len() < AT_ONCE {
                let Some(one) = due.next() else { break };
                self.start(one);
            }
            match timeout_at(deadline, self.attempts.join_next_with_id()).await {
                Ok(Some(joined)) => self.take(joined, &mut progress),
                Ok(None) | Err(_) => break,
            }
        }
        self.has_more = !is_all && !progress.ended.is_empty();
        self.name_new_failures(&progress);
        progress
    }

    /// Whether attempts are under way or more are to come, so that the next turn should come soon.
    pub fn is_busy(&self) -> bool {
        self.has_more || !self.running.is_empty()
    }

    /// How many could not be ended when they were tried last.
    pub fn failing(&self) -> usize {
        self.failures.len()
    }

    /// A sentence about those that could not be ended; none: there are none.
    pub fn trouble(&self) -> Option<String> {
        let first = self.failures.values().min_by(|one, other| one.name.cmp(&other.name))?;
        let others = match self.failures.len() - 1 {
            0 => String::new(),
            count => format!(", nor were those of {count} others"),
        };
        Some(format!(
            "the live session of {:?} was not ended ({}){others}: a revoked device may still publish; it is tried again, \
             and a restart of the broker ends it",
            first.name, first.why
        ))
    }

    /// Forgets the attempts under way: what they end may have come back since.
    pub fn restart(&mut self) {
        self.attempts = JoinSet::new();
        self.running.clear();
    }

    /// Those to be tried in this turn, the ones that failed before at the end.
    fn due<'a>(&self, open: &'a [OpenRevocation]) -> Vec<&'a OpenRevocation> {
        let now = Instant::now();
        let running: HashSet<Uuid> = self.running.values().map(|(id, _)| *id).collect();
        let is_wanted =
            |one: &&OpenRevocation| one.crl_number.is_some() && !one.is_ended && !running.contains(&one.certificate_id);
        let wanted = open.iter().filter(is_wanted);
        let (again, mut due): (Vec<_>, Vec<_>) =
            wanted.partition(|one| self.failures.contains_key(&one.certificate_id));
        let is_due = |one: &&OpenRevocation| self.failures.get(&one.certificate_id).is_some_and(|it| it.again <= now);
        let repeated = running.iter().filter(|id| self.failures.contains_key(id)).count();
        due.extend(again.into_iter().filter(is_due).take(REPEATED_AT_ONCE.saturating_sub(repeated)));
        due
    }

    fn start(&mut self, one: &OpenRevocation) {
        let leaving = if one.has_successor { TakeoverEnd::Messages } else { TakeoverEnd::Nothing };
        let (broker, name) = (Arc::clone(&self.broker), one.common_name.clone());
        let started = self.attempts.spawn(async move {
            match timeout(ATTEMPT_PATIENCE, takeover::end_session(&broker, &name, leaving)).await {
                Ok(ended) => ended.map_err(|trouble| trouble.to_string()),
                Err(_) => Err(format!("the broker did not answer within {} s", ATTEMPT_PATIENCE.as_secs())),
            }
        });
        self.running.insert(started.id(), (one.certificate_id, one.common_name.clone()));
    }

    fn take(&mut self, joined: Result<(task::Id, Result<(), String>), JoinError>, progress: &mut Progress) {
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
        if times > 1 || self.failures.len() < MAX_REMEMBERED {
            let again = Instant::now() + pause_after(times);
            self.failures.insert(id, EndingFailure { name, why, times, again });
        }
    }

    /// One line for all that failed for the first time.
    fn name_new_failures(&self, progress: &Progress) {
        let is_new = |id: &Uuid| self.failures.get(id).filter(|failure| failure.times == 1);
        let mut new = progress.failed.iter().filter_map(|(id, _)| is_new(id));
        if let Some(EndingFailure { name, why, .. }) = new.next() {
            let others = new.count();
            tracing::error!(
                ?name,
                others,
                "a revoked device's live session was not ended: {why}; it is tried again, and no other waits for it"
            );
        }
    }
}

// --- private helpers ---

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
