//! The accepted content of a policy file, and the report of its faults: all at once, each with its
//! place.

use proptest::prelude::*;

use super::file::{Format, MAX_PATTERNS, MAX_RULES, PolicyFileError, load, parse};
use super::lint::lint;

fn faults(text: &str, format: Format) -> Vec<String> {
    parse(text, format).unwrap_err().listed.iter().map(ToString::to_string).collect()
}

#[test]
fn both_shapes_and_both_formats_say_the_same() {
    let flat = r#"{ "rules": [ { "topics": ["a/#"], "actions": ["read"] } ], "group_permissions": { "g": ["read"] } }"#;
    let nested = r#"{ "any": { "mqtt": { "acl": { "rules": [ { "topics": ["a/#"], "actions": ["read"] } ] } },
        "roles": { "group_permissions": { "g": ["read"] } } } }"#;
    let toml =
        "[[rules]]\ntopics = ['a/#']\nactions = ['read']\n[group_permissions]\ng = ['read']\n";
    for (text, format, place) in [
        (flat, Format::Json, "rules[0]"),
        (nested, Format::Json, "any.mqtt.acl.rules[0]"),
        (toml, Format::Toml, "rules[0]"),
    ] {
        let policy = parse(text, format).unwrap();
        assert_eq!(
            (&*policy.allows()[0].place, policy.allows()[0].topics[0].text()),
            (place, "a/#")
        );
        assert!(policy.denies().is_empty());
    }
}

#[test]
fn every_error_is_told_with_its_place() {
    let text = r#"{
        "rules": [
            { "topics": ["a/#/b", "ok", 7], "actions": ["read", "write"], "effect": "forbid" },
            { "subjects": { "types": ["robot"], "groups": ["/admins"], "scopes": ["a*"], "ids": "x", "roles": [] } },
            { "topics": "a", "actions": [], "topic": ["x-{sub}"] },
            "rule"
        ],
        "group_permissions": { "/g": ["read"], "h": ["root"] },
        "scope_permissions": { "a.*": [] },
        "type_permissions": { "guest": ["read"], "user": ["superuser"] },
        "rule s": 1
    }"#;
    let expected = [
        "\"rule s\": the key is unknown here",
        "rules[0].topics[2]: expected a text, found a number",
        "rules[0].topics[0]: \"a/#/b\": # must be the last level",
        "rules[0].actions[1]: action \"write\" is unknown",
        "rules[0].effect: expected \"allow\" or \"deny\"",
        "rules[1].subjects.roles: the key is unknown here; expected types, ids, groups, scopes",
        "rules[1].subjects.ids: expected a list, or \"*\"",
        "rules[1].subjects.types[0]: type \"robot\" is unknown; expected device, service, user, guest",
        "rules[1].subjects.groups[0]: write the group without the leading slash: \"admins\"",
        "rules[1].subjects.scopes[0]: in \"a*\" the * is not a wildcard",
        "rules[1]: topics is missing",
        "rules[1]: actions is missing",
        "rules[2].topic: the key is unknown here; expected subjects, topics, actions, effect",
        "rules[2].topics: expected a list, found a text",
        "rules[3]: expected a table, found a text",
        "group_permissions.h[0]: permission \"root\" is unknown",
        "group_permissions.\"/g\": write the group without the leading slash",
        "scope_permissions.\"a.*\": a scope here is a whole name",
        "type_permissions.guest: expected device, service or user",
        "type_permissions.user: superuser cannot be given to a whole type",
    ];
    let found = faults(text, Format::Json);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nnot {expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_placeholder_that_is_none_is_an_error_of_its_topic() {
    let found = faults(
        r#"{ "rules": [ { "topics": ["{user}/x", "a-{sub}"], "actions": "*" } ] }"#,
        Format::Json,
    );
    assert!(
        found[0].starts_with(
            "rules[0].topics[0]: \"{user}/x\": \"{user}\" is not a placeholder: use {tenant}"
        ),
        "{found:?}"
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn what_is_no_json_and_no_toml_is_told_with_line_and_column() {
    assert_eq!(
        faults("{\n  \"rules\": [}\n", Format::Json),
        ["line 2, column 13: not JSON: expected value"]
    );
    let found = faults("rules = []\nrules = []\n", Format::Toml);
    assert!(
        found.len() == 1 && found[0].starts_with("line 2, column 1: not TOML: duplicate key"),
        "{found:?}"
    );
    assert_eq!(faults("{} {}", Format::Json), ["line 1, column 4: not JSON: trailing characters"]);
    assert!(parse(&"[".repeat(100_000), Format::Json).is_err());
    assert!(parse(&format!("a = {}", "[".repeat(100_000)), Format::Toml).is_err());
}

#[test]
fn a_key_that_stands_twice_is_an_error() {
    let found = faults(
        r#"{ "rules": [ { "topics": ["a"], "actions": "*", "effect": "deny", "effect": "allow" } ] }"#,
        Format::Json,
    );
    assert!(found.len() == 1 && found[0].contains("the key \"effect\" is repeated"), "{found:?}");
}

#[test]
fn an_unknown_shape_is_an_error_and_never_an_empty_policy() {
    for (text, words) in [
        ("{}", "the file: the file is empty"),
        ("[]", "the file: expected a table, found a list"),
        (r#"{ "a": 1 }"#, "a: expected a table"),
        (r#"{ "a": {}, "b": {} }"#, "a: the key is unknown here"),
        (
            r#"{ "a": { "mqtt": { "rules": [] } } }"#,
            "a.mqtt.rules: the key is unknown here; expected acl",
        ),
        (r#"{ "a": { "acl": {} } }"#, "a.acl: the key is unknown here; expected mqtt, roles"),
        (r#"{ "rules": null }"#, "rules: expected a list, found null"),
    ] {
        let found = faults(text, Format::Json);
        assert!(found[0].starts_with(words), "{found:?}");
    }
}

#[test]
fn a_file_is_bounded_and_of_many_errors_some_are_told_and_the_rest_counted() {
    let rules =
        |count: usize, rule: &str| format!("{{ \"rules\": [{}] }}", vec![rule; count].join(","));
    let rule = r#"{ "topics": ["a"], "actions": "*" }"#;
    assert!(parse(&rules(MAX_RULES, rule), Format::Json).is_ok());
    assert!(
        faults(&rules(MAX_RULES + 1, rule), Format::Json)[0].contains("at most 1000 are allowed")
    );
    let topics = vec!["\"a\""; MAX_PATTERNS + 1].join(",");
    let wide = rules(1, &format!("{{ \"topics\": [{topics}], \"actions\": \"*\" }}"));
    assert!(faults(&wide, Format::Json)[0].contains("at most 4096 are allowed"));
    let found = parse(&rules(60, "1"), Format::Json).unwrap_err().to_string();
    assert!(found.lines().count() == 51 && found.ends_with("and 10 more"), "{found}");
}

#[test]
fn a_file_is_read_by_its_ending_or_else_by_how_it_begins() {
    let directory = tempfile::tempdir().unwrap();
    let json = r#"{ "rules": [] }"#;
    for (name, text, is_good) in [
        ("a.json", json, true),
        ("a.toml", "rules = []", true),
        ("a.policy", json, true),
        ("b.policy", "rules = []", true),
        ("b.toml", json, false),
        ("b.json", "rules = []", false),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        assert_eq!(load(&path).is_ok(), is_good, "{name}");
    }
    let missing = load(&directory.path().join("none.json")).unwrap_err();
    assert!(
        matches!(missing, PolicyFileError::Unreadable { .. })
            && missing.to_string().contains("none.json")
    );
    let large = directory.path().join("large.json");
    std::fs::write(&large, " ".repeat(1024 * 1024 + 1)).unwrap();
    assert!(load(&large).unwrap_err().to_string().contains("longer than 1048576 bytes"));
}

proptest! {
    /// Whatever stands in the file, there is a policy or there are faults, and every policy can be
    /// doubted.
    #[test]
    fn no_text_brings_it_down(
        text in "\\PC{0,60}",
        topics in proptest::collection::vec("[ab+#/{}$*]{0,6}|\\{sub\\}/.{0,3}", 0..4),
        list in "\\[\\]|\"\\*\"|\\[\"a\"\\]|7|null",
    ) {
        for format in [Format::Json, Format::Toml] {
            let _ = parse(&text, format);
        }
        let topics = serde_json::json!(topics);
        let text = format!(r#"{{ "rules": [ {{ "subjects": {{ "ids": {list} }}, "topics": {topics}, "actions": "*" }} ] }}"#);
        match parse(&text, Format::Json) {
            Ok(policy) => drop(lint(&policy)),
            Err(faults) => prop_assert!(!faults.is_empty()),
        }
    }
}
