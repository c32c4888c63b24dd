//! A policy as the daemon sends it to the plugin: the rules as written, parsed again where they arrive.
//!
//! It is no file format for people: `src/access/policy/file.rs` reads those.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Policy;
use super::effect::Effect;
use super::pattern::{Pattern, PatternError};
use super::rule::{Actions, Capabilities, Capability, Kinds, PolicyRule, Scopes, Subjects};

/// A policy in a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDocument {
    /// The rules, in file order.
    pub rules: Vec<RuleDocument>,
    /// The permissions of groups, scopes and kinds. `None` means that the rules alone decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<CapabilitiesDocument>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleDocument {
    place: Box<str>,
    topics: Vec<Box<str>>,
    actions: u8,
    deny: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kinds: Option<Vec<Box<str>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ids: Option<Vec<Box<str>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Box<str>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<Box<str>>>,
}

/// The permissions by group, scope and kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitiesDocument {
    groups: Vec<PermissionDocument>,
    scopes: Vec<PermissionDocument>,
    kinds: Vec<PermissionDocument>,
}

/// The permissions of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PermissionDocument {
    name: Box<str>,
    actions: u8,
    superuser: bool,
}

/// Why a document is not a policy. One fault refuses the whole document: a policy without one of its
/// rules could allow what that rule denies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// A topic pattern is invalid.
    #[error("{place}: {error}")]
    Pattern {
        /// The rule.
        place: Box<str>,
        /// The fault.
        error: PatternError,
    },
    /// An unknown kind of subject.
    #[error("{place}: {kind:?} is not a kind of subject")]
    Kind {
        /// The rule, or the table.
        place: Box<str>,
        /// The name.
        kind: Box<str>,
    },
    /// A set of actions that is empty or has unknown ones.
    #[error("{place}: {actions} is not a set of actions")]
    Actions {
        /// The rule, or the table.
        place: Box<str>,
        /// The number.
        actions: u8,
    },
}

// === impl PolicyDocument ===

impl PolicyDocument {
    /// The document of `policy`.
    pub fn of(policy: &Policy) -> Self {
        let mut rules: Vec<&PolicyRule> = policy.allows().iter().chain(policy.denies()).collect();
        rules.sort_by_key(|rule| rule.index);
        Self {
            rules: rules.into_iter().map(RuleDocument::of).collect(),
            capabilities: policy.capabilities().map(CapabilitiesDocument::of),
        }
    }

    /// The policy of the document.
    pub fn parse(&self) -> Result<Policy, DocumentError> {
        let rules: Result<Vec<PolicyRule>, DocumentError> =
            self.rules.iter().enumerate().map(|(index, rule)| rule.parse(index)).collect();
        let capabilities =
            self.capabilities.as_ref().map(CapabilitiesDocument::parse).transpose()?;
        Ok(Policy::new(rules?, capabilities))
    }
}

// === impl RuleDocument ===

impl RuleDocument {
    fn of(rule: &PolicyRule) -> Self {
        let sorted = |list: &HashSet<Box<str>>| {
            let mut names: Vec<Box<str>> = list.iter().cloned().collect();
            names.sort();
            names
        };
        Self {
            place: rule.place.clone(),
            topics: rule.topics.iter().map(|topic| topic.text().into()).collect(),
            actions: rule.actions.acc(),
            deny: rule.effect == Effect::Deny,
            kinds: rule.subjects.kinds.map(|kinds| {
                let names = Kinds::NAMES.into_iter().filter(|name| kinds.has_name(name));
                names.map(Into::into).collect()
            }),
            ids: rule.subjects.ids.as_ref().map(sorted),
            groups: rule.subjects.groups.as_ref().map(sorted),
            scopes: rule.subjects.scopes.as_ref().map(Scopes::texts),
        }
    }

    fn parse(&self, index: usize) -> Result<PolicyRule, DocumentError> {
        let topics: Result<Box<[Pattern]>, DocumentError> = self
            .topics
            .iter()
            .map(|text| {
                let place = || self.place.clone();
                Pattern::parse(text)
                    .map_err(|error| DocumentError::Pattern { place: place(), error })
            })
            .collect();
        let set = |names: &Vec<Box<str>>| names.iter().cloned().collect::<HashSet<_>>();
        let kinds = self.kinds.as_ref().map(|names| kinds_of(&self.place, names)).transpose()?;
        let scopes = self.scopes.as_ref().map(|names| {
            let mut scopes = Scopes::default();
            for name in names {
                scopes.add(name);
            }
            scopes
        });
        Ok(PolicyRule {
            index,
            place: self.place.clone(),
            subjects: Subjects {
                kinds,
                ids: self.ids.as_ref().map(set),
                groups: self.groups.as_ref().map(set),
                scopes,
            },
            topics: topics?,
            actions: Actions::from_acc(self.actions).ok_or_else(|| DocumentError::Actions {
                place: self.place.clone(),
                actions: self.actions,
            })?,
            effect: if self.deny { Effect::Deny } else { Effect::Allow },
        })
    }
}

// === impl CapabilitiesDocument ===

impl CapabilitiesDocument {
    fn of(capabilities: &Capabilities) -> Self {
        let sorted = |map: &std::collections::HashMap<Box<str>, Capability>| {
            let mut all: Vec<PermissionDocument> = map
                .iter()
                .map(|(name, capability)| PermissionDocument::of(name, *capability))
                .collect();
            all.sort_by(|one, other| one.name.cmp(&other.name));
            all
        };
        let kinds = Kinds::NAMES.into_iter().zip(capabilities.kinds);
        Self {
            groups: sorted(&capabilities.groups),
            scopes: sorted(&capabilities.scopes),
            kinds: kinds
                .map(|(name, capability)| PermissionDocument::of(name, capability))
                .collect(),
        }
    }

    fn parse(&self) -> Result<Capabilities, DocumentError> {
        let map = |list: &[PermissionDocument], table: &str| {
            let named = |one: &PermissionDocument| Ok((one.name.clone(), one.parse(table)?));
            list.iter().map(named).collect::<Result<_, DocumentError>>()
        };
        let mut kinds = [Capability::default(); Kinds::NAMES.len()];
        for one in &self.kinds {
            let place = "type_permissions";
            let unknown = || DocumentError::Kind { place: place.into(), kind: one.name.clone() };
            let index =
                Kinds::NAMES.iter().position(|known| **known == *one.name).ok_or_else(unknown)?;
            kinds[index] = one.parse(place)?;
        }
        Ok(Capabilities {
            groups: map(&self.groups, "group_permissions")?,
            scopes: map(&self.scopes, "scope_permissions")?,
            kinds,
        })
    }
}

// === impl PermissionDocument ===

impl PermissionDocument {
    fn of(name: &str, capability: Capability) -> Self {
        Self {
            name: name.into(),
            actions: capability.actions.acc(),
            superuser: capability.superuser,
        }
    }

    fn parse(&self, table: &str) -> Result<Capability, DocumentError> {
        let actions = match self.actions {
            // A table may give a name no action: an empty list is written in files, too.
            0 => Actions::default(),
            actions => Actions::from_acc(actions)
                .ok_or_else(|| DocumentError::Actions { place: table.into(), actions })?,
        };
        Ok(Capability { actions, superuser: self.superuser })
    }
}

// === private helpers ===

fn kinds_of(place: &str, names: &[Box<str>]) -> Result<Kinds, DocumentError> {
    names.iter().try_fold(Kinds::default(), |kinds, name| {
        let unknown = || DocumentError::Kind { place: place.into(), kind: name.clone() };
        kinds.with(name).ok_or_else(unknown)
    })
}
