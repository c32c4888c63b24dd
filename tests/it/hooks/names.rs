//! Names and client ids that mean something at the broker: nobody gets them by a token, a guest's
//! credential or a certificate. The plugin is a port of mosquitto-go-auth with the shipped example.

use std::process::Command;

use serde_json::{Value, json};

use super::go_auth::{GoAuth, READ, SUBSCRIBE, WRITE};
use super::hooks_daemon::{HooksDaemon, database, json_request, now, user};
use crate::support::database::Database;
use crate::support::dir::Scratch;
use crate::support::process::run_to_end;
use crate::support::wait;

/// What only Sluice may read.
const EVERYTHING: &str = "tenant/+/device/+/#";
const OF_A_DEVICE: &str = "tenant/acme/device/pump-1/telemetry";
const OWN: [(&str, &str); 2] =
    [("MQTT_USERNAME", "sluice"), ("MQTT_PASSWORD", "the password of sluice")];

fn hooks<'a>(database: &'a Database<'a>, settings: &[(&str, &str)]) -> HooksDaemon<'a> {
    HooksDaemon::start(database, &[&OWN, settings].concat())
}

/// Reads nothing of the devices', whatever it is called.
fn reads_nothing(plugin: &mut GoAuth, client_id: &str) {
    for (acc, topic) in [
        (SUBSCRIBE, EVERYTHING),
        (SUBSCRIBE, "$share/group/tenant/+/device/+/#"),
        (READ, OF_A_DEVICE),
    ] {
        assert!(!plugin.may(client_id, acc, topic), "{client_id}: {topic}");
    }
    assert!(!plugin.may(client_id, WRITE, OF_A_DEVICE), "{client_id}");
}

#[test]
fn sluice_logs_in_by_the_lines_of_the_example_also_in_a_share_group() {
    let database = database();
    let hooks = hooks(&database, &[]);
    for part in ['A', 'B'] {
        let mut plugin = GoAuth::load(&hooks, part, &[]);
        assert!(plugin.connect("sluice", "the password of sluice", "sluice"));
        let shared = format!("$share/group/{EVERYTHING}");
        for topic in [EVERYTHING, &shared, "$SYS/broker/publish/messages/dropped"] {
            assert!(plugin.may("sluice", SUBSCRIBE, topic), "{part}: {topic}");
        }
        for topic in [OF_A_DEVICE, "$SYS/broker/publish/messages/dropped"] {
            assert!(plugin.may("sluice", READ, topic), "{part}: {topic}");
        }
        assert!(!plugin.may("sluice", SUBSCRIBE, "$share/another/tenant/+/device/+/#"));
        assert!(!plugin.may("sluice", SUBSCRIBE, "#") && !plugin.may("sluice", WRITE, OF_A_DEVICE));
    }
}

#[test]
fn a_token_without_rights_never_logs_in_as_sluice() {
    let database = database();
    let hooks = hooks(&database, &[]);
    let text = [
        ("http_getuser_uri", "/text/mqtt/user"),
        ("http_aclcheck_uri", "/text/mqtt/acl"),
        ("http_response_mode", "text"),
    ];
    let forms =
        [("http_params_mode", "form"), ("jwt_params_mode", "form"), ("http_response_mode", "json")];
    let superuser = [("http_superuser_uri", "/mqtt/superuser")];
    let modes =
        [('A', &[][..]), ('A', &text), ('A', &forms), ('A', &superuser), ('B', &[]), ('B', &forms)];
    for (part, changed) in modes {
        let mut plugin = GoAuth::load(&hooks, part, changed);
        let token = hooks.token(&user("mallory", &[], 600));
        for name in [
            "sluice",
            "Sluice",
            "sluice ",
            "sluice-b",
            "alice",
            "mallory ",
            "Mallory",
            "sluice/group",
        ] {
            assert!(!plugin.connect(name, &token, "c1"), "{part} {changed:?}: {name:?}");
        }
        // Under its own token it logs in, and has the rights of the policy: none.
        assert!(plugin.connect(&token, "any", "c2"), "{part} {changed:?}");
        reads_nothing(&mut plugin, "c2");
        assert!(plugin.connect("mallory", &token, "c3"), "{part} {changed:?}");
        reads_nothing(&mut plugin, "c3");
    }
}

#[test]
fn a_token_that_says_a_reserved_name_is_refused_under_it() {
    let database = database();
    let hooks = hooks(&database, &[("HOOKS_RESERVED_NAMES", "bridge, Grafana")]);
    let mut asker = hooks.asker();
    let guest = format!("guest-{}", "0123456789abcdef".repeat(2));
    for name in
        ["sluice", "SLUICE", "sluice ", "slüice", "bridge", "grafana", &guest, "guest-relations"]
    {
        let token = hooks.token(&user(name, &[], 600));
        let answer = asker.login(name, &token, "public-c");
        assert_eq!(answer.status, 403, "{name}: {answer:?}");
        // The token as user name gives no other backend a name to go by.
        asker.login(&token, "any", "c").yes();
        asker.acl(&token, "c", 4, EVERYTHING).no("no rule allows it");
    }
    let token = hooks.token(&user("sluice", &[], 600));
    asker.login("sluice", &token, "c").no("reserved");
    asker.acl("sluice", "c", 4, EVERYTHING).no("reserved");
    let service = hooks.token(&json!({ "sub": "s", "client_id": "sluice", "exp": now() + 600 }));
    asker.login("sluice", &service, "c").no("reserved");
    // A name that people choose for themselves is none the token proves.
    let chosen =
        hooks.token(&json!({ "sub": "u-1", "preferred_username": "sluice", "exp": now() + 600 }));
    asker.login("sluice", &chosen, "c").no("not the subject of the token");
    let chosen =
        hooks.token(&json!({ "sub": "u-1", "preferred_username": "alice", "exp": now() + 600 }));
    asker.login("alice", &chosen, "c").no("not the subject of the token");
    asker.login("u-1", &chosen, "c").yes();
    // A name that is reserved is reserved as a client id too.
    asker.login("u-1", &chosen, "bridge").no("client id");
    asker.acl("u-1", "bridge", 1, "x").no("client id");
}

#[test]
fn the_common_name_of_sluices_own_certificate_is_reserved() {
    let (database, dir) = (database(), Scratch::new("own-certificate"));
    let [certificate, key] =
        ["own.crt", "own.key"].map(|name| dir.path().join(name).to_str().unwrap().to_owned());
    let openssl = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=gate",
        "-out",
        &certificate,
        "-keyout",
        &key,
    ];
    run_to_end(Command::new("openssl").args(openssl));
    let tls = [
        ("MQTT_TLS", "1"),
        ("MQTT_CLIENT_CERT", certificate.as_str()),
        ("MQTT_CLIENT_KEY", key.as_str()),
    ];
    let hooks = HooksDaemon::start(&database, &tls);
    let mut asker = hooks.asker();
    asker.login("gate", &hooks.token(&user("gate", &[], 600)), "c").no("reserved");
    database.wait_until("SELECT username FROM broker_sessions", "gate");
    hooks.daemon.kill9();
    std::fs::write(&certificate, "no certificate").unwrap();
    hooks.daemon.start_again();
    wait::until("it says so", || {
        hooks.daemon.log().contains("the common name in MQTT_CLIENT_CERT cannot be read")
    });
}

#[test]
fn a_token_beside_no_name_is_let_in_and_no_topic_is_open_to_its_client_id() {
    let database = database();
    let hooks = hooks(&database, &[]);
    let mut asker = hooks.asker();
    let token = hooks.token(&user("root", &["admins"], 600));
    asker.login("", &token, "c").yes();
    asker.acl("", "c", 1, "x").no("neither a user name nor a token");
    asker.login("", &token, "sluice").no("client id");
    asker.login("", "a password", "c").no("neither a user name nor a token");
    assert_eq!(database.value("SELECT count(*) FROM access_sessions WHERE username = ''"), "0");
}

#[test]
fn a_name_beside_a_bearer_token_is_its_own_and_decides_nothing() {
    let database = database();
    let hooks = hooks(&database, &[]);
    hooks.register("acme", "pump-1", Some("t0ken-of-pump-1"));
    let mut asker = hooks.asker();
    let guest = format!("guest-{}", "0123456789abcdef".repeat(2));
    let device = "acme/device/pump-1";
    let mut ask = |path: &str, subject: &str, name: &str, client_id: &str| {
        let token = hooks.token(&user(subject, &["admins"], 600));
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let body =
            json!({ "username": name, "clientid": client_id, "topic": "x", "acc": 1 }).to_string();
        asker.send(json_request("POST", path, &bearer, &body).as_bytes())
    };
    for path in ["/mqtt/user", "/mqtt/superuser", "/mqtt/acl"] {
        for name in [guest.as_str(), device, "Sluice", "alice"] {
            ask(path, "root", name, "c").no("not the subject of the token");
        }
        assert_eq!(ask(path, "root", "sluice", "c").status, 403, "{path}");
        ask(path, "root", "root", "c").yes();
        ask(path, "root", "", "c").yes();
    }
    // Also where the token itself says the name of a guest or of a device.
    for (name, client_id) in
        [(guest.as_str(), "sluice"), (device, device), (guest.as_str(), device), ("", "sluice")]
    {
        ask("/mqtt/user", if name.is_empty() { "root" } else { name }, name, client_id)
            .no("client id");
    }
    ask("/mqtt/acl", "root", "root", "sluice").no("client id");
}

#[test]
fn no_client_takes_the_client_id_of_a_replica_even_of_an_absent_one() {
    let database = database();
    let group = |own| [("MQTT_SHARE_GROUP", "pair"), ("MQTT_CLIENT_ID", own)];
    let other = hooks(&database, &[&group("other")[..], &[("MQTT_USERNAME", "gate-2")]].concat());
    database.wait_until("SELECT username FROM broker_sessions WHERE client_id = 'other'", "gate-2");
    other.daemon.kill9();
    let one = hooks(&database, &group("one"));
    one.register("acme", "pump-1", Some("t0ken-of-pump-1"));
    for part in ['A', 'B'] {
        let mut plugin = GoAuth::load(&one, part, &[]);
        plugin.connect_by_certificate("sluice", "other");
        let token = one.token(&user("mallory", &["admins"], 600));
        // One that never ran is known by its ordinal, where the client ids have any.
        for client_id in ["one", "other", "one-2", "one-b"] {
            assert!(!plugin.connect(&token, "any", client_id), "{part}: {client_id}");
            assert!(!plugin.connect("mallory", &token, client_id), "{part}: {client_id}");
            assert!(
                !plugin.connect("acme/device/pump-1", "t0ken-of-pump-1", client_id),
                "{part}: {client_id}"
            );
        }
        assert_eq!(plugin.sessions["other"], "sluice", "{part}: its session was not taken over");
        assert!(plugin.connect(&token, "any", "three"), "{part}");
        // On a listener for certificates the broker sends no login request, only topic requests.
        for client_id in ["one", "other", "one-2"] {
            plugin.connect_by_certificate("acme/device/pump-1", client_id);
            assert!(!plugin.may(client_id, WRITE, OF_A_DEVICE), "{part}: {client_id}");
        }
        plugin.connect_by_certificate("acme/device/pump-1", "three");
        assert!(plugin.may("three", WRITE, OF_A_DEVICE), "{part}");
    }
    let mut asker = one.asker();
    let gate = one.token(&user("gate-2", &[], 600));
    asker.login("gate-2", &gate, "c").no("reserved");
    // A replica that was removed for good: its name is free.
    database.query("DELETE FROM broker_sessions WHERE client_id = 'other'");
    wait::until("its client id is free", || asker.login(&gate, "any", "other").status == 200);
    asker.login("gate-2", &gate, "c").yes();
}

#[test]
fn while_the_share_group_cannot_be_read_no_new_client_is_authenticated() {
    let database = database();
    let hooks = hooks(&database, &[("MQTT_SHARE_GROUP", "pair"), ("MQTT_CLIENT_ID", "one")]);
    hooks.daemon.kill9();
    database.query("ALTER TABLE broker_sessions RENAME TO away");
    hooks.daemon.start_again();
    let mut asker = wait::for_some("the hooks answer", || hooks.try_asker());
    let token = hooks.token(&user("alice", &["viewers"], 600));
    let login = json!({ "username": token, "password": "any", "clientid": "other" }).to_string();
    wait::until("the keys are read", || {
        asker.acl_once(&token, "c", 1, "plant/x/readings").status == 200
    });
    asker.ask_once("/mqtt/user", &login).no("has not read the client ids");
    database.query("ALTER TABLE away RENAME TO broker_sessions");
    wait::until("they are read", || asker.ask_once("/mqtt/user", &login).status == 200);
}

#[test]
fn a_name_belongs_to_one_subject_at_a_time_across_all_kinds() {
    let database = database();
    let hooks = hooks(&database, &[]);
    let mut asker = hooks.asker();
    let person = hooks.token(&user("billing", &["viewers"], 600));
    let service: Value = json!({ "sub": "s", "client_id": "billing", "exp": now() + 600 });
    asker.login("billing", &person, "c").yes();
    asker.login("billing", &hooks.token(&service), "c").no("another live login");
    asker.login("billing", &hooks.token(&service), "d").yes();
    asker.acl("billing", "c", 1, "plant/x/readings").yes();
    asker.acl("billing", "d", 1, "plant/x/readings").no("no rule allows it");
}

#[test]
fn when_the_issuer_withdraws_its_key_its_tokens_are_refused() {
    let database = database();
    let hooks = hooks(&database, &[]);
    let mut asker = hooks.asker();
    let tokens = ["alice", "bob", "carol"].map(|name| hooks.token(&user(name, &["viewers"], 600)));
    let [alice, bob, carol] = &tokens;
    asker.login(alice, "any", "c").yes();
    asker.acl(alice, "c", 1, "plant/x/readings").yes();
    asker.login("bob", bob, "c").yes();
    database.wait_until("SELECT count(*) FROM access_sessions WHERE username = 'bob'", "1");
    hooks.withdraw_key();
    wait::until("the new keys are read", || {
        asker.acl(carol, "c", 1, "plant/x/readings").status == 403
    });
    // Verified a moment ago, at each question and at a login.
    asker.acl(alice, "c", 1, "plant/x/readings").no("no key with the token");
    asker.login(alice, "any", "c").no("no key with the token");
    asker.login("alice", alice, "c").no("no key with the token");
    // Remembered by its names, here and after a restart.
    asker.acl("bob", "c", 1, "plant/x/readings").no("has withdrawn the key");
    hooks.daemon.kill9();
    hooks.daemon.start_again();
    let mut asker = wait::for_some("the hooks answer", || hooks.try_asker());
    wait::until("the keys are read", || {
        asker.acl("bob", "c", 1, "plant/x/readings").body.contains("has withdrawn the key")
    });
}
