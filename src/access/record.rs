//! What operators see of access at the broker: the policy in force, and which requests the hooks
//! denied lately.
//!
//! It keeps no password and no token: a name that is one is replaced by words. It is bounded, and
//! lives in memory: a restart forgets it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::hooks::caller::{Caller, Claim};
use super::hooks::denial::Denial;
use super::policy::Policy;
use super::policy::lint::lint;
use super::policy::reloading::ActivePolicy;
use super::policy::rule::{Action, Actions};
use crate::domain::time::Timestamp;

/// The most denials that differ.
pub const DENIALS_MAX: usize = 256;

/// The most characters that are kept of a name, a topic or a reason.
const TEXT_MAX: usize = 256;

/// The policy in force and the recent denials. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct AccessRecord {
    policy: Arc<OnceLock<ActivePolicy>>,
    lint: Arc<Mutex<Option<LintedPolicy>>>,
    /// The recent denials.
    pub denials: RecentDenials,
}

/// A policy, and how many findings there are about its rules.
#[derive(Clone, Debug)]
struct LintedPolicy {
    policy: Arc<Policy>,
    findings: usize,
}

/// The recent denials. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecentDenials(Arc<Mutex<DenialRing>>);

#[derive(Debug, Default)]
struct DenialRing {
    /// The one that came last is at the end.
    rows: VecDeque<RecentDenial>,
    forgotten: u64,
}

/// What a client wanted.
#[derive(Clone, Copy, Debug)]
pub enum AskedFor<'a> {
    /// To log in.
    Login,
    /// A topic, with the broker's bit mask of actions.
    Topic {
        /// The bit mask.
        acc: u8,
        /// The topic or filter.
        topic: &'a str,
    },
}

/// Denials that are the same, with their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentDenial {
    /// Who: a user name, or words for a token and for no name.
    pub who: String,
    /// The client id; empty if the broker sent none.
    pub client_id: String,
    /// `login`, or the actions.
    pub action: String,
    /// The topic or filter; empty for a login.
    pub topic: String,
    /// Why, with the rule if one decided.
    pub reason: String,
    /// Whether a fault of Sluice denied it, and no rule.
    pub is_fault: bool,
    /// How often.
    pub count: u64,
    /// When first.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
}

// === impl AccessRecord ===

impl AccessRecord {
    /// Follows the active policy, whose file may change.
    pub fn follow(&self, policy: ActivePolicy) {
        // The daemon opens one policy.
        let _is_first = self.policy.set(policy);
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        let active = self.policy.get().map(ActivePolicy::policy);
        active.unwrap_or_else(|| Arc::new(Policy::built_in()))
    }

    /// The number of rules in force, and of findings about them. A policy is examined once.
    pub fn rules_and_findings(&self) -> (usize, usize) {
        let policy = self.policy();
        let rules = policy.allows().len() + policy.denies().len();
        let mut linted = self.lint.lock().unwrap_or_else(PoisonError::into_inner);
        let known = linted.as_ref().filter(|known| Arc::ptr_eq(&known.policy, &policy));
        let findings = known.map_or_else(|| lint(&policy).len(), |known| known.findings);
        *linted = Some(LintedPolicy { policy, findings });
        (rules, findings)
    }
}

// === impl RecentDenials ===

impl RecentDenials {
    /// Notes a denial; the oldest is forgotten when there are too many.
    pub fn note(&self, caller: Caller<'_>, asked: AskedFor<'_>, denial: &Denial, now: Timestamp) {
        let row = RecentDenial::new(caller, asked, denial, now);
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = ring.rows.iter().rposition(|other| other.is_same(&row));
        let row = match same.and_then(|at| ring.rows.remove(at)) {
            Some(known) => RecentDenial { count: known.count + 1, last: now, ..known },
            None => row,
        };
        if ring.rows.len() == DENIALS_MAX {
            ring.rows.pop_front();
            ring.forgotten += 1;
        }
        ring.rows.push_back(row);
    }

    /// The denials, the last first, and how many others were forgotten.
    pub fn list(&self) -> (Vec<RecentDenial>, u64) {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (ring.rows.iter().rev().cloned().collect(), ring.forgotten)
    }
}

// === impl RecentDenial ===

impl RecentDenial {
    fn new(caller: Caller<'_>, asked: AskedFor<'_>, denial: &Denial, now: Timestamp) -> Self {
        let who = match caller.claim() {
            Claim::Token { name: Some(name), .. } => format!("{name} (by token)"),
            Claim::Token { name: None, .. } => "a token".to_owned(),
            Claim::Anonymous => "no name".to_owned(),
            _ => caller.username().unwrap_or_default().to_owned(),
        };
        let (action, topic) = match asked {
            AskedFor::Login => ("login".to_owned(), ""),
            AskedFor::Topic { acc, topic } => (actions(acc), topic),
        };
        Self {
            who: cut(&who),
            client_id: cut(caller.client_id),
            action,
            topic: cut(topic),
            reason: cut(&denial.to_string()),
            is_fault: denial.is_fault(),
            count: 1,
            first: now,
            last: now,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.who == other.who
            && self.topic == other.topic
            && self.client_id == other.client_id
            && self.action == other.action
            && self.reason == other.reason
    }
}

// === private helpers ===

fn actions(acc: u8) -> String {
    let Some(actions) = Actions::from_acc(acc) else { return format!("acc {acc}") };
    actions.iter().map(Action::name).collect::<Vec<_>>().join(", ")
}

/// The first characters; a client chooses the text.
fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";

    fn noted(denials: &RecentDenials, name: &str, topic: &str, second: i64) {
        let caller = Caller::new(None, Some(name), "c1");
        let at = Timestamp::from_micros(second * 1_000_000);
        let asked = AskedFor::Topic { acc: 2, topic };
        denials.note(caller, asked, &Denial::Policy("denied to publish: by rules[0]".into()), at);
    }

    #[test]
    fn equal_denials_are_counted_and_the_oldest_are_forgotten() {
        let denials = RecentDenials::default();
        noted(&denials, "alice", "a", 1);
        noted(&denials, "bob", "a", 2);
        noted(&denials, "alice", "a", 3);
        let (rows, forgotten) = denials.list();
        assert_eq!((rows.len(), forgotten), (2, 0));
        assert_eq!(
            (rows[0].who.as_str(), rows[0].count, rows[0].action.as_str()),
            ("alice", 2, "publish")
        );
        assert_eq!((rows[0].first.micros(), rows[0].last.micros()), (1_000_000, 3_000_000));
        for n in 0..DENIALS_MAX {
            noted(&denials, "carol", &n.to_string(), 4);
        }
        let (rows, forgotten) = denials.list();
        assert_eq!((rows.len(), forgotten), (DENIALS_MAX, 2));
        noted(&denials, "carol", &"x".repeat(100_000), 5);
        assert!(denials.list().0[0].topic.len() < 2 * TEXT_MAX);
    }

    #[test]
    fn a_token_is_never_kept() {
        let denials = RecentDenials::default();
        for caller in [
            Caller::new(None, Some(TOKEN), "c"),
            Caller::new(Some(TOKEN), None, "c"),
            Caller::new(Some(TOKEN), Some("alice"), "c"),
        ] {
            denials.note(caller, AskedFor::Login, &Denial::OtherName, Timestamp::from_micros(0));
        }
        let shown = format!("{denials:?}");
        assert!(!shown.contains("eyJ") && shown.contains("alice (by token)"), "{shown}");
    }
}
