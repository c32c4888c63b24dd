//! `sluice access`, as a person types it: what it answers, what it says of a policy, and how it
//! ends.

use std::process::Output;

use serde_json::Value;

use crate::support::daemon::Settings;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compose/mosquitto/policy.example.toml");

/// Runs it; the exit code, what it printed, and what it complained of.
fn ended(settings: &Settings, line: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        settings.command(&[&["access"], line].concat()).output().unwrap();
    let [out, err] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    (status.code().unwrap(), out, err)
}

/// The exit code and what decided.
fn checked(settings: &Settings, line: &[&str]) -> (i32, String) {
    let (code, out, err) = ended(settings, &[&["check", "--output", "json"], line].concat());
    let answer: Value =
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("{line:?}: {out}{err}"));
    assert_eq!(answer["allowed"], code == 0, "{line:?}: {answer}");
    let rule = answer["rule"].as_str().map_or_else(String::new, |rule| format!(" {rule}"));
    (code, format!("{}{rule}", answer["because"].as_str().unwrap()))
}

#[test]
fn the_example_policy_is_without_doubt_and_answers_as_its_comments_say() {
    let settings = Settings::empty().set("ACL_RULES_PATH", EXAMPLE);
    assert_eq!(
        ended(&settings, &["lint"]),
        (0, "No problem in any of the 6 rules.\n".to_owned(), String::new())
    );
    assert_eq!(ended(&settings, &["lint", "--output", "json"]).1, "[]\n");
    let viewer = "--as user:alice --group viewers";
    for (line, code, because) in [
        (format!("{viewer} --topic plant/1/alerts/fire --action subscribe --action read"), 0, "rule rules[1]"),
        (format!("{viewer} --topic plant/+/alerts/# --action subscribe"), 1, "rule rules[2]"),
        (format!("{viewer} --topic plant/1/alerts/security --action read"), 1, "rule rules[2]"),
        (format!("{viewer} --topic inbox/alice/# --action subscribe"), 0, "rule rules[3]"),
        (format!("{viewer} --topic inbox/bob/# --action subscribe"), 1, "no_rule"),
        (format!("{viewer} --topic plant/1/alerts/fire --action publish"), 1, "no_rule"),
        ("--as user:root --group admins --topic $SYS/broker/# --action subscribe".to_owned(), 0, "rule rules[0]"),
        (
            "--as service:svc-alerts --scope mqtt.write --topic plant/1/alerts/x --action publish".to_owned(),
            0,
            "rule rules[4]",
        ),
        (
            "--as service:svc-alerts --scope mqtt.read --topic plant/1/alerts/x --action publish".to_owned(),
            1,
            "no_rule",
        ),
        (
            "--as device:acme/pump-1 --topic tenant/acme/device/pump-1/event --action publish".to_owned(),
            0,
            "own_topics",
        ),
        (
            "--as device:acme/device/pump-1 --topic tenant/acme/device/pump-1/alarm --action publish".to_owned(),
            0,
            "rule rules[5]",
        ),
        ("--as device:acme/pump-1 --topic tenant/acme/device/pump-2/alarm --action publish".to_owned(), 1, "no_rule"),
        ("--as guest:g --client-id public-7 --topic public/# --action subscribe".to_owned(), 0, "guest_topics"),
        ("--as guest:g --topic public/# --action subscribe".to_owned(), 1, "guest"),
        ("--as guest:g --client-id public-7 --topic # --action subscribe".to_owned(), 1, "guest"),
        ("--as user:a --topic a/#/b --action subscribe".to_owned(), 1, "malformed"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(checked(&settings, &words), (code, because.to_owned()), "{line}");
    }
}

#[test]
fn the_page_of_the_policy_shows_what_is_printed() {
    let line = "check --rules compose/mosquitto/policy.example.toml --as user:alice --group viewers \
                --topic plant/+/alerts/# --action subscribe";
    let settings = Settings::empty();
    let mut command = settings.command(&["access"]);
    let output =
        command.args(line.split(' ')).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), out.lines().count()), (Some(1), 5), "{out}");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/how-to/access-policy.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(&out), "the page shows something else than:\n{out}");
}

#[test]
fn a_superuser_is_shown_as_one_and_without_a_file_only_built_in_rules_apply() {
    let settings = Settings::empty();
    let admin =
        ["check", "--as", "service:s", "--scope", "mqtt.admin", "--topic", "x", "--action", "read"];
    let (code, out, _) = ended(&settings, &admin);
    assert!(
        code == 1 && out.contains("Superuser  no") && out.contains("only the built-in rules"),
        "{out}"
    );
    let (code, out, _) = ended(&settings, &[&admin[..], &["--rules", EXAMPLE]].concat());
    assert!(code == 1 && out.contains("Superuser  yes"), "{out}");
}

#[test]
fn doubts_are_listed_with_their_place_and_an_error_exits_with_1() {
    let settings = Settings::empty();
    let wide = settings
        .dir()
        .write("wide.toml", "[[rules]]\ntopics = ['tenant/+/device/+/#']\nactions = '*'\n");
    let (code, out, _) =
        ended(&settings, &["lint", "--rules", wide.to_str().unwrap(), "--output", "json"]);
    let doubts: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!((code, doubts.len()), (1, 1), "{out}");
    let told = ["level", "place", "kind"].map(|key| doubts[0][key].as_str().unwrap());
    assert_eq!(told, ["error", "rules[0].topics[0]", "too_wide"]);
    let (_, out, _) = ended(&settings, &["lint", "--rules", wide.to_str().unwrap()]);
    assert!(out.contains("rules[0].topics[0]") && out.contains("every device"), "{out}");
    let mild =
        "[[rules]]\nsubjects = { groups = ['g'] }\ntopics = ['a', 'a']\nactions = ['read']\n";
    let mild = settings.dir().write("mild.toml", mild);
    assert_eq!(
        ended(&settings, &["lint", "--rules", mild.to_str().unwrap()]).0,
        0,
        "warnings are no errors"
    );
}

#[test]
fn a_wrong_policy_ends_with_78_and_names_every_place() {
    let settings = Settings::empty();
    let wrong = settings.dir().write(
        "wrong.json",
        r#"{ "rules": [ { "topics": ["a#"], "actions": ["write"] } ], "rule": 1 }"#,
    );
    for command in [&["lint"][..], &["check", "--as", "user:a", "--topic", "a", "--action", "read"]]
    {
        let (code, _, said) =
            ended(&settings, &[command, &["--rules", wrong.to_str().unwrap()]].concat());
        assert_eq!(code, 78, "{said}");
        for words in [
            "wrong.json",
            "rules[0].topics[0]: \"a#\"",
            "rules[0].actions[0]",
            "rule: the key is unknown here",
        ] {
            assert!(said.contains(words), "{said}");
        }
    }
    let missing = ended(&settings.clone().set("ACL_RULES_PATH", "/nonexistent.toml"), &["lint"]);
    assert!(
        missing.0 == 78 && missing.2.contains("reading the policy file /nonexistent.toml failed"),
        "{missing:?}"
    );
}

#[test]
fn a_question_that_is_none_ends_with_64() {
    let settings = Settings::empty();
    for (line, words) in [
        (&["check", "--topic", "a", "--action", "read"][..], "--as"),
        (&["check", "--as", "alice", "--topic", "a", "--action", "read"], "expected KIND:ID"),
        (
            &["check", "--as", "robot:a", "--topic", "a", "--action", "read"],
            "device, service, user, guest",
        ),
        (
            &["check", "--as", "device:a", "--topic", "a", "--action", "read"],
            "device:TENANT/DEVICE",
        ),
        (
            &["check", "--as", "user:a", "--topic", "a", "--action", "write"],
            "subscribe, read or publish",
        ),
        (&["check", "--as", "user:a", "--topic", "a"], "--action"),
    ] {
        let (code, _, said) = ended(&settings, line);
        assert!(code == 64 && said.contains(words), "{line:?}: {code} {said}");
    }
}
