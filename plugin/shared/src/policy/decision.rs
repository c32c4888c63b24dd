//! A decision and its cause, with a sentence for logs and a label for programs.
//!
//! It decides nothing: [`super::Policy::decide`] does.

use std::fmt;

use super::built_in::GuestError;
use super::filter::FilterError;
use super::rule::{Action, PolicyRule};

/// The answer to one request.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'p> {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The action that decided: of several requested ones, the first denied one, or the last.
    pub action: Option<Action>,
    /// What decided a request.
    pub because: Because<'p>,
}

/// What decided a request.
#[derive(Clone, Copy, Debug)]
pub enum Because<'p> {
    /// Allowed: a device's own topics.
    OwnTopics,
    /// Allowed: the guests' topics.
    GuestTopics,
    /// Allowed or denied by this rule.
    Rule(&'p PolicyRule),
    /// Allowed by several rules together; none covers the whole request alone.
    Together,
    /// Denied: a rule allows it, but no group, scope or kind of the subject has the permission.
    NotCapable,
    /// Denied: no rule allows it.
    NoRule,
    /// Denied: a request that no guest may make.
    Guest(GuestError),
    /// Denied: a guest outside the guests' topics, whatever the rules say.
    GuestTopic,
    /// Denied: `acc` names no action, or an unknown one.
    UnknownAccess(u8),
    /// Denied: the topic or filter is malformed.
    Malformed(FilterError),
}

// === impl Decision ===

impl<'p> Decision<'p> {
    /// An allowed request.
    pub const fn allowed(action: Action, because: Because<'p>) -> Self {
        Self { allowed: true, action: Some(action), because }
    }

    /// A denied request.
    pub const fn denied(action: Option<Action>, because: Because<'p>) -> Self {
        Self { allowed: false, action, because }
    }

    /// The place of the deciding rule in the policy file; `None` means no single rule decided.
    pub fn place(&self) -> Option<&'p str> {
        match self.because {
            Because::Rule(rule) => Some(&rule.place),
            _ => None,
        }
    }
}

/// One sentence: the answer, the action, and the cause.
impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allowed { "allowed" } else { "denied" })?;
        if let Some(action) = self.action {
            write!(f, " to {}", action.name())?;
        }
        write!(f, ": {}", self.because)
    }
}

// === impl Because ===

impl Because<'_> {
    /// The label for programs.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::OwnTopics => "own_topics",
            Self::GuestTopics => "guest_topics",
            Self::Rule(_) => "rule",
            Self::Together => "rules_together",
            Self::NotCapable => "not_capable",
            Self::NoRule => "no_rule",
            Self::Guest(_) | Self::GuestTopic => "guest",
            Self::UnknownAccess(_) => "unknown_access",
            Self::Malformed(_) => "malformed",
        }
    }
}

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnTopics => f.write_str("built in: the topic is one of the device's own"),
            Self::GuestTopics => {
                f.write_str("built in: the topic is under public/, which guests may use")
            }
            Self::Rule(rule) => write!(f, "by {}", rule.place),
            Self::Together => {
                f.write_str("by several rules together; no single rule covers the whole filter")
            }
            Self::NotCapable => f.write_str(
                "a rule allows it, but no group, scope or type of the subject has this permission",
            ),
            Self::NoRule => f.write_str("no rule allows it"),
            Self::Guest(error) => write!(f, "built in: {error}"),
            Self::GuestTopic => {
                f.write_str("built in: a guest may use only the topics under public/")
            }
            Self::UnknownAccess(acc) => {
                write!(
                    f,
                    "acc {acc} is invalid: expected read (1), publish (2), subscribe (4), or a sum of them"
                )
            }
            Self::Malformed(error) => error.fmt(f),
        }
    }
}
