//! The bytes that mosquitto-go-auth 3.0.0 was seen to send, in every mode it has, and what each is
//! answered.

use serde_json::json;

use super::hooks_daemon::{Asker, HooksDaemon, database, form_request, json_request, user};

#[test]
fn the_http_backend_in_json_is_answered_byte_for_byte() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let mut asker = hooks.asker();
    let captured = r#"{"clientid":"cid1","password":"p w\u0026d\"é","username":"alice"}"#;
    asker.ask("/mqtt/user", captured).no("the password is not a token");
    let token = hooks.token(&user("alice", &["viewers"], 600));
    let login = format!(r#"{{"clientid":"cid1","password":"{token}","username":"alice"}}"#);
    asker.ask("/mqtt/user", &login).yes();
    asker.ask("/mqtt/superuser", r#"{"username":"alice"}"#).no("not a superuser");
    asker
        .ask("/mqtt/acl", r#"{"acc":4,"clientid":"cid1","topic":"a/+/b","username":"alice"}"#)
        .yes();
    asker
        .ask("/mqtt/acl", r#"{"acc":4,"clientid":"cid1","topic":"a/#","username":"alice"}"#)
        .no("denied to subscribe");
    asker
        .ask("/mqtt/acl", r#"{"acc":1,"clientid":"cid1","topic":"a/1/b","username":"alice"}"#)
        .yes();
    // Every bit must pass.
    asker
        .ask("/mqtt/acl", r#"{"acc":3,"clientid":"cid1","topic":"a/1/b","username":"alice"}"#)
        .yes();
    asker
        .ask("/mqtt/acl", r#"{"acc":8,"clientid":"cid1","topic":"a/1/b","username":"alice"}"#)
        .no("acc 8");
    asker
        .ask("/mqtt/acl", r#"{"acc":2,"clientid":"cid9","topic":"a/1/b","username":"alice"}"#)
        .no("no valid login");
    asker
        .ask("/mqtt/acl", r#"{"acc":2,"clientid":"cid1","topic":"a/1/b","username":"bob"}"#)
        .no("no valid login");
    for method in ["PUT", "GET"] {
        let body = r#"{"acc":2,"clientid":"cid1","topic":"a/x y/b","username":"alice"}"#;
        asker.send(json_request(method, "/mqtt/acl", "", body).as_bytes()).yes();
        asker.send(json_request(method, "/mqtt/user", "", &login).as_bytes()).yes();
    }
}

#[test]
fn the_http_backend_in_forms_is_answered_byte_for_byte() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let mut asker = hooks.asker();
    let mut form = |path: &str, body: &str| asker.send(form_request(path, "", body).as_bytes());
    form("/mqtt/user", "clientid=cid2&password=p+w%26%2B%C3%A9&username=alice")
        .no("the password is not a token");
    let token = hooks.token(&user("al+ice", &["viewers"], 600));
    form("/mqtt/user", &format!("clientid=cid2&password={token}&username=al%2Bice")).yes();
    form("/mqtt/superuser", "username=al%2Bice").no("not a superuser");
    form("/mqtt/acl", "acc=2&clientid=cid2&topic=a%2Fx+y%2Fb&username=al%2Bice").yes();
    form("/mqtt/acl", "acc=2&clientid=cid2&topic=a%2Fx+y%2Fc&username=al%2Bice")
        .no("no rule allows it");
}

#[test]
fn the_jwt_backend_in_remote_mode_is_answered_in_both_encodings() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let mut asker = hooks.asker();
    let bearer =
        |claims: &serde_json::Value| format!("Authorization: Bearer {}\r\n", hooks.token(claims));
    let viewer = bearer(&user("alice", &["viewers"], 600));
    let admin = bearer(&user("root", &["/admins"], 600));
    let acl = r#"{"acc":2,"clientid":"cid2","topic":"a/x y/b"}"#;
    let acl_form = "acc=2&clientid=cid2&topic=a%2Fx+y%2Fb";
    let exchanges = |asker: &mut Asker, bearer: &str| {
        [
            asker.send(json_request("POST", "/mqtt/user", bearer, "null").as_bytes()),
            asker.send(form_request("/mqtt/user", bearer, "").as_bytes()),
            asker.send(json_request("POST", "/mqtt/superuser", bearer, "null").as_bytes()),
            asker.send(form_request("/mqtt/superuser", bearer, "").as_bytes()),
            asker.send(json_request("POST", "/mqtt/acl", bearer, acl).as_bytes()),
            asker.send(form_request("/mqtt/acl", bearer, acl_form).as_bytes()),
        ]
        .map(|answer| answer.status)
    };
    assert_eq!(exchanges(&mut asker, &viewer), [200, 200, 403, 403, 200, 200]);
    assert_eq!(exchanges(&mut asker, &admin), [200; 6]);
    assert_eq!(exchanges(&mut asker, &bearer(&user("late", &["admins"], -1))), [403; 6]);
    assert_eq!(exchanges(&mut asker, ""), [403; 6]);
    // A device by certificate: the plugin takes its common name for a token. The broker asks no
    // `user` then.
    hooks.register("acme", "pump-1", None);
    let device = "Authorization: Bearer acme/device/pump-1\r\n";
    let own = r#"{"acc":2,"clientid":"c","topic":"tenant/acme/device/pump-1/event"}"#;
    asker
        .send(json_request("POST", "/mqtt/superuser", device, "null").as_bytes())
        .no("not a superuser");
    asker.send(json_request("POST", "/mqtt/acl", device, own).as_bytes()).yes();
    asker.send(json_request("POST", "/mqtt/acl", device, acl).as_bytes()).no("no rule allows it");
    asker
        .send(json_request("POST", "/mqtt/user", device, "null").as_bytes())
        .no("the password is missing");
    // With `jwt_parse_token` the plugin adds the name; the token stays what counts.
    let named = r#"{"acc":2,"clientid":"cid2","topic":"a/x y/b","username":"alice"}"#;
    asker.send(json_request("POST", "/mqtt/acl", &viewer, named).as_bytes()).yes();
}

#[test]
fn a_token_as_the_user_name_stands_for_itself_at_each_question() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let mut asker = hooks.asker();
    let token = hooks.token(&user("alice", &["viewers"], 600));
    asker.login(&token, "jwt", "cid").yes();
    asker.acl(&token, "another", 1, "plant/x/readings").yes();
    asker.acl(&token, "another", 1, "plant/x/other").no("no rule allows it");
    let admin = hooks.token(&user("root", &["admins"], 600));
    asker.ask("/superuser", &json!({ "username": admin }).to_string()).yes();
    let changed = format!("{}AAAA", &admin[..admin.len() - 4]);
    asker.acl(&changed, "cid", 1, "x").no("signature");
    // No part of a token is kept.
    assert_eq!(
        database.value("SELECT count(*) FROM access_sessions WHERE username LIKE 'ey%'"),
        "0"
    );
    assert!(!hooks.daemon.log().contains(&token[..40]), "a token is in the log");
}

#[test]
fn the_paths_without_a_prefix_and_the_text_mode_say_the_same() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let mut asker = hooks.asker();
    let login = json!({ "username": "alice", "clientid": "c", "password": hooks.token(&user("alice", &["viewers"], 600)) });
    let allowed =
        json!({ "username": "alice", "clientid": "c", "topic": "plant/x/readings", "acc": 1 })
            .to_string();
    let denied =
        json!({ "username": "alice", "clientid": "c", "topic": "plant/secret/x", "acc": 1 })
            .to_string();
    for below in ["", "/mqtt", "/text", "/text/mqtt"] {
        let user = asker.ask(&format!("{below}/user"), &login.to_string());
        let (yes, no) = (
            asker.ask(&format!("{below}/acl"), &allowed),
            asker.ask(&format!("{below}/acl"), &denied),
        );
        assert_eq!([user.status, yes.status, no.status], [200, 200, 403], "{below}");
        if below.starts_with("/text") {
            assert_eq!([user.body.as_str(), yes.body.as_str()], ["ok", "ok"], "{below}");
            assert!(no.body.contains("denied to read") && no.head.contains("text/plain"), "{no:?}");
        } else {
            yes.yes();
            no.no("denied to read: by");
        }
    }
}

#[test]
fn what_is_no_question_is_denied_in_words_and_the_connection_goes_on() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let mut asker = hooks.asker();
    asker.ask("/mqtt/acl", "{").no("not a JSON object");
    asker.ask("/mqtt/acl", r#"["alice"]"#).no("not a JSON object");
    asker.ask("/mqtt/acl", r#"{"acc":1,"clientid":"c","username":"alice"}"#).no("no topic");
    asker
        .ask("/mqtt/acl", r#"{"acc":1,"clientid":"c","topic":"x"}"#)
        .no("neither a user name nor a token");
    asker
        .ask("/mqtt/acl", r#"{"acc":1,"clientid":"c","topic":"x","username":""}"#)
        .no("neither a user name nor a token");
    asker
        .ask("/mqtt/user", r#"{"clientid":"c","password":"","username":"alice"}"#)
        .no("the password is missing");
    asker.ask("/mqtt/user", "").no("neither a user name nor a token");
    asker.login("ali\0ce", &hooks.token(&user("ali\0ce", &[], 600)), "c").no("NUL");
    let long = "a".repeat(2000);
    asker.login(&long, &hooks.token(&user(&long, &[], 600)), "c").no("longer than 1024 bytes");
    asker.acl("ali\0ce", "c", 1, "x").no("no valid login");
    let not_found = asker.ask("/mqtt/other", "{}");
    assert_eq!((not_found.status, not_found.body.contains("the paths are /user")), (404, true));
    let wrong = asker.send(json_request("DELETE", "/mqtt/acl", "", "{}").as_bytes());
    assert_eq!(wrong.status, 405, "{wrong:?}");
    assert!((hooks.daemon.metric("sluice_access_faults_total")).abs() < f64::EPSILON);
}

#[test]
fn a_question_longer_than_any_topic_is_denied() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let body = json!({ "username": "x".repeat(300_000) }).to_string();
    hooks.asker().ask("/mqtt/acl", &body).no("longer than");
}

#[test]
fn only_those_who_know_the_secret_are_answered_when_there_is_one() {
    let database = database();
    let secret = "a-secret-of-the-broker";
    let hooks = HooksDaemon::start_secret(&database, secret);
    let mut asker = hooks.asker();
    let token = hooks.token(&user("alice", &["admins"], 600));
    let body = json!({ "username": token, "clientid": "c", "topic": "x", "acc": 1 }).to_string();
    asker.ask("/mqtt/acl", &body).no("HOOKS_SECRET");
    asker.ask("/mqtt/acl?secret=another-secret-of-it", &body).no("HOOKS_SECRET");
    asker.ask(&format!("/mqtt/acl?secret={secret}"), &body).yes();
    asker
        .send(
            json_request("POST", "/acl", &format!("X-Hooks-Secret: {secret}\r\n"), &body)
                .as_bytes(),
        )
        .yes();
    assert!(!hooks.daemon.log().contains(secret), "the secret is in the log");
}
