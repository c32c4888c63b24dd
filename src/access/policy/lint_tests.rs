//! Each doubt is raised where it should be, and not where it should not.

use super::file::{Format, parse};
use super::lint::lint;

/// Place, kind and level of each doubt about these rules; `tables` is what stands beside them.
fn doubts_with(rules: &str, tables: &str) -> Vec<String> {
    let policy = parse(&format!("{{ \"rules\": [{rules}] {tables} }}"), Format::Json).unwrap();
    let line = |place: &str, kind: &str, level: &str| format!("{place} {kind} {level}");
    lint(&policy)
        .iter()
        .map(|doubt| line(&doubt.place, doubt.kind.label(), doubt.finding.level.label()))
        .collect()
}

fn doubts(rules: &str) -> Vec<String> {
    doubts_with(rules, "")
}

#[test]
fn a_sound_policy_raises_no_doubt() {
    let rules = r##"
        { "subjects": { "groups": ["admins"] }, "topics": ["#"], "actions": "*" },
        { "subjects": { "types": ["device"] }, "topics": ["fleet/{tenant}/{device}"], "actions": ["publish"] },
        { "subjects": { "types": ["user"] }, "topics": ["inbox/{sub}/#"], "actions": ["read", "subscribe"] },
        { "subjects": { "types": ["user"] }, "topics": ["inbox/+/closed"], "actions": "*", "effect": "deny" }"##;
    let tables = r#", "group_permissions": { "admins": ["read", "publish", "subscribe"] },
        "type_permissions": { "device": ["publish"] }"#;
    assert!(doubts(rules).is_empty(), "{:?}", doubts(rules));
    assert!(doubts_with(rules, tables).is_empty());
}

#[test]
fn a_rule_that_nobody_and_nothing_can_match_is_doubted() {
    for rule in [
        r#"{ "subjects": { "groups": [] }, "topics": ["a"], "actions": "*" }"#,
        r#"{ "subjects": { "types": [] }, "topics": ["a"], "actions": "*" }"#,
        r#"{ "subjects": { "ids": [] }, "topics": ["a"], "actions": "*" }"#,
        r#"{ "subjects": { "scopes": [] }, "topics": ["a"], "actions": "*", "effect": "deny" }"#,
        r#"{ "topics": [], "actions": "*" }"#,
        r#"{ "topics": ["a"], "actions": [] }"#,
        r#"{ "subjects": { "types": ["device"], "groups": ["g"] }, "topics": ["a"], "actions": "*" }"#,
        r#"{ "subjects": { "types": ["guest"] }, "topics": ["a"], "actions": "*" }"#,
    ] {
        assert_eq!(doubts(rule), ["rules[0] never_matches error"], "{rule}");
    }
    let plain = r#"{ "subjects": { "types": ["device"], "ids": ["a/device/b", "a/b"] }, "topics": ["a"], "actions": "*" }"#;
    assert_eq!(doubts(plain), ["rules[0] never_matches warning"]);
    let denied = r#"{ "subjects": { "types": ["guest"] }, "topics": ["public/x"], "actions": "*", "effect": "deny" }"#;
    assert!(doubts(denied).is_empty(), "a guest may be denied something");
}

#[test]
fn a_topic_that_can_never_match_is_doubted() {
    let of = |subjects: &str, topic: &str| {
        doubts(&format!(
            "{{ \"subjects\": {{ {subjects} }}, \"topics\": [\"ok\", \"{topic}\"], \"actions\": [\"read\"] }}"
        ))
    };
    let user = "\"types\": [\"user\"]";
    assert_eq!(of(user, "$share/g/a"), ["rules[0].topics[1] never_matches error"]);
    assert_eq!(of(user, "a/{tenant}"), ["rules[0].topics[1] never_matches error"]);
    assert_eq!(
        of("\"types\": [\"device\"]", "a/{sub}"),
        ["rules[0].topics[1] never_matches error"]
    );
    assert_eq!(of(user, "a/*"), ["rules[0].topics[1] never_matches warning"]);
    assert_eq!(of(user, "a/{client_id}"), ["rules[0].topics[1] too_wide warning"]);
}

#[test]
fn a_topic_that_another_rule_has_decided_is_doubted() {
    let wide = r#"{ "topics": ["a/#"], "actions": "*" }"#;
    let narrow =
        r#"{ "subjects": { "types": ["user"] }, "topics": ["b", "a/{sub}"], "actions": ["read"] }"#;
    let denied = r#"{ "topics": ["a/#"], "actions": "*", "effect": "deny" }"#;
    assert_eq!(doubts(&format!("{wide}, {narrow}")), ["rules[1].topics[1] shadowed warning"]);
    assert_eq!(
        doubts(&format!("{narrow}, {wide}")),
        ["rules[0].topics[1] shadowed warning"],
        "order means nothing"
    );
    assert_eq!(doubts(&format!("{narrow}, {denied}")), ["rules[0].topics[1] shadowed error"]);
    assert_eq!(doubts(&format!("{denied}, {narrow}")), ["rules[1].topics[1] shadowed error"]);
    assert_eq!(
        doubts(&format!("{wide}, {wide}")),
        ["rules[1].topics[0] shadowed warning"],
        "only the later twin"
    );
    let within = r#"{ "topics": ["a/b", "a/+", "a/b"], "actions": "*" }"#;
    assert_eq!(
        doubts(within),
        ["rules[0].topics[0] shadowed warning", "rules[0].topics[2] shadowed warning"]
    );
    let other = r#"{ "subjects": { "groups": ["g"] }, "topics": ["a/x"], "actions": "*" }"#;
    let another = r#"{ "subjects": { "groups": ["h", "g"], "types": ["user"] }, "topics": ["a/x"], "actions": "*" }"#;
    assert!(
        doubts(&format!("{other}, {another}")).is_empty(),
        "each has a subject that the other does not have"
    );
}

#[test]
fn a_rule_without_the_permission_that_must_come_with_it_is_doubted() {
    let tables = r#", "group_permissions": { "viewers": ["read"], "idle": [] }, "scope_permissions": { "m.w": ["publish"] }"#;
    let of = |subjects: &str, action: &str| {
        let rule = format!(
            "{{ \"subjects\": {{ {subjects} }}, \"topics\": [\"a\"], \"actions\": [\"{action}\"] }}"
        );
        doubts_with(&rule, tables)
    };
    assert!(of("\"groups\": [\"viewers\"]", "read").is_empty());
    assert!(of("\"scopes\": [\"m.*\"]", "publish").is_empty());
    assert!(of("\"ids\": [\"x\"]", "publish").is_empty(), "it may have the scope");
    assert_eq!(of("\"ids\": [\"x\"]", "subscribe"), ["rules[0] not_capable error"]);
    assert_eq!(
        of("\"types\": [\"device\"]", "read"),
        ["rules[0] not_capable error"],
        "a device has no groups"
    );
    assert_eq!(of("\"groups\": [\"viewers\"]", "publish"), ["rules[0] not_capable warning"]);
    assert_eq!(of("\"groups\": [\"unknown\"]", "read"), ["rules[0] not_capable warning"]);
}

#[test]
fn a_pattern_that_lets_devices_into_each_others_topics_is_doubted() {
    let of = |subjects: &str, topic: &str| {
        doubts(&format!(
            "{{ \"subjects\": {{ {subjects} }}, \"topics\": [\"{topic}\"], \"actions\": [\"publish\"] }}"
        ))
    };
    let device = "\"types\": [\"device\"]";
    for topic in ["tenant/+/device/+/telemetry/#", "tenant/#", "#", "+/+/device/+/x"] {
        assert_eq!(of(device, topic), ["rules[0].topics[0] too_wide error"], "{topic}");
        assert_eq!(of("", topic), ["rules[0].topics[0] too_wide error"], "{topic}");
        assert!(of("\"types\": [\"user\"]", topic).is_empty(), "{topic}");
        assert!(of("\"groups\": [\"g\"]", topic).is_empty(), "{topic}");
    }
    for topic in
        ["tenant/{tenant}/device/+/x", "tenant/acme/device/+/x", "tenant/+/device/{device}/x"]
    {
        assert_eq!(of(device, topic), ["rules[0].topics[0] too_wide warning"], "{topic}");
    }
    assert!(of(device, "tenant/{tenant}/device/{device}/alarm").is_empty());
    assert!(of(device, "fleet/+/x").is_empty());
    let everybody = r#"{ "topics": ["+/#"], "actions": ["read"] }"#;
    let tables = r#", "group_permissions": { "g": ["read"] }"#;
    assert_eq!(
        doubts_with(everybody, tables),
        ["rules[0].topics[0] too_wide warning"],
        "no device is permitted"
    );
}

#[test]
fn a_rule_that_takes_devices_their_own_topics_is_doubted() {
    let of = |subjects: &str, topic: &str| {
        let rule =
            format!("\"topics\": [\"{topic}\"], \"actions\": [\"publish\"], \"effect\": \"deny\"");
        doubts(&format!("{{ \"subjects\": {{ {subjects} }}, {rule} }}"))
    };
    for topic in ["#", "tenant/acme/#", "tenant/+/device/+/event"] {
        assert_eq!(of("", topic), ["rules[0] too_narrow warning"], "{topic}");
        assert!(of("\"types\": [\"user\"]", topic).is_empty(), "{topic}");
        assert!(of("\"ids\": [\"acme/device/a\"]", topic).is_empty(), "{topic}");
    }
    assert!(of("", "tenant/+/device/+/commands/x").is_empty(), "a device does not publish there");
}
