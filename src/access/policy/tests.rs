//! The built-in topics, what a policy in use decides for people and programs, and the sentence of a
//! decision.

use super::Policy;
use super::decision::Because;
use super::file::{Format, parse};
use crate::access::hooks::subject::{Subject, SubjectKind};
use crate::domain::ids::DeviceKey;

/// A policy of the nested shape: admins, services, viewers, and one topic that viewers may not
/// subscribe to.
const CELINE: &str = r##"{
  "celine": {
    "mqtt": { "acl": { "rules": [
      { "subjects": { "groups": ["admins"] }, "topics": ["#"], "actions": "*", "effect": "allow" },
      { "subjects": { "types": ["service"], "scopes": ["mqtt.write"] },
        "topics": ["celine/digital-twin/events/#", "celine/digital-twin/state/#"], "actions": ["publish"], "effect": "allow" },
      { "subjects": { "types": ["user"], "groups": ["viewers"] },
        "topics": ["celine/telemetry/+/+/readings"], "actions": ["subscribe", "read"], "effect": "allow" },
      { "subjects": { "types": ["service"], "ids": ["svc-pipelines"] },
        "topics": ["celine/pipelines/status/+", "celine/pipelines/events/#"], "actions": ["publish"], "effect": "allow" },
      { "subjects": { "types": ["user"], "groups": ["viewers"] },
        "topics": ["celine/system/#"], "actions": ["subscribe", "read"] },
      { "subjects": { "types": ["user"], "groups": ["viewers"] },
        "topics": ["celine/system/alerts/critical"], "actions": ["subscribe"], "effect": "deny" },
      { "subjects": { "types": ["user"] }, "topics": ["celine/nudging/triggers/{sub}"], "actions": ["subscribe", "read"] }
    ] } },
    "roles": {
      "group_permissions": {
        "admins": ["subscribe", "read", "publish", "superuser"],
        "managers": ["subscribe", "read", "publish"],
        "editors": ["subscribe", "read", "publish"],
        "viewers": ["subscribe", "read"]
      },
      "scope_permissions": {
        "mqtt.admin": ["subscribe", "read", "publish", "superuser"],
        "mqtt.read": ["subscribe", "read"],
        "mqtt.write": ["publish"]
      }
    }
  }
}"##;

const READ: u8 = 1;
const PUBLISH: u8 = 2;
const SUBSCRIBE: u8 = 4;

fn subject(kind: SubjectKind, id: &str, groups: &[&str], scopes: &[&str]) -> Subject {
    let boxed = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
    Subject { kind, id: id.into(), groups: boxed(groups), scopes: boxed(scopes), expires_at: None }
}

fn device(tenant: &str, name: &str) -> Subject {
    let key = DeviceKey::new(tenant, name).unwrap();
    subject(SubjectKind::Device(key.clone()), key.identity(), &[], &[])
}

fn guest() -> Subject {
    subject(SubjectKind::Guest, "g-1", &[], &[])
}

fn celine() -> Policy {
    parse(CELINE, Format::Json).unwrap()
}

fn allows(policy: &Policy, subject: &Subject, acc: u8, topic: &str) -> bool {
    policy.decide(subject, "some-client", acc, topic).allowed
}

#[test]
fn a_device_says_and_hears_exactly_its_own_topics() {
    let policy = Policy::built_in();
    let pump = device("acme", "pump-1");
    for topic in [
        "telemetry",
        "telemetry/a/b",
        "heartbeat",
        "event",
        "status",
        "shadow/reported",
        "commands/ack",
    ] {
        assert!(
            allows(&policy, &pump, PUBLISH, &format!("tenant/acme/device/pump-1/{topic}")),
            "{topic}"
        );
    }
    for filter in ["shadow/desired", "commands/#", "commands/+", "commands", "jobs/7", "errors/#"] {
        assert!(
            allows(&policy, &pump, SUBSCRIBE, &format!("tenant/acme/device/pump-1/{filter}")),
            "{filter}"
        );
        let shared = format!("$share/g/tenant/acme/device/pump-1/{filter}");
        assert!(allows(&policy, &pump, SUBSCRIBE, &shared), "{shared}");
    }
    assert!(allows(&policy, &pump, READ, "tenant/acme/device/pump-1/commands/x"));
    for (acc, topic) in [
        (PUBLISH, "tenant/acme/device/pump-2/telemetry"),
        (PUBLISH, "tenant/other/device/pump-1/telemetry"),
        (PUBLISH, "tenant/acme/device/pump-1/shadow/desired"),
        (PUBLISH, "tenant/acme/device/pump-1/commands/x"),
        (PUBLISH, "tenant/acme/device/pump-1"),
        (PUBLISH, "tenant/acme/device/pump-1/telemetry/#"),
        (READ, "tenant/acme/device/pump-1/telemetry"),
        (SUBSCRIBE, "tenant/acme/device/pump-1/#"),
        (SUBSCRIBE, "tenant/acme/device/+/commands/#"),
        (SUBSCRIBE, "#"),
    ] {
        assert!(!allows(&policy, &pump, acc, topic), "{acc} {topic}");
    }
}

#[test]
fn a_guest_has_public_topics_under_a_public_client_id_and_no_rule_gives_it_more() {
    let rules = r##"{ "rules": [ { "topics": ["#", "$SYS/#"], "actions": "*" },
        { "subjects": { "types": ["guest"] }, "topics": ["other/#"], "actions": "*" } ] }"##;
    let policy = parse(rules, Format::Json).unwrap();
    let decide = |client_id, acc, topic| policy.decide(&guest(), client_id, acc, topic).allowed;
    for (acc, topic) in [
        (SUBSCRIBE, "public/#"),
        (READ, "public/a"),
        (PUBLISH, "public/a/b"),
        (SUBSCRIBE, "public/+"),
    ] {
        assert!(decide("public-1", acc, topic), "{acc} {topic}");
        assert!(!decide("private-1", acc, topic), "{acc} {topic}");
    }
    for (acc, topic) in [
        (PUBLISH, "public"),
        (PUBLISH, "publicity/a"),
        (PUBLISH, "private/a"),
        (SUBSCRIBE, "#"),
        (SUBSCRIBE, "+/a"),
        (SUBSCRIBE, "other/#"),
        (SUBSCRIBE, "$SYS/#"),
        (SUBSCRIBE, "$share/g/public/#"),
    ] {
        assert!(!decide("public-1", acc, topic), "{acc} {topic}");
    }
}

#[test]
fn a_rule_that_denies_holds_for_guests_and_for_a_devices_own_topics_too() {
    let rules = r#"{ "rules": [ { "topics": ["public/closed/#", "tenant/+/device/+/event"], "actions": "*", "effect": "deny" } ] }"#;
    let policy = parse(rules, Format::Json).unwrap();
    assert!(!policy.decide(&guest(), "public-1", READ, "public/closed").allowed);
    assert!(!policy.decide(&guest(), "public-1", SUBSCRIBE, "public/#").allowed);
    assert!(policy.decide(&guest(), "public-1", SUBSCRIBE, "public/open/#").allowed);
    assert!(!allows(&policy, &device("a", "b"), PUBLISH, "tenant/a/device/b/event"));
    assert!(allows(&policy, &device("a", "b"), PUBLISH, "tenant/a/device/b/status"));
}

#[test]
fn a_device_may_be_given_more_by_a_rule_but_never_another_devices_topics_by_its_name() {
    let rules = r#"{ "rules": [ { "subjects": { "types": ["device"] }, "actions": ["publish"],
        "topics": ["tenant/{tenant}/device/{device}/alarm", "groups/{tenant}/+"] } ],
        "type_permissions": { "device": ["publish"] } }"#;
    let policy = parse(rules, Format::Json).unwrap();
    let pump = device("acme", "pump-1");
    assert!(allows(&policy, &pump, PUBLISH, "tenant/acme/device/pump-1/alarm"));
    assert!(allows(&policy, &pump, PUBLISH, "groups/acme/x"));
    assert!(!allows(&policy, &pump, PUBLISH, "tenant/acme/device/pump-2/alarm"));
    assert!(!allows(&policy, &pump, PUBLISH, "groups/other/x"));
}

#[test]
fn the_examples_of_a_policy_in_use_are_answered_as_its_text_says() {
    let policy = celine();
    let twin = subject(SubjectKind::Service, "svc-digital-twin", &[], &["mqtt.write"]);
    let pipelines = subject(SubjectKind::Service, "svc-pipelines", &[], &["mqtt.write"]);
    let viewer = subject(SubjectKind::User, "user-789", &["viewers"], &[]);
    let admin = subject(SubjectKind::User, "root", &["admins"], &[]);
    for (who, acc, topic, expected) in [
        (&twin, PUBLISH, "celine/digital-twin/events/pump/pump-001", true),
        (&twin, PUBLISH, "celine/digital-twin/commands/pump/pump-001", false),
        (&twin, SUBSCRIBE, "celine/digital-twin/events/#", false),
        (&twin, PUBLISH, "celine/pipelines/status/etl-daily", false),
        (&pipelines, PUBLISH, "celine/pipelines/status/etl-daily", true),
        (&pipelines, PUBLISH, "celine/pipelines/status/etl-daily/more", false),
        (&pipelines, PUBLISH, "celine/pipelines/events/etl-daily/started", true),
        (&viewer, SUBSCRIBE, "celine/telemetry/meter/meter-001/readings", true),
        (&viewer, SUBSCRIBE, "celine/telemetry/+/+/readings", true),
        (&viewer, SUBSCRIBE, "celine/telemetry/#", false),
        (&viewer, READ, "celine/telemetry/meter/meter-001/readings", true),
        (&viewer, PUBLISH, "celine/telemetry/meter/meter-001/readings", false),
        (&viewer, SUBSCRIBE, "celine/nudging/triggers/user-789", true),
        (&viewer, SUBSCRIBE, "celine/nudging/triggers/user-788", false),
        (&viewer, SUBSCRIBE, "celine/nudging/triggers/+", false),
        (&admin, SUBSCRIBE, "#", true),
        (&admin, READ | PUBLISH, "celine/anything", true),
        (&admin, SUBSCRIBE, "$SYS/#", false),
    ] {
        assert_eq!(allows(&policy, who, acc, topic), expected, "{} {acc} {topic}", who.id);
    }
}

#[test]
fn what_is_denied_is_denied_though_another_rule_allows_it_and_so_is_every_filter_that_reaches_it() {
    let policy = celine();
    let viewer = subject(SubjectKind::User, "u", &["viewers"], &[]);
    for filter in [
        "celine/system/alerts/critical",
        "celine/system/alerts/+",
        "celine/system/#",
        "celine/system/+/critical",
    ] {
        let decision = policy.decide(&viewer, "c", SUBSCRIBE, filter);
        assert_eq!(
            (decision.allowed, decision.place()),
            (false, Some("celine.mqtt.acl.rules[5]")),
            "{filter}"
        );
    }
    for filter in ["celine/system/health/#", "celine/system/alerts/warning"] {
        assert!(allows(&policy, &viewer, SUBSCRIBE, filter), "{filter}");
    }
    assert!(
        allows(&policy, &viewer, READ, "celine/system/alerts/critical"),
        "only subscribing is denied"
    );
}

#[test]
fn a_superuser_is_one_by_group_or_scope_and_never_a_device_or_a_guest() {
    let policy = celine();
    assert!(policy.is_superuser(&subject(SubjectKind::User, "u", &["admins"], &[])));
    assert!(policy.is_superuser(&subject(SubjectKind::Service, "s", &[], &["x", "mqtt.admin"])));
    assert!(!policy.is_superuser(&subject(SubjectKind::User, "u", &["managers"], &["mqtt.read"])));
    assert!(!policy.is_superuser(&subject(SubjectKind::Guest, "g", &["admins"], &["mqtt.admin"])));
    assert!(!policy.is_superuser(&subject(device("a", "b").kind, "d", &["admins"], &[])));
    assert!(!Policy::built_in().is_superuser(&subject(SubjectKind::User, "u", &["admins"], &[])));
}

#[test]
fn an_answer_says_what_decided() {
    let policy = celine();
    let viewer = subject(SubjectKind::User, "u", &["viewers"], &[]);
    let service = subject(SubjectKind::Service, "svc-pipelines", &[], &["mqtt.read"]);
    let decide = |who: &Subject, acc, topic: &str| policy.decide(who, "c", acc, topic).to_string();
    for (decision, expected) in [
        (decide(&viewer, READ, "celine/system/x"), "allowed to read: by celine.mqtt.acl.rules[4]"),
        (decide(&viewer, PUBLISH, "celine/system/x"), "denied to publish: no rule allows it"),
        (decide(&viewer, SUBSCRIBE, "a/b#"), "denied to subscribe: + and # must be whole levels"),
        (
            decide(&viewer, PUBLISH, "a/+"),
            "denied to publish: only a subscription may contain + and #",
        ),
        (
            decide(&viewer, 8, "a"),
            "denied: acc 8 is invalid: expected read (1), publish (2), subscribe (4), or a sum of them",
        ),
        (
            decide(&service, PUBLISH, "celine/pipelines/status/x"),
            "denied to publish: a rule allows it, but no group, scope or type of the subject has this permission",
        ),
        (
            decide(&device("a", "b"), PUBLISH, "tenant/a/device/b/event"),
            "allowed to publish: built in: the topic is one of the device's own",
        ),
        (
            decide(&guest(), READ, "public/a"),
            "denied to read: built in: the client id of a guest begins with public-",
        ),
    ] {
        assert_eq!(decision, expected);
    }
    let decision = policy.decide(&viewer, "c", 0, "a");
    assert!(matches!(decision.because, Because::UnknownAccess(0)) && !decision.allowed);
}

#[test]
fn every_action_that_is_asked_for_must_be_allowed() {
    let policy = celine();
    let viewer = subject(SubjectKind::User, "u", &["viewers"], &[]);
    let topic = "celine/system/health/x";
    assert!(allows(&policy, &viewer, READ | SUBSCRIBE, topic));
    for acc in [READ | PUBLISH, SUBSCRIBE | PUBLISH, 7, 0, 8, 9, 255] {
        assert!(!allows(&policy, &viewer, acc, topic), "{acc}");
    }
    assert!(allows(&policy, &viewer, READ | SUBSCRIBE, "celine/system/health/#"));
    assert!(
        !allows(&policy, &viewer, READ, "celine/system/health/#"),
        "nothing is delivered under a filter"
    );
}
