//! One table of decisions, asked in three ways: at the hooks over HTTP, of the policy that a plugin
//! receives, and of a broker with the plugin.

use rumqttc::v5::mqttbytes::v5::PubAckReason;
use serde_json::{Value, json};
use sluice_shared::frames::from_daemon::{SubjectDocument, Verdict};
use sluice_shared::frames::from_plugin::QuestionKind::Password;
use sluice_shared::ids::DeviceKey;
use sluice_shared::policy::Policy;
use sluice_shared::subject::{Subject, SubjectKind};

use super::plugin_client::PluginClient;
use crate::device_api::requester::{Request, Requester};
use crate::hooks::hooks_daemon::{Asker, HooksDaemon, database, now, user};
use crate::plugin::plugin;
use crate::support::dir::Scratch;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};

const WRITE: u8 = 2;
const SUBSCRIBE: u8 = 4;

const DEVICE: &str = "acme/device/pump-1";

/// Who asks for what, and the answer. The policy is that of the tests of the hooks.
const TABLE: &[(&str, u8, &str, bool)] = &[
    // An administrator is a superuser.
    ("root", WRITE, "any/topic", true),
    ("root", WRITE, "tenant/acme/device/pump-1/telemetry", true),
    ("root", SUBSCRIBE, "#", true),
    ("root", SUBSCRIBE, "$SYS/#", true),
    // A viewer has three patterns, and a denial that goes before them.
    ("alice", WRITE, "plant/x/readings", true),
    ("alice", WRITE, "plant/x/readings/more", false),
    ("alice", WRITE, "plant/secret/readings", false),
    ("alice", WRITE, "PLANT/x/readings", false),
    ("alice", WRITE, "a/x y/b", true),
    ("alice", WRITE, "a//b", true),
    ("alice", WRITE, "/plant/x/readings", false),
    ("alice", SUBSCRIBE, "plant/x/readings", true),
    ("alice", SUBSCRIBE, "plant/#", false),
    ("alice", SUBSCRIBE, "#", false),
    ("alice", SUBSCRIBE, "+/x/readings", false),
    ("alice", SUBSCRIBE, "plant/secret/readings", false),
    ("alice", SUBSCRIBE, "a/+/b", true),
    ("alice", WRITE, "tenant/acme/device/pump-1/telemetry", false),
    // A service may publish where its scope says, and read nothing.
    ("svc", WRITE, "plant/events/1", true),
    ("svc", WRITE, "plant/events", true),
    ("svc", WRITE, "plant/eventsx", false),
    ("svc", SUBSCRIBE, "plant/events/#", false),
    // A user without groups.
    ("bob", WRITE, "plant/x/readings", false),
    ("bob", SUBSCRIBE, "a/x/b", false),
    // A device has its own topics, each by its kind.
    (DEVICE, WRITE, "tenant/acme/device/pump-1/telemetry", true),
    (DEVICE, WRITE, "tenant/acme/device/pump-1/any/depth", false),
    (DEVICE, WRITE, "tenant/acme/device/pump-2/telemetry", false),
    (DEVICE, WRITE, "tenant/acme/device/pump-10/telemetry", false),
    (DEVICE, WRITE, "tenant/ACME/device/pump-1/telemetry", false),
    (DEVICE, WRITE, "plant/x/readings", false),
    (DEVICE, SUBSCRIBE, "tenant/acme/device/pump-1/#", false),
    (DEVICE, SUBSCRIBE, "tenant/acme/device/pump-1/commands/+", true),
    (DEVICE, SUBSCRIBE, "tenant/acme/device/+/telemetry", false),
    (DEVICE, SUBSCRIBE, "tenant/+/device/pump-1/telemetry", false),
    (DEVICE, SUBSCRIBE, "tenant/#", false),
    (DEVICE, SUBSCRIBE, "#", false),
];

/// One subject, and what it has to show.
struct Party {
    name: &'static str,
    subject: Subject,
    requester: Requester,
}

fn claims(name: &str) -> Value {
    match name {
        "root" => user(name, &["admins"], 3600),
        "alice" => user(name, &["viewers"], 3600),
        "svc" => json!({ "sub": "id-of-svc", "client_id": "svc", "azp": "svc",
            "preferred_username": "service-account-svc", "scope": "mqtt.write", "exp": now() + 3600 }),
        name => user(name, &[], 3600),
    }
}

fn subject_of(document: SubjectDocument) -> Subject {
    let kind = match document.kind.as_str() {
        "device" => SubjectKind::Device(DeviceKey::new("acme", "pump-1").unwrap()),
        "service" => SubjectKind::Service,
        "user" => SubjectKind::User,
        other => panic!("{other} is not in the table"),
    };
    let boxed = |names: Vec<String>| names.into_iter().map(Into::into).collect();
    Subject {
        kind,
        id: document.id.into(),
        groups: boxed(document.groups),
        scopes: boxed(document.scopes),
        expires_at: None,
    }
}

fn by_http(asker: &mut Asker, party: &Party, acc: u8, topic: &str) -> bool {
    asker.acl(party.name, &format!("hooks-{}", party.name.replace('/', "-")), acc, topic).status
        == 200
}

fn by_policy(policy: &Policy, party: &Party, acc: u8, topic: &str) -> bool {
    let decision = policy.decide(&party.subject, "c", acc, topic);
    decision.allowed || policy.admits_superuser(&party.subject, &decision)
}

fn by_broker(party: &mut Party, acc: u8, topic: &str) -> bool {
    if acc == SUBSCRIBE {
        return party.requester.is_subscribed(topic);
    }
    let refused = PubAckReason::NotAuthorized;
    party.requester.publish(&Request::to(topic, "x")) != refused
}

#[test]
fn the_hooks_the_policy_of_the_plugin_and_the_broker_decide_alike() {
    let (database, dir) = (database(), Scratch::new("plugin"));
    let path = dir.path().join("plugin.sock");
    let hooks = HooksDaemon::start(&database, &[("PLUGIN_SOCKET", path.to_str().unwrap())]);
    hooks.register("acme", "pump-1", Some("t0ken-of-pump-1"));
    let broker = Mosquitto::start(
        MosquittoOptions::default()
            .user("unused", "unused")
            .line(&format!("plugin {}", plugin().display()))
            .line(&format!("plugin_opt_socket {}", path.display()))
            .line("plugin_opt_ask_ms 1000"),
    );
    let mut plugin = PluginClient::greet(&path);
    let policy = plugin.policies[0].parse().unwrap();
    let mut asker = hooks.asker();
    let mut parties: Vec<Party> = ["root", "alice", "svc", "bob", DEVICE]
        .into_iter()
        .map(|name| {
            let secret = match name {
                DEVICE => "t0ken-of-pump-1".to_owned(),
                name => hooks.token(&claims(name)),
            };
            asker.login(name, &secret, &format!("hooks-{}", name.replace('/', "-"))).yes();
            let Verdict::Accepted(document) = plugin.ask(Password, Some(name), Some(&secret), "c")
            else {
                panic!("{name} is refused");
            };
            let requester = Requester::log_in(broker.port(), name, &secret);
            Party { name, subject: subject_of(document), requester }
        })
        .collect();
    let mut wrong = Vec::new();
    for (name, acc, topic, expected) in TABLE {
        let party = parties.iter_mut().find(|party| party.name == *name).unwrap();
        let answers = [
            by_http(&mut asker, party, *acc, topic),
            by_policy(&policy, party, *acc, topic),
            by_broker(party, *acc, topic),
        ];
        if answers != [*expected; 3] {
            wrong.push(format!("{name} {acc} {topic}: {answers:?}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "hooks, policy, broker:\n{}", wrong.join("\n"));
}
