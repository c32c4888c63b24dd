//! Doubts about a policy that can be read: rules that never match or change nothing, and rules that open too much.
//!
//! It looks at the rules alone, not at who has asked; it changes no answer.

use std::collections::HashSet;

use super::Policy;
use super::effect::Effect;
use super::filter::TopicFilter;
use super::pattern::{self, Pattern, Placeholder, Values};
use super::rule::{Action, Kinds, PolicyRule, Scopes, Subjects};
use crate::domain::finding::{Finding, Severity};
use crate::domain::ids::DeviceKey;

/// Topics of devices that are not the one who asks: any tenant's, and those of the same name in another tenant.
const OTHER_DEVICES: [&str; 2] = ["tenant/+/device/(another)/#", "tenant/(another)/device/+/#"];
/// Topics of devices of another tenant and another name.
const ALL_DEVICES: &str = "tenant/(another)/device/(another)/#";

/// One doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LintSuspicion {
    /// Where: a rule, or one topic of it.
    pub place: String,
    /// What kind of doubt.
    pub kind: DoubtKind,
    /// How grave it is, what is so, and what to do.
    pub finding: Finding,
}

/// The kinds of doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubtKind {
    /// Nobody, no topic or no action can match.
    NeverMatches,
    /// Another rule decides all that it speaks of.
    Shadowed,
    /// Nobody has the permission that must come with it.
    NotCapable,
    /// It opens what was hardly meant.
    TooWide,
    /// It closes what was hardly meant.
    TooNarrow,
}

/// Gathers the doubts about one rule.
struct Doubts<'p> {
    policy: &'p Policy,
    found: Vec<LintSuspicion>,
}

// === impl DoubtKind ===

impl DoubtKind {
    /// A word for programs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NeverMatches => "never_matches",
            Self::Shadowed => "shadowed",
            Self::NotCapable => "not_capable",
            Self::TooWide => "too_wide",
            Self::TooNarrow => "too_narrow",
        }
    }
}

/// All doubts about a policy, in the order of its rules.
pub fn lint(policy: &Policy) -> Vec<LintSuspicion> {
    let mut rules: Vec<&PolicyRule> = policy.allows().iter().chain(policy.denies()).collect();
    rules.sort_unstable_by_key(|rule| rule.index);
    let mut doubts = Doubts { policy, found: Vec::new() };
    for rule in &rules {
        let before = doubts.found.len();
        doubts.of_subjects(rule);
        doubts.of_topics(rule);
        if doubts.found.len() > before && doubts.found[before..].iter().any(|doubt| doubt.is_dead(&rule.place)) {
            continue;
        }
        doubts.of_capability(rule);
        doubts.of_others(rule, &rules);
        doubts.of_width(rule);
    }
    doubts.found
}

// === impl Doubt ===

impl LintSuspicion {
    /// Whether the whole rule does nothing, so that further doubts say nothing new.
    fn is_dead(&self, place: &str) -> bool {
        self.kind == DoubtKind::NeverMatches && self.finding.level == Severity::Error && self.place == place
    }
}

// === impl Doubts ===

impl Doubts<'_> {
    fn add(&mut self, place: impl Into<String>, kind: DoubtKind, finding: Finding) {
        self.found.push(LintSuspicion { place: place.into(), kind, finding });
    }

    fn never(&mut self, place: impl Into<String>, what: &str, advice: &str) {
        self.add(place, DoubtKind::NeverMatches, Finding::error(what, advice));
    }

    /// Rules that speak of nobody, of nothing, or of those to whom no rule opens anything.
    fn of_subjects(&mut self, rule: &PolicyRule) {
        let Subjects { kinds, ids, groups, scopes } = &rule.subjects;
        let place = &*rule.place;
        let empty = [
            ("subjects.types", kinds.is_some_and(Kinds::is_empty)),
            ("subjects.ids", ids.as_ref().is_some_and(HashSet::is_empty)),
            ("subjects.groups", groups.as_ref().is_some_and(HashSet::is_empty)),
            ("subjects.scopes", scopes.as_ref().is_some_and(Scopes::is_empty)),
            ("topics", rule.topics.is_empty()),
            ("actions", rule.actions.is_empty()),
        ];
        for (key, _) in empty.iter().filter(|(_, is_empty)| *is_empty) {
            self.never(place, &format!("{key} is an empty list, which nothing matches"), "fill it, or remove the rule");
        }
        let only = |name: &str| kinds.is_some_and(|kinds| kinds.is_only(name));
        if let Some(id) = ids.iter().flatten().find(|id| only("device") && id.parse::<DeviceKey>().is_err()) {
            let what = format!("{id:?} in subjects.ids is no device's id");
            let finding = Finding::warning(what, "write <tenant>/device/<device>");
            self.add(place, DoubtKind::NeverMatches, finding);
        }
        if (groups.is_some() || scopes.is_some()) && (only("device") || only("guest")) {
            self.never(place, "devices and guests have no groups and no scopes", "name devices by subjects.ids");
        } else if only("guest") && rule.effect == Effect::Allow {
            self.never(place, "no rule opens anything to a guest", "remove it: the topics under public/ are built in");
        }
    }

    /// Topics that nobody's can match, and levels that are not what they seem.
    fn of_topics(&mut self, rule: &PolicyRule) {
        let kinds = rule.subjects.kinds;
        let has_device = kinds.is_none_or(|kinds| kinds.has_name("device"));
        let is_allow = rule.effect == Effect::Allow;
        for (index, topic) in rule.topics.iter().enumerate() {
            let place = format!("{}.topics[{index}]", rule.place);
            if topic.text().starts_with("$share/") {
                let advice = "write the filter alone: it holds for shared subscriptions too";
                self.never(&place, "$share/<group>/ is taken off before rules are asked", advice);
            }
            if !has_device && (topic.has(Placeholder::Tenant) || topic.has(Placeholder::Device)) {
                let advice = "add device to subjects.types, or write the names";
                self.never(&place, "only a device has a tenant and a device name", advice);
            }
            if is_allow && topic.has(Placeholder::Sub) && kinds.is_some_and(|kinds| kinds.is_only("device")) {
                let advice = "write {tenant} and {device}";
                self.never(&place, "a device's id holds slashes, so {sub} stands for nothing", advice);
            }
            if topic.text().split('/').any(|level| level == "*") {
                let finding =
                    Finding::warning("* is a name like any other in a topic", "write + for one level, # for all below");
                self.add(&place, DoubtKind::NeverMatches, finding);
            }
            if is_allow && topic.has(Placeholder::ClientId) {
                let advice = "write {sub}, unless the broker sets client ids (use_username_as_clientid)";
                let finding =
                    Finding::warning("a client may call itself what it likes, so {client_id} opens every name", advice);
                self.add(&place, DoubtKind::TooWide, finding);
            }
        }
    }

    /// Actions that nobody of whom the rule speaks is permitted.
    fn of_capability(&mut self, rule: &PolicyRule) {
        let Some(capabilities) = self.policy.capabilities().filter(|_| rule.effect == Effect::Allow) else { return };
        let best = capabilities.best(rule.subjects.kinds);
        let named = capabilities.named_by(&rule.subjects);
        let names_any = rule.subjects.groups.is_some() || rule.subjects.scopes.is_some();
        for action in rule.actions.iter() {
            let name = action.name();
            if !best.has(action) {
                let what = format!("no group, scope or type that could match is permitted to {name}");
                let advice =
                    format!("give one of them {name} in the tables of permissions, or take {name} out of the rule");
                self.add(&*rule.place, DoubtKind::NotCapable, Finding::error(what, advice));
            } else if names_any && !named.has(action) {
                let what = format!(
                    "the groups and scopes it names are not permitted to {name}: only who has that from another can"
                );
                let advice = format!("give one of them {name} in the tables of permissions");
                self.add(&*rule.place, DoubtKind::NotCapable, Finding::warning(what, advice));
            }
        }
    }

    /// Topics about which another rule has said the last word already.
    fn of_others(&mut self, rule: &PolicyRule, rules: &[&PolicyRule]) {
        for index in 0..rule.topics.len() {
            let place = format!("{}.topics[{index}]", rule.place);
            let decides = |other: &&&PolicyRule| {
                let wins = other.effect == rule.effect || other.effect == Effect::Deny;
                wins && speaks_of_all(other, rule) && says_all(other, rule, index)
            };
            let Some(other) = rules.iter().find(decides) else { continue };
            let finding = match (rule.effect, other.effect) {
                (Effect::Allow, Effect::Deny) => {
                    Finding::error(format!("{} denies all of it", other.place), "one of the two is not meant so")
                }
                _ => Finding::warning(format!("{} says it already", other.place), "remove one of the two"),
            };
            self.add(place, DoubtKind::Shadowed, finding);
        }
    }

    /// Rules that let devices into each other's topics, give everybody everything, or cut devices off from their own.
    fn of_width(&mut self, rule: &PolicyRule) {
        let Subjects { kinds, ids, groups, scopes } = &rule.subjects;
        let by_kind_alone = ids.is_none() && groups.is_none() && scopes.is_none();
        if !by_kind_alone {
            return;
        }
        let capabilities = self.policy.capabilities();
        let is_open = capabilities.is_none_or(|capabilities| capabilities.give_devices(rule.actions));
        let of_devices = kinds.is_none_or(|kinds| kinds.has_name("device"));
        match rule.effect {
            Effect::Allow => {
                for (index, topic) in rule.topics.iter().enumerate() {
                    let place = format!("{}.topics[{index}]", rule.place);
                    if let Some(finding) = too_wide(topic, of_devices && is_open, kinds.is_none()) {
                        self.add(place, DoubtKind::TooWide, finding);
                    }
                }
            }
            Effect::Deny if of_devices => {
                let taken = self.policy.own_topics().of_devices().find(|(action, own)| takes(rule, *action, own));
                if let Some((action, own)) = taken {
                    let what = format!("it denies devices to {} {}, which is their own", action.name(), own.text());
                    let finding = Finding::warning(what, "name others in subjects.types, unless it is meant so");
                    self.add(&*rule.place, DoubtKind::TooNarrow, finding);
                }
            }
            Effect::Deny => {}
        }
    }
}

// --- private helpers ---

/// Whether the patterns of the other rule hold all that this topic holds, as they are written. Of two that say the same
/// only the later one is doubted.
fn says_all(other: &PolicyRule, rule: &PolicyRule, index: usize) -> bool {
    let topic = &rule.topics[index];
    let is_mutual = other.effect == rule.effect && speaks_of_all(rule, other);
    let counts = |at: usize, one: &Pattern| {
        let is_later = (other.index, at) >= (rule.index, index);
        !(is_mutual && is_later && one.is_same(topic))
    };
    let topics = other.topics.iter().enumerate().filter(|(at, one)| counts(*at, one)).map(|(_, one)| one);
    let asked = TopicFilter::parse(topic.text());
    asked.is_ok_and(|asked| pattern::cover_together(&mut topics.collect(), &asked, &Values::as_written()))
}

fn speaks_of_all(other: &PolicyRule, rule: &PolicyRule) -> bool {
    other.actions.has_all(rule.actions) && other.subjects.include_all(&rule.subjects)
}

fn too_wide(topic: &Pattern, reaches_devices: bool, is_for_all: bool) -> Option<Finding> {
    let overlaps =
        |text: &str| TopicFilter::parse(text).is_ok_and(|asked| topic.overlaps(&asked, &Values::as_written()));
    if reaches_devices && overlaps(ALL_DEVICES) {
        let what = "it gives every device topics of every other device, of all tenants";
        return Some(Finding::error(
            what,
            "write tenant/{tenant}/device/{device}/..., or leave device out of subjects.types",
        ));
    }
    if reaches_devices && OTHER_DEVICES.into_iter().any(overlaps) {
        let what = "it gives every device topics of other devices";
        return Some(Finding::warning(what, "write {tenant} and {device}, unless it is meant so"));
    }
    let holds_all = TopicFilter::parse("#").is_ok_and(|all| topic.covers(&all, &Values::as_written()));
    let advice = "name in subjects whom it is for";
    (is_for_all && holds_all).then(|| Finding::warning("it gives everybody every topic", advice))
}

/// Whether a rule that denies takes a topic of its own from some device.
fn takes(rule: &PolicyRule, action: Action, own: &Pattern) -> bool {
    let of_any = own.text().replace(Placeholder::Tenant.text(), "+").replace(Placeholder::Device.text(), "+");
    let overlaps = |asked| rule.topics.iter().any(|topic| topic.overlaps(&asked, &Values::as_written()));
    rule.actions.has(action) && TopicFilter::parse(&of_any).is_ok_and(overlaps)
}
