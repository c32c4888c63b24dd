//! Access at the broker: the policy answers with the rule that decides, doubtful rules are listed,
//! and what the hooks denied is there, without a secret.

use serde_json::json;

use super::browser::Browser;
use crate::api::client::{TOKEN, ask, builder};

const POLICY: &str = "# Who reads alerts.\n[[rules]]\ntopics = [\"plant/+/alerts/#\"]\nactions = [\"subscribe\", \"read\"]\n\n\
    [rules.subjects]\ngroups = [\"viewers\"]\n\n[[rules]]\ntopics = [\"plant/*/x\"]\nactions = [\"read\"]\n\
    subjects = { ids = [\"bob\"] }\n";

/// A token's form; its signature is worth nothing.
const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2VjcmV0LXNpZ25hdHVyZQ";

#[test]
fn the_policy_answers_with_the_rule_and_its_lines() {
    let it = builder().database().file("ACL_RULES_PATH", "policy.toml", POLICY).start();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    it.listening("HOOKS_BIND");
    let body = json!({
        "as": "user:alice", "groups": ["viewers"], "topic": "plant/+/alerts/#", "actions": ["subscribe"],
    });
    let answer = admin.api("POST", "/access/check", Some(&body)).ok(200);
    assert_eq!(
        (&answer["allowed"], &answer["rule"]),
        (&true.into(), &"rules[0]".into()),
        "{answer}"
    );
    assert_eq!(answer["lines"]["line"], 2, "{answer}");
    assert_eq!(answer["lines"]["text"][1], "topics = [\"plant/+/alerts/#\"]");
    let odd = json!({ "as": "alice", "topic": "a", "actions": ["read"] });
    assert_eq!(admin.api("POST", "/access/check", Some(&odd)).blamed(), "as");
    let none = json!({ "as": "user:alice", "topic": "a", "actions": [] });
    assert_eq!(admin.api("POST", "/access/check", Some(&none)).blamed(), "actions");
    let lint = admin.api("GET", "/access/lint", None).ok(200);
    assert_eq!(
        (&lint["rules"], &lint["findings"][0]["place"]),
        (&2.into(), &"rules[1].topics[0]".into()),
        "{lint}"
    );

    let question = "/console/access?as=user%3Aalice&groups=viewers&topic=plant%2F%2B%2Falerts%2F%23&action=subscribe";
    let page = admin.get(question).page();
    for text in [
        "allowed to subscribe: by rules[0]",
        "policy.toml:2",
        "--group viewers",
        "rules[1].topics[0]",
    ] {
        assert!(page.contains(text), "{text} is missing from\n{page}");
    }
    let denied = admin.get("/console/access?as=user%3Aalice&topic=other&action=read").page();
    assert!(denied.contains("no rule allows it"), "{denied}");
    let hostile = admin.get("/console/access?as=%22%3E%3Cimg+src%3Dx%3E&topic=%3Cscript%3E").page();
    assert!(!hostile.contains("<img") && !hostile.contains("<script>"), "{hostile}");
    assert!(hostile.contains("expected KIND:ID"), "the question is refused with its cause");
    assert!(!hostile.contains("at line 1"), "{hostile}");
    assert!(denied.contains("add a rule with this topic"), "{denied}");

    let order = json!({ "name": "vera", "role": "viewer" });
    let token = admin.api("POST", "/operators", Some(&order)).ok(201)["token"].clone();
    let viewer = Browser::signed_in(admin.port, token.as_str().unwrap());
    assert_eq!(viewer.api("POST", "/access/check", Some(&body)).status, 403);
    assert!(viewer.get("/console/access").page().contains("they need the role operator"));
}

#[test]
fn what_the_hooks_deny_is_listed_without_a_secret() {
    let it = builder().database().start();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    let hooks = it.listening("HOOKS_BIND");
    let hook = |path: &str, body: &str| {
        let headers = "Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n";
        assert_eq!(ask(hooks, "POST", path, headers, body.as_bytes()).status, 403);
    };
    let login =
        json!({ "username": "mallory", "password": "the-password-of-mallory", "clientid": "m1" });
    let topic = json!({ "username": JWT, "clientid": "m2", "topic": "plant/<b>", "acc": 2 });
    for _ in 0..3 {
        hook("/user", &login.to_string());
    }
    hook("/acl", &topic.to_string());
    hook("/superuser", &json!({ "username": "mallory" }).to_string());
    let view = admin.api("GET", "/access/denials", None).ok(200);
    let rows = view["denials"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{view}");
    assert_eq!((&rows[0]["who"], &rows[0]["action"]), (&"a token".into(), &"publish".into()));
    assert_eq!(
        (&rows[1]["who"], &rows[1]["action"], &rows[1]["count"]),
        (&"mallory".into(), &"login".into(), &3.into())
    );
    let denied = admin.get("/console/access?as=user%3Aalice&topic=other&action=read").page();
    assert!(denied.contains("Sluice needs a policy file"), "{denied}");
    let page = admin.get("/console/access").page();
    assert!(
        page.contains("mallory") && page.contains("ACL_RULES_PATH=") && !page.contains("<b>plant"),
        "{page}"
    );
    assert!(!page.contains("plant/<b>") && page.contains("plant/&#60;b&#62;"), "{page}");
    for text in [view.to_string(), page] {
        for secret in ["the-password-of-mallory", JWT, "c2VjcmV0LXNpZ25hdHVyZQ", TOKEN] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
}
