//! The policy against an oracle that shares no code with it: random policies, and every topic of a
//! small alphabet.
//!
//! The oracle reads the policy's JSON itself and matches one topic at a time. For a subscription it
//! checks each topic that the filter matches. The alphabet holds a level that no policy
//! spells out, and topics one level deeper than any pattern: a filter that is not covered has an
//! uncovered topic among these.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use super::file::{Format, parse};
use crate::access::hooks::subject::{Subject, SubjectKind};
use crate::domain::ids::DeviceKey;

const ALPHABET: [&str; 5] = ["", "a", "b", "z", "$s"];
const DEPTH: usize = 4;

/// One who asks, as the oracle sees them.
#[derive(Clone, Debug)]
struct OracleSubject {
    kind: &'static str,
    tenant: &'static str,
    device: &'static str,
    id: &'static str,
    groups: Vec<&'static str>,
    scopes: Vec<&'static str>,
    client_id: &'static str,
}

// === the oracle ===

/// Every topic over the alphabet.
fn topics() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut longest: Vec<String> = ALPHABET.map(str::to_owned).to_vec();
    for _ in 0..DEPTH {
        all.extend(longest.iter().filter(|topic| !topic.is_empty()).cloned());
        longest = longest
            .iter()
            .flat_map(|topic| ALPHABET.map(|level| format!("{topic}/{level}")))
            .collect();
    }
    all
}

/// Section 4.7 of MQTT 5, one topic and one filter at a time.
fn matches(filter: &[String], topic: &[&str], is_top: bool) -> bool {
    let hidden = is_top && topic.first().is_some_and(|level| level.starts_with('$'));
    match (filter.first().map(String::as_str), topic.first()) {
        (Some("#"), _) => !hidden,
        (Some("+"), Some(_)) => !hidden && matches(&filter[1..], &topic[1..], false),
        (Some(level), Some(name)) => level == *name && matches(&filter[1..], &topic[1..], false),
        (None, None) => true,
        _ => false,
    }
}

fn split(text: &str) -> Vec<String> {
    text.split('/').map(str::to_owned).collect()
}

/// A pattern with everything filled in; none: it matches nothing.
fn fill(pattern: &str, who: &OracleSubject, denies: bool) -> Option<Vec<String>> {
    let mut levels = split(pattern);
    for (index, level) in levels.iter_mut().enumerate() {
        let value = match level.as_str() {
            "{tenant}" | "{device}" if who.kind != "device" => return None,
            "{tenant}" => who.tenant,
            "{device}" => who.device,
            "{sub}" => who.id,
            "{client_id}" => who.client_id,
            _ => continue,
        };
        let stays_in_its_level = !value.is_empty() && !value.contains(['+', '#', '/', '\0']);
        *level = match (stays_in_its_level, denies) {
            (true, false) if index == 0 && value.starts_with('$') => return None,
            (true, _) => value.to_owned(),
            (false, true) => "+".to_owned(),
            (false, false) => return None,
        };
    }
    Some(levels)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn speaks_of(rule: &Value, who: &OracleSubject, action: &str) -> bool {
    let any = |list: Option<&Value>, holds: &dyn Fn(&str) -> bool| match list {
        None | Some(Value::String(_)) => true,
        Some(list) => texts(list).iter().any(|one| *one == "*" || holds(one)),
    };
    let of = |key: &str| rule.get("subjects").and_then(|subjects| subjects.get(key));
    let is_scope = |pattern: &str, scope: &str| match pattern.strip_suffix(".*") {
        Some(prefix) => scope.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')),
        None => pattern == scope,
    };
    any(of("types"), &|kind| kind == who.kind)
        && any(of("ids"), &|id| id == who.id)
        && any(of("groups"), &|group| who.groups.contains(&group))
        && any(of("scopes"), &|pattern| who.scopes.iter().any(|scope| is_scope(pattern, scope)))
        && any(rule.get("actions"), &|one| one == action)
}

fn is_capable(policy: &Value, who: &OracleSubject, action: &str) -> bool {
    let tables =
        ["group_permissions", "scope_permissions", "type_permissions"].map(|name| policy.get(name));
    let gives = |table: Option<&Value>, key: &str| {
        table
            .and_then(|table| table.get(key))
            .is_some_and(|actions| texts(actions).contains(&action))
    };
    tables.iter().all(Option::is_none)
        || who.groups.iter().any(|group| gives(tables[0], group))
        || who.scopes.iter().any(|scope| gives(tables[1], scope))
        || gives(tables[2], who.kind)
}

fn allows_topic(policy: &Value, who: &OracleSubject, action: &str, topic: &str) -> bool {
    let levels: Vec<&str> = topic.split('/').collect();
    let matched = |effect: &str| {
        let rules = policy["rules"].as_array().unwrap().iter();
        let of_effect = rules.filter(|rule| {
            rule.get("effect").map_or("allow", |text| text.as_str().unwrap()) == effect
        });
        of_effect.filter(|rule| speaks_of(rule, who, action)).any(|rule| {
            let filled = texts(&rule["topics"])
                .into_iter()
                .filter_map(|text| fill(text, who, effect == "deny"));
            filled.into_iter().any(|filter| matches(&filter, &levels, true))
        })
    };
    matched("allow") && !matched("deny") && is_capable(policy, who, action)
}

fn oracle(policy: &Value, all: &[String], who: &OracleSubject, acc: u8, requested: &str) -> bool {
    let has_wildcards = requested.contains(['+', '#']);
    if acc == 0
        || acc > 7
        || who.kind == "guest"
        || (has_wildcards && (acc & 4 == 0 || acc & 2 != 0))
    {
        return false;
    }
    let requested = if acc & 4 != 0 && acc & 2 == 0 {
        requested.strip_prefix("$share/g/").unwrap_or(requested)
    } else {
        requested
    };
    let filter = split(requested);
    let mut matched = all
        .iter()
        .filter(|topic| matches(&filter, &topic.split('/').collect::<Vec<_>>(), true))
        .peekable();
    assert!(
        matched.peek().is_some() || requested.starts_with("$share"),
        "the alphabet is too small for {requested}"
    );
    let actions: Vec<&str> = [(1, "read"), (2, "publish"), (4, "subscribe")]
        .into_iter()
        .filter(|(bit, _)| acc & bit != 0)
        .map(|(_, name)| name)
        .collect();
    !requested.starts_with("$share")
        && matched
            .all(|topic| actions.iter().all(|action| allows_topic(policy, who, action, topic)))
}

// === random policies, askers, questions ===

fn path(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
    (proptest::collection::vec(select(levels), 0..3), select(&["", "#", "#", "a", "+"][..]))
        .prop_map(|(levels, last)| {
            let mut levels = levels;
            levels.extend((!last.is_empty()).then_some(last));
            let text = levels.join("/");
            if text.is_empty() { "a".to_owned() } else { text }
        })
}

fn some_of(values: &'static [&'static str]) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(json!("*"))),
        3 => subsequence(values, 0..=values.len()).prop_map(|values| Some(json!(values))),
    ]
}

fn rule() -> impl Strategy<Value = Value> {
    let levels =
        &["a", "b", "+", "+", "+", "", "$s", "{sub}", "{client_id}", "{tenant}", "{device}"];
    let subjects = (
        some_of(&["user", "service", "device", "guest", "*"]),
        some_of(&["a", "b", "a/device/b"]),
        some_of(&["g", "h"]),
        some_of(&["s.a", "s.*", "s.b.*", "t"]),
    );
    let topics = proptest::collection::vec(path(levels), 0..4);
    let actions = prop_oneof![
        Just(json!("*")),
        subsequence(&["read", "publish", "subscribe"][..], 1..=3).prop_map(|names| json!(names))
    ];
    let effect = prop_oneof![2 => Just(None), 2 => Just(Some("allow")), 1 => Just(Some("deny"))];
    (subjects, topics, actions, effect).prop_map(
        |((types, ids, groups, scopes), topics, actions, effect)| {
            let lists = [("types", types), ("ids", ids), ("groups", groups), ("scopes", scopes)];
            let subjects: Map<_, _> =
                lists.into_iter().filter_map(|(key, list)| Some((key.to_owned(), list?))).collect();
            let mut rule = json!({ "subjects": subjects, "topics": topics, "actions": actions });
            if let Some(effect) = effect {
                rule["effect"] = json!(effect);
            }
            rule
        },
    )
}

fn policy() -> impl Strategy<Value = Value> {
    let actions = || subsequence(&["read", "publish", "subscribe"][..], 0..=3);
    let tables = proptest::option::of((actions(), actions(), actions(), actions()));
    (proptest::collection::vec(rule(), 0..7), tables).prop_map(|(rules, tables)| {
        let mut policy = json!({ "rules": rules });
        if let Some((group, scope, device, user)) = tables {
            policy["group_permissions"] = json!({ "g": group });
            policy["scope_permissions"] = json!({ "s.b.c": scope });
            policy["type_permissions"] = json!({ "device": device, "user": user });
        }
        policy
    })
}

fn asker() -> impl Strategy<Value = OracleSubject> {
    let name = select(&["a", "b"][..]);
    let odd = || select(&["a", "b", "+", "#", "a/b", "$s", ""][..]);
    let groups = subsequence(&["g", "h"][..], 0..=2);
    let scopes = subsequence(&["s.a", "s.b.c", "s"][..], 0..=3);
    (
        select(&["user", "service", "device", "guest"][..]),
        name.clone(),
        name,
        odd(),
        groups,
        scopes,
        odd(),
    )
        .prop_map(|(kind, tenant, device, id, groups, scopes, client_id)| {
            let id = if kind == "device" { "a/device/b" } else { id };
            OracleSubject { kind, tenant, device, id, groups, scopes, client_id }
        })
}

fn subject(who: &OracleSubject) -> Subject {
    let kind = match who.kind {
        "device" => SubjectKind::Device(DeviceKey::new(who.tenant, who.device).unwrap()),
        "service" => SubjectKind::Service,
        "user" => SubjectKind::User,
        _ => SubjectKind::Guest,
    };
    let boxed = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
    Subject {
        kind,
        id: who.id.into(),
        groups: boxed(&who.groups),
        scopes: boxed(&who.scopes),
        expires_at: None,
    }
}

fn requested() -> impl Strategy<Value = String> {
    let filter = path(&["a", "b", "+", "+", "", "$s"]);
    let name = path(&["a", "b", "", "z", "$s"]).prop_map(|text| text.replace(['+', '#'], "z"));
    prop_oneof![4 => filter, 2 => name, 1 => path(&["a", "+"]).prop_map(|text| format!("$share/g/{text}"))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_policy_says_what_brute_force_says(policy in policy(), who in asker(), requested in requested(), acc in 0_u8..=8) {
        let parsed = parse(&policy.to_string(), Format::Json).unwrap();
        let expected = oracle(&policy, &topics(), &who, acc, &requested);
        let decision = parsed.decide(&subject(&who), who.client_id, acc, &requested);
        prop_assert_eq!(decision.allowed, expected, "{}", decision);
    }

    /// Most random policies deny most requests; this one has rules for every subject, so that the
    /// topics decide.
    #[test]
    fn what_filters_cover_together_is_what_brute_force_finds(
        allows in proptest::collection::vec(path(&["a", "+", "+", "+", "$s"]), 1..7),
        denies in proptest::collection::vec(path(&["a", "b", "+"]), 0..2),
        requested in path(&["a", "+", "+", "$s"]),
    ) {
        let policy = json!({ "rules": [
            { "topics": allows, "actions": "*" },
            { "topics": denies, "actions": "*", "effect": "deny" },
        ]});
        let who = OracleSubject { kind: "user", tenant: "", device: "", id: "a", groups: vec![], scopes: vec![], client_id: "a" };
        let parsed = parse(&policy.to_string(), Format::Json).unwrap();
        let expected = oracle(&policy, &topics(), &who, 4, &requested);
        let decision = parsed.decide(&subject(&who), "a", 4, &requested);
        prop_assert_eq!(decision.allowed, expected, "{}", decision);
    }
}
