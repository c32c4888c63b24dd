//! Parses a policy file, JSON or TOML, and reports the place of each fault.
//!
//! Two layouts are accepted. Flat: `rules`, `group_permissions`, `scope_permissions`,
//! `type_permissions` at the top. Nested, below one key of any name: `mqtt.acl.rules`, and the
//! tables of permissions under `roles`. It corrects nothing: an unknown key is a fault, and a file
//! with one fault yields no policy.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::Policy;
use super::effect::Effect;
use super::pattern::Pattern;
use super::rule::{Action, Actions, Capabilities, Capability, Kinds, PolicyRule, Scopes, Subjects};
use crate::config::document::reader::{Faults, ValueReader, get, key_path};
use crate::config::document::tree::{Node, TableEntries};
use crate::disk;

/// The longest policy file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The most rules of a file.
pub const MAX_RULES: usize = 1000;

/// The most topic patterns of all rules: one decision may check all of them while the broker waits.
pub const MAX_PATTERNS: usize = 4096;

const TABLES: [&str; 3] = ["group_permissions", "scope_permissions", "type_permissions"];

/// Why a file yields no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// The file cannot be read.
    #[error("reading the policy file {} failed: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        why: io::Error,
    },
    /// The file has faults.
    #[error("the policy file {} is invalid:\n{faults}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The faults.
        faults: Faults,
    },
}

/// The syntax of a policy file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// TOML.
    Toml,
}

/// Reads the policy of a file.
pub fn load(path: &Path) -> Result<Policy, PolicyFileError> {
    let text = read_bounded(path)
        .map_err(|why| PolicyFileError::Unreadable { path: path.to_owned(), why })?;
    parse(&text, format_of(path, &text))
        .map_err(|faults| PolicyFileError::Wrong { path: path.to_owned(), faults })
}

/// The syntax of the file at `path` with this text.
pub(super) fn format_of(path: &Path, text: &str) -> Format {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Format::Json,
        Some("toml") => Format::Toml,
        // TOML never begins with a brace.
        _ if text.trim_start().starts_with('{') => Format::Json,
        _ => Format::Toml,
    }
}

/// Parses a policy.
pub fn parse(text: &str, format: Format) -> Result<Policy, Faults> {
    let root = match format {
        Format::Json => Node::of_json(text),
        Format::Toml => Node::of_toml(text),
    };
    let mut reader = PolicyReader::default();
    let policy =
        root.map(|root| reader.policy(&root)).map_err(|fault| reader.values.faults.add(fault));
    policy.ok().filter(|_| reader.values.faults.is_empty()).ok_or(reader.values.faults)
}

pub(super) fn read_bounded(path: &Path) -> io::Result<String> {
    disk::read_text(path, MAX_FILE_BYTES)
}

/// Turns the tree into rules. It collects each fault and continues.
#[derive(Default)]
struct PolicyReader {
    values: ValueReader,
    patterns: usize,
}

// === impl PolicyReader ===

impl PolicyReader {
    fn policy(&mut self, root: &Node) -> Policy {
        let Some(top) = self.values.table("the file", root) else { return Policy::built_in() };
        let is_flat = top.iter().any(|(key, _)| key == "rules" || TABLES.contains(&key.as_str()));
        match top {
            [(name, inner)] if !is_flat => self.nested(&key_path("", name), inner),
            _ => {
                if top.is_empty() {
                    self.values.fault("the file", "the file is empty: expected rules");
                }
                self.values.reject_unknown_keys(
                    top,
                    "",
                    &["rules", TABLES[0], TABLES[1], TABLES[2]],
                );
                let rules = self.rules("rules", get(top, "rules"));
                Policy::new(rules, self.capabilities("", top))
            }
        }
    }

    fn nested(&mut self, name: &str, inner: &Node) -> Policy {
        let Some(inner) = self.values.table(name, inner) else { return Policy::built_in() };
        self.values.reject_unknown_keys(inner, name, &["mqtt", "roles"]);
        let place = format!("{name}.mqtt");
        let mqtt =
            get(inner, "mqtt").and_then(|node| self.values.table(&place, node)).unwrap_or_default();
        self.values.reject_unknown_keys(mqtt, &place, &["acl"]);
        let place = format!("{place}.acl");
        let acl =
            get(mqtt, "acl").and_then(|node| self.values.table(&place, node)).unwrap_or_default();
        self.values.reject_unknown_keys(acl, &place, &["rules"]);
        let rules = self.rules(&format!("{place}.rules"), get(acl, "rules"));
        let place = format!("{name}.roles");
        let tables = get(inner, "roles")
            .and_then(|node| self.values.table(&place, node))
            .unwrap_or_default();
        self.values.reject_unknown_keys(tables, &place, &TABLES);
        Policy::new(rules, self.capabilities(&place, tables))
    }

    fn rules(&mut self, place: &str, node: Option<&Node>) -> Vec<PolicyRule> {
        let nodes = node.and_then(|node| self.values.list(place, node)).unwrap_or_default();
        if nodes.len() > MAX_RULES {
            self.values.fault(
                place,
                format!("the file has {} rules; at most {MAX_RULES} are allowed", nodes.len()),
            );
            return Vec::new();
        }
        let rules: Vec<_> = nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| self.rule(index, format!("{place}[{index}]"), node))
            .collect();
        if self.patterns > MAX_PATTERNS {
            self.values.fault(
                place,
                format!(
                    "the file has {} topics; at most {MAX_PATTERNS} are allowed",
                    self.patterns
                ),
            );
        }
        rules
    }

    fn rule(&mut self, index: usize, place: String, node: &Node) -> Option<PolicyRule> {
        let entries = self.values.table(&place, node)?;
        self.values.reject_unknown_keys(
            entries,
            &place,
            &["subjects", "topics", "actions", "effect"],
        );
        let of = |key: &str| format!("{place}.{key}");
        let subjects = get(entries, "subjects").map(|node| self.subjects(&of("subjects"), node));
        let topics = self
            .values
            .required(entries, &place, "topics")
            .map(|node| self.topics(&of("topics"), node));
        let actions = self
            .values
            .required(entries, &place, "actions")
            .map(|node| self.actions(&of("actions"), node));
        let effect = get(entries, "effect").map(|node| self.effect(&of("effect"), node));
        Some(PolicyRule {
            index,
            subjects: subjects.unwrap_or_default(),
            topics: topics?,
            actions: actions?,
            effect: effect.unwrap_or(Effect::Allow),
            place: place.into(),
        })
    }

    fn subjects(&mut self, place: &str, node: &Node) -> Subjects {
        let Some(entries) = self.values.table(place, node) else { return Subjects::default() };
        self.values.reject_unknown_keys(entries, place, &["types", "ids", "groups", "scopes"]);
        let [kinds, ids, groups, scopes] = ["types", "ids", "groups", "scopes"].map(|key| {
            let place = format!("{place}.{key}");
            self.values.choice(&place, get(entries, key)?)
        });
        let set = |texts: Vec<(String, String)>| {
            texts.into_iter().map(|(_, text)| text.into()).collect::<HashSet<_>>()
        };
        let kinds = kinds.map(|texts| {
            texts.into_iter().fold(Kinds::default(), |kinds, text| self.kind(kinds, &text))
        });
        if let Some(groups) = &groups {
            for (place, group) in groups {
                self.group(place, group);
            }
        }
        let scopes = scopes.map(|texts| {
            let mut scopes = Scopes::default();
            for (place, scope) in texts {
                self.scope(&mut scopes, &place, &scope);
            }
            scopes
        });
        Subjects { kinds, ids: ids.map(set), groups: groups.map(set), scopes }
    }

    fn kind(&mut self, kinds: Kinds, (place, name): &(String, String)) -> Kinds {
        kinds.with(name).unwrap_or_else(|| {
            self.values.fault(
                place,
                format!("type {name:?} is unknown; expected {}", Kinds::NAMES.join(", ")),
            );
            kinds
        })
    }

    fn group(&mut self, place: &str, group: &str) {
        if group.starts_with('/') {
            self.values.fault(
                place,
                format!(
                    "write the group without the leading slash: {:?}",
                    group.trim_start_matches('/')
                ),
            );
        }
    }

    fn scope(&mut self, scopes: &mut Scopes, place: &str, scope: &str) {
        if scope.strip_suffix(".*").unwrap_or(scope).contains('*') {
            self.values.fault(
                place,
                format!(
                    "in {scope:?} the * is not a wildcard: it is one only at the end, as in a.b.*"
                ),
            );
        }
        scopes.add(scope);
    }

    fn topics(&mut self, place: &str, node: &Node) -> Box<[Pattern]> {
        let texts = self.values.texts(place, node);
        self.patterns += texts.len();
        let mut patterns = Vec::with_capacity(texts.len());
        for (place, text) in texts {
            match Pattern::parse(&text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => self.values.fault(place, format!("{text:?}: {error}")),
            }
        }
        patterns.into()
    }

    fn actions(&mut self, place: &str, node: &Node) -> Actions {
        let Some(texts) = self.values.choice(place, node) else { return Actions::ALL };
        let mut actions = Actions::default();
        for (place, name) in texts {
            match Action::ALL.into_iter().find(|action| action.name() == name) {
                Some(action) => actions = actions.with(action),
                None => self.values.fault(
                    place,
                    format!(
                        "action {name:?} is unknown; expected subscribe, read, publish or \"*\""
                    ),
                ),
            }
        }
        actions
    }

    fn effect(&mut self, place: &str, node: &Node) -> Effect {
        match node {
            Node::Text(text) if text == "allow" => Effect::Allow,
            Node::Text(text) if text == "deny" => Effect::Deny,
            _ => {
                self.values.fault(place, "expected \"allow\" or \"deny\"");
                Effect::Deny
            }
        }
    }

    /// `None` means the file has no table of permissions.
    fn capabilities(&mut self, place: &str, entries: &TableEntries) -> Option<Capabilities> {
        let [groups, scopes, kinds] = TABLES.map(|key| {
            let place = key_path(place, key);
            get(entries, key).map(|node| self.permissions(&place, node))
        });
        if groups.is_none() && scopes.is_none() && kinds.is_none() {
            return None;
        }
        let mut all = Capabilities::default();
        for (place, group, capability) in groups.unwrap_or_default() {
            self.group(&place, &group);
            all.groups.insert(group.into(), capability);
        }
        for (place, scope, capability) in scopes.unwrap_or_default() {
            if scope.contains('*') {
                self.values.fault(
                    place,
                    "a scope here is a whole name without a wildcard: list each scope",
                );
            }
            all.scopes.insert(scope.into(), capability);
        }
        for (place, name, capability) in kinds.unwrap_or_default() {
            let index =
                Kinds::NAMES.iter().position(|known| *known == name).filter(|_| name != "guest");
            match index {
                Some(_) if capability.superuser => {
                    self.values.fault(place, "superuser cannot be given to a whole type");
                }
                Some(index) => all.kinds[index] = capability,
                None => self.values.fault(
                    place,
                    "expected device, service or user; the permissions of guests are built in",
                ),
            }
        }
        Some(all)
    }

    fn permissions(&mut self, place: &str, node: &Node) -> Vec<(String, String, Capability)> {
        let entries = self.values.table(place, node).unwrap_or_default();
        let mut read = |(name, node): &(String, Node)| {
            let place = key_path(place, name);
            let capability = self.capability(&place, node);
            (place, name.clone(), capability)
        };
        entries.iter().map(&mut read).collect()
    }

    fn capability(&mut self, place: &str, node: &Node) -> Capability {
        let mut capability = Capability::default();
        for (place, name) in self.values.texts(place, node) {
            match Action::ALL.into_iter().find(|action| action.name() == name) {
                Some(action) => capability.actions = capability.actions.with(action),
                None if name == "superuser" => capability.superuser = true,
                None => self.values.fault(
                    place,
                    format!("permission {name:?} is unknown; expected subscribe, read, publish or superuser"),
                ),
            }
        }
        capability
    }
}
