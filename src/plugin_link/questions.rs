//! Answers the logins that a plugin asks about, by the code that answers the hooks.
//!
//! It logs no user name, no password and no token.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sluice_shared::frames::from_daemon::{SubjectDocument, Verdict};
use sluice_shared::frames::from_plugin::{Question, QuestionKind};
use sluice_shared::frames::secret::SecretText;
use tokio::time::timeout;

use crate::access::hooks::authorizer::{HookAuthorizer, HookLookup};
use crate::access::hooks::caller::Caller;
use crate::access::hooks::denial::Denial;
use crate::access::hooks::subject::Subject;
use crate::access::record::{AskedFor, RecentDenials};
use crate::domain::time::{Clock, Timestamp};
use crate::telemetry::hooks::{HookMetrics, PLUGIN};

/// Upper bound of an answer. The plugin gives up earlier, and the client tries again.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause between two logged faults.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Answers a question; boxed, so that the link knows no look-up.
pub trait AnswerQuestions: Send + Sync + 'static {
    /// The answer, in bounded time.
    fn answer(&self, question: Question) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>>;
}

/// Answers by an authorizer.
pub struct Questions<K> {
    authorizer: Arc<HookAuthorizer<K>>,
    metrics: HookMetrics,
    denials: RecentDenials,
    clock: Clock,
    warned_at: Mutex<Option<Instant>>,
}

// === impl Questions ===

impl<K: HookLookup> Questions<K> {
    /// Answers as the hooks do, and counts and records as they do.
    pub fn new(
        authorizer: Arc<HookAuthorizer<K>>,
        metrics: HookMetrics,
        denials: RecentDenials,
        clock: Clock,
    ) -> Self {
        Self { authorizer, metrics, denials, clock, warned_at: Mutex::default() }
    }

    async fn decide(&self, question: &Question) -> Verdict {
        let started_at = Instant::now();
        let secret = question.secret.as_ref().map(SecretText::expose);
        let username = question.username.as_deref().filter(|name| !name.is_empty());
        let (bearer, password) = match question.kind {
            QuestionKind::Extended => (secret, None),
            QuestionKind::Password => (None, secret),
        };
        let caller = Caller::new(bearer, username, &question.client_id);
        let login = async {
            let subject = self.authorizer.login(caller, password).await?;
            self.authorizer.check_session_name(&subject).map(|()| subject)
        };
        let outcome = timeout(PATIENCE, login).await;
        let now = (self.clock)();
        let (result, verdict) = match outcome {
            Ok(Ok(subject)) if !subject.has_ended(now) => {
                (0, Verdict::Accepted(document(&subject)))
            }
            Ok(Ok(_)) => (1, Verdict::Denied { reason: "the proof has expired".to_owned() }),
            Ok(Err(denial)) => (self.refused(caller, &denial, now), verdict_of(&denial)),
            Err(_) => {
                let reason = format!("no answer within {} s", PATIENCE.as_secs());
                self.warn(&reason);
                (2, Verdict::Unavailable { reason })
            }
        };
        self.metrics.decided(PLUGIN, result).inc();
        self.metrics.plain.seconds.observe(started_at.elapsed().as_secs_f64());
        verdict
    }

    /// Records a denial, and returns the position of its result in the metrics.
    fn refused(&self, caller: Caller<'_>, denial: &Denial, now: Timestamp) -> usize {
        self.denials.note(caller, AskedFor::Login, denial, now);
        if !denial.is_fault() {
            return 1;
        }
        self.warn(&denial.to_string());
        2
    }

    /// Counts a fault. It repeats with each question, so the log gets few of them.
    fn warn(&self, why: &str) {
        self.metrics.plain.faults.inc();
        let mut warned_at = self.warned_at.lock().unwrap_or_else(PoisonError::into_inner);
        if warned_at.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
            *warned_at = Some(Instant::now());
            tracing::warn!("a login that the broker's plugin asked about was not decided: {why}");
        }
    }
}

impl<K: HookLookup> AnswerQuestions for Questions<K> {
    fn answer(&self, question: Question) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>> {
        Box::pin(async move { self.decide(&question).await })
    }
}

// --- private helpers ---

fn verdict_of(denial: &Denial) -> Verdict {
    let reason = denial.to_string();
    if denial.is_fault() { Verdict::Unavailable { reason } } else { Verdict::Denied { reason } }
}

fn document(subject: &Subject) -> SubjectDocument {
    let owned = |names: &[Box<str>]| names.iter().map(ToString::to_string).collect();
    SubjectDocument {
        kind: subject.kind.name().to_owned(),
        id: subject.id.to_string(),
        groups: owned(&subject.groups),
        scopes: owned(&subject.scopes),
        expires_at: subject.expires_at.map(Timestamp::micros),
    }
}
