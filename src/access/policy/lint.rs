//! Warns about a valid policy: rules that never match, change nothing, or open too much.
//!
//! It reads the rules alone, not past requests, and it changes no decision.

use std::collections::HashSet;

use super::Policy;
use super::effect::Effect;
use super::filter::TopicFilter;
use super::pattern::{self, Pattern, Placeholder, Values};
use super::rule::{Action, Kinds, PolicyRule, Scopes, Subjects};
use crate::domain::finding::{Finding, Severity};
use crate::domain::ids::DeviceKey;

/// Topics of other devices: of any tenant, and of the same name in another tenant.
const OTHER_DEVICES: [&str; 2] = ["tenant/+/device/(another)/#", "tenant/(another)/device/+/#"];
/// Topics of devices with another tenant and another name.
const ALL_DEVICES: &str = "tenant/(another)/device/(another)/#";

/// One suspicion about a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LintSuspicion {
    /// The place: a rule, or one topic of it.
    pub place: String,
    /// The kind of suspicion.
    pub kind: DoubtKind,
    /// The severity, the fact, and the advice.
    pub finding: Finding,
}

/// The kinds of suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubtKind {
    /// No subject, no topic or no action can match.
    NeverMatches,
    /// Another rule already decides everything the rule applies to.
    Shadowed,
    /// No subject of the rule has the permission it needs.
    NotCapable,
    /// The rule opens more than was probably intended.
    TooWide,
    /// The rule closes more than was probably intended.
    TooNarrow,
}

/// Collects the suspicions about the rules of one policy.
struct LintCollector<'p> {
    policy: &'p Policy,
    found: Vec<LintSuspicion>,
}

// === impl DoubtKind ===

impl DoubtKind {
    /// The label for programs.
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

/// Every suspicion about a policy, in the order of its rules.
pub fn lint(policy: &Policy) -> Vec<LintSuspicion> {
    let mut rules: Vec<&PolicyRule> = policy.allows().iter().chain(policy.denies()).collect();
    rules.sort_unstable_by_key(|rule| rule.index);
    let mut collector = LintCollector { policy, found: Vec::new() };
    for rule in &rules {
        let before = collector.found.len();
        collector.check_subjects(rule);
        collector.check_topics(rule);
        if collector.found.len() > before
            && collector.found[before..]
                .iter()
                .any(|suspicion| suspicion.disables_rule(&rule.place))
        {
            continue;
        }
        collector.check_capability(rule);
        collector.check_shadowing(rule, &rules);
        collector.check_width(rule);
    }
    collector.found
}

// === impl LintSuspicion ===

impl LintSuspicion {
    /// Whether the whole rule has no effect, so that further suspicions add nothing.
    fn disables_rule(&self, place: &str) -> bool {
        self.kind == DoubtKind::NeverMatches
            && self.finding.level == Severity::Error
            && self.place == place
    }
}

// === impl LintCollector ===

impl LintCollector<'_> {
    fn add(&mut self, place: impl Into<String>, kind: DoubtKind, finding: Finding) {
        self.found.push(LintSuspicion { place: place.into(), kind, finding });
    }

    fn add_never_matches(&mut self, place: impl Into<String>, what: &str, advice: &str) {
        self.add(place, DoubtKind::NeverMatches, Finding::error(what, advice));
    }

    /// Finds topics that are spelled as no topic is.
    fn check_spelling(&mut self, place: &str, topic: &Pattern) {
        if topic.text().starts_with("$share/") {
            self.add_never_matches(
                place,
                "Sluice removes $share/<group>/ before it compares topics with rules",
                "write only the filter: it also applies to shared subscriptions",
            );
        }
        if topic.text().split('/').any(|level| level == "*") {
            let finding = Finding::warning(
                "* is not a wildcard in a topic",
                "write + for one level, or # for all levels below",
            );
            self.add(place, DoubtKind::NeverMatches, finding);
        }
    }

    /// Finds rules with an empty list, and rules for subjects to which no rule opens anything.
    fn check_subjects(&mut self, rule: &PolicyRule) {
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
            self.add_never_matches(
                place,
                &format!("{key} is an empty list, so the rule matches nothing"),
                "add an entry, or remove the rule",
            );
        }
        let only = |name: &str| kinds.is_some_and(|kinds| kinds.is_only(name));
        if let Some(id) =
            ids.iter().flatten().find(|id| only("device") && id.parse::<DeviceKey>().is_err())
        {
            let what = format!("{id:?} in subjects.ids is not the id of a device");
            let finding = Finding::warning(what, "write <tenant>/device/<device>");
            self.add(place, DoubtKind::NeverMatches, finding);
        }
        if (groups.is_some() || scopes.is_some()) && (only("device") || only("guest")) {
            self.add_never_matches(
                place,
                "devices and guests have no groups or scopes",
                "select devices with subjects.ids",
            );
        } else if only("guest") && rule.effect == Effect::Allow {
            self.add_never_matches(
                place,
                "an allow rule has no effect on guests",
                "remove the rule: guests may use the topics under public/ without one",
            );
        }
    }

    /// Finds topics that match nothing, and levels that do not mean what they appear to mean.
    fn check_topics(&mut self, rule: &PolicyRule) {
        let kinds = rule.subjects.kinds;
        let has_device = kinds.is_none_or(|kinds| kinds.has_name("device"));
        let is_allow = rule.effect == Effect::Allow;
        for (index, topic) in rule.topics.iter().enumerate() {
            let place = format!("{}.topics[{index}]", rule.place);
            self.check_spelling(&place, topic);
            if !has_device && (topic.has(Placeholder::Tenant) || topic.has(Placeholder::Device)) {
                let advice = "add device to subjects.types, or write the tenant and the device";
                self.add_never_matches(
                    &place,
                    "only a device has a tenant and a device name",
                    advice,
                );
            }
            if is_allow
                && topic.has(Placeholder::Sub)
                && kinds.is_some_and(|kinds| kinds.is_only("device"))
            {
                let advice = "write {tenant} and {device}";
                self.add_never_matches(
                    &place,
                    "the id of a device contains slashes, so {sub} never matches",
                    advice,
                );
            }
            if is_allow && topic.has(Placeholder::ClientId) {
                let advice =
                    "write {sub}, unless the broker sets client ids (use_username_as_clientid)";
                let finding = Finding::warning(
                    "a client chooses its client id, so {client_id} allows every name",
                    advice,
                );
                self.add(&place, DoubtKind::TooWide, finding);
            }
        }
    }

    /// Finds actions that no subject of the rule is permitted.
    fn check_capability(&mut self, rule: &PolicyRule) {
        let Some(capabilities) =
            self.policy.capabilities().filter(|_| rule.effect == Effect::Allow)
        else {
            return;
        };
        let best = capabilities.best(rule.subjects.kinds);
        let named = capabilities.named_by(&rule.subjects);
        let names_any = rule.subjects.groups.is_some() || rule.subjects.scopes.is_some();
        for action in rule.actions.iter() {
            let name = action.name();
            if !best.has(action) {
                let what = format!(
                    "no group, scope or type that could match has the permission to {name}"
                );
                let advice = format!(
                    "add {name} to one of them in the permission tables, or remove {name} from the rule"
                );
                self.add(&*rule.place, DoubtKind::NotCapable, Finding::error(what, advice));
            } else if names_any && !named.has(action) {
                let what = format!(
                    "the groups and scopes of the rule do not permit to {name}; the rule works only for subjects that another group or scope permits it"
                );
                let advice = format!("add {name} to one of them in the permission tables");
                self.add(&*rule.place, DoubtKind::NotCapable, Finding::warning(what, advice));
            }
        }
    }

    /// Finds topics that another rule already decides.
    fn check_shadowing(&mut self, rule: &PolicyRule, rules: &[&PolicyRule]) {
        for index in 0..rule.topics.len() {
            let place = format!("{}.topics[{index}]", rule.place);
            let decides = |other: &&&PolicyRule| {
                let wins = other.effect == rule.effect || other.effect == Effect::Deny;
                wins && applies_to_all_of(other, rule) && covers_topic(other, rule, index)
            };
            let Some(other) = rules.iter().find(decides) else { continue };
            let finding = match (rule.effect, other.effect) {
                (Effect::Allow, Effect::Deny) => Finding::error(
                    format!("{} denies everything that this topic allows", other.place),
                    "change or remove one of the two",
                ),
                _ => Finding::warning(
                    format!("{} already decides the same", other.place),
                    "remove one of the two",
                ),
            };
            self.add(place, DoubtKind::Shadowed, finding);
        }
    }

    /// Finds rules that open devices' topics to other devices, open all topics to all subjects, or
    /// close a device's own.
    fn check_width(&mut self, rule: &PolicyRule) {
        let Subjects { kinds, ids, groups, scopes } = &rule.subjects;
        let by_kind_alone = ids.is_none() && groups.is_none() && scopes.is_none();
        if !by_kind_alone {
            return;
        }
        let capabilities = self.policy.capabilities();
        let is_open =
            capabilities.is_none_or(|capabilities| capabilities.give_devices(rule.actions));
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
            Effect::Deny if of_devices => self.check_own_topics(rule),
            Effect::Deny => {}
        }
    }

    /// Finds a rule that denies devices one of their own topics.
    fn check_own_topics(&mut self, rule: &PolicyRule) {
        let closed = self
            .policy
            .own_topics()
            .of_devices()
            .find(|(action, own)| closes_own_topic(rule, *action, own));
        if let Some((action, own)) = closed {
            let finding = Finding::warning(
                format!(
                    "the rule denies devices to {} {}, which is their own topic",
                    action.name(),
                    own.text()
                ),
                "remove device from subjects.types, unless this is intended",
            );
            self.add(&*rule.place, DoubtKind::TooNarrow, finding);
        }
    }
}

// --- private helpers ---

/// Whether the patterns of `other` cover this topic of `rule`, as written. Of two equal topics only
/// the later one counts.
fn covers_topic(other: &PolicyRule, rule: &PolicyRule, index: usize) -> bool {
    let topic = &rule.topics[index];
    let is_mutual = other.effect == rule.effect && applies_to_all_of(rule, other);
    let counts = |at: usize, one: &Pattern| {
        let is_later = (other.index, at) >= (rule.index, index);
        !(is_mutual && is_later && one.is_same(topic))
    };
    let topics =
        other.topics.iter().enumerate().filter(|(at, one)| counts(*at, one)).map(|(_, one)| one);
    let requested = TopicFilter::parse(topic.text());
    requested.is_ok_and(|requested| {
        pattern::cover_together(&mut topics.collect(), &requested, &Values::as_written())
    })
}

fn applies_to_all_of(other: &PolicyRule, rule: &PolicyRule) -> bool {
    other.actions.has_all(rule.actions) && other.subjects.include_all(&rule.subjects)
}

fn too_wide(topic: &Pattern, reaches_devices: bool, is_for_all: bool) -> Option<Finding> {
    let overlaps = |text: &str| {
        TopicFilter::parse(text)
            .is_ok_and(|requested| topic.overlaps(&requested, &Values::as_written()))
    };
    if reaches_devices && overlaps(ALL_DEVICES) {
        let what = "the rule allows every device the topics of every other device in all tenants";
        return Some(Finding::error(
            what,
            "write tenant/{tenant}/device/{device}/..., or remove device from subjects.types",
        ));
    }
    if reaches_devices && OTHER_DEVICES.into_iter().any(overlaps) {
        let what = "the rule allows every device the topics of other devices";
        return Some(Finding::warning(
            what,
            "write {tenant} and {device}, unless this is intended",
        ));
    }
    let holds_all =
        TopicFilter::parse("#").is_ok_and(|all| topic.covers(&all, &Values::as_written()));
    let advice = "select the subjects of the rule";
    (is_for_all && holds_all)
        .then(|| Finding::warning("the rule allows every subject every topic", advice))
}

/// Whether a deny rule closes the topic `own` of some device.
fn closes_own_topic(rule: &PolicyRule, action: Action, own: &Pattern) -> bool {
    let of_any = own
        .text()
        .replace(Placeholder::Tenant.text(), "+")
        .replace(Placeholder::Device.text(), "+");
    let overlaps = |requested| {
        rule.topics.iter().any(|topic| topic.overlaps(&requested, &Values::as_written()))
    };
    rule.actions.has(action) && TopicFilter::parse(&of_any).is_ok_and(overlaps)
}
