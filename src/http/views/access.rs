//! The views of access at the broker: a decision with its rule, doubtful rules, recent denials. They
//! contain no token and no password.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::policy::lint::LintSuspicion;
use crate::access::policy::rule_place::RuleLines;
use crate::access::record::RecentDenial;

/// Whether a client may do something, and why.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AccessDecision")]
pub(crate) struct AccessDecisionView {
    /// Whether every action is allowed.
    pub(crate) allowed: bool,
    /// The action that decided: of several, the first denied one, or the last.
    pub(crate) action: Option<String>,
    /// What decided: `own_topics`, `guest_topics`, `rule`, `rules_together`, `not_capable`, `no_rule`, `guest`,
    /// `unknown_access` or `malformed`.
    pub(crate) because: String,
    /// The place of the deciding rule in the policy file, such as `rules[3]`.
    pub(crate) rule: Option<String>,
    /// The deciding rule in one line.
    pub(crate) rule_text: Option<String>,
    /// The lines of the deciding rule; null if no single rule decided, or the file has changed meanwhile.
    pub(crate) lines: Option<RuleLinesView>,
    /// The decision in a sentence.
    pub(crate) says: String,
    /// Whether a broker that queries superusers allows everything without another query.
    pub(crate) superuser: bool,
    /// The policy file; null: only the built-in rules apply.
    pub(crate) policy: Option<String>,
}

/// The lines of a rule in the policy file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RuleLines")]
pub(crate) struct RuleLinesView {
    /// The number of the first line.
    pub(crate) line: usize,
    /// The lines, at most 24.
    pub(crate) text: Vec<String>,
}

/// What is doubtful in the policy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AccessLint")]
pub(crate) struct AccessLintView {
    /// The policy file; null: only the built-in rules apply.
    pub(crate) policy: Option<String>,
    /// The number of rules in force.
    pub(crate) rules: usize,
    /// Why the file as it is now is not in force; null: it is.
    pub(crate) fault: Option<String>,
    /// The findings about the rules in force.
    pub(crate) findings: Vec<LintFindingView>,
}

/// A doubtful rule.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LintFinding")]
pub(crate) struct LintFindingView {
    /// `warning` or `error`.
    pub(crate) level: String,
    /// The place: a rule, or one topic of it.
    pub(crate) place: String,
    /// `never_matches`, `shadowed`, `not_capable`, `too_wide` or `too_narrow`.
    pub(crate) kind: String,
    /// What was found.
    pub(crate) what: String,
    /// What to do.
    pub(crate) advice: Option<String>,
}

/// What the hooks of the daemon denied since its start.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RecentDenials")]
pub(crate) struct DenialsView {
    /// The daemon that answers; each replica has its own list.
    pub(crate) client_id: String,
    /// The denials, the last first, at most 256. Equal ones are one row.
    pub(crate) denials: Vec<DenialView>,
    /// How many others were forgotten, because there were too many.
    pub(crate) forgotten: u64,
}

/// Denials that are the same.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RecentDenial")]
pub(crate) struct DenialView {
    /// The user name at the broker, or words for a token and for no name.
    pub(crate) who: String,
    /// The client id; empty if the broker sent none.
    pub(crate) client_id: String,
    /// `login`, or the actions.
    pub(crate) action: String,
    /// The topic or filter; empty for a login.
    pub(crate) topic: String,
    /// Why, with the rule if one decided.
    pub(crate) reason: String,
    /// Whether a fault of Sluice denied it, and no rule.
    pub(crate) is_fault: bool,
    /// How often.
    pub(crate) count: u64,
    /// When first.
    pub(crate) first_at: DateTime<Utc>,
    /// When last.
    pub(crate) last_at: DateTime<Utc>,
}

impl From<RuleLines> for RuleLinesView {
    fn from(lines: RuleLines) -> Self {
        Self { line: lines.line, text: lines.text }
    }
}

impl From<LintSuspicion> for LintFindingView {
    fn from(suspicion: LintSuspicion) -> Self {
        let LintSuspicion { place, kind, finding } = suspicion;
        Self {
            level: finding.level.label().to_owned(),
            place,
            kind: kind.label().to_owned(),
            what: finding.what,
            advice: finding.advice,
        }
    }
}

impl From<RecentDenial> for DenialView {
    fn from(row: RecentDenial) -> Self {
        let (first_at, last_at) = (row.first.to_utc(), row.last.to_utc());
        let RecentDenial { who, client_id, action, topic, reason, is_fault, count, .. } = row;
        Self { who, client_id, action, topic, reason, is_fault, count, first_at, last_at }
    }
}
