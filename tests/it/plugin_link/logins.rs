//! Logins that the plugin asks about: the same answers as those of the hooks, with the subject.

use sluice_shared::frames::from_daemon::Verdict;
use sluice_shared::frames::from_plugin::QuestionKind::{Extended, Password};

use super::plugin_client::PluginClient;
use crate::hooks::hooks_daemon::{HooksDaemon, database, now, user};
use crate::support::dir::Scratch;

fn denied(verdict: &Verdict, why: &str) {
    match verdict {
        Verdict::Denied { reason } => assert!(reason.contains(why), "{why:?} is not in {reason:?}"),
        other => panic!("{other:?} is no denial"),
    }
}

fn accepted(
    verdict: Verdict,
    kind: &str,
    id: &str,
) -> sluice_shared::frames::from_daemon::SubjectDocument {
    match verdict {
        Verdict::Accepted(subject) => {
            assert_eq!((subject.kind.as_str(), subject.id.as_str()), (kind, id));
            subject
        }
        other => panic!("{other:?} is no acceptance"),
    }
}

#[test]
fn a_login_is_decided_as_by_the_hooks() {
    let (database, dir) = (database(), Scratch::new("plugin"));
    let path = dir.path().join("plugin.sock");
    let settings = [("PLUGIN_SOCKET", path.to_str().unwrap()), ("HOOKS_RESERVED_NAMES", "bridge")];
    let hooks = HooksDaemon::start(&database, &settings);
    hooks.register("acme", "pump-1", Some("t0ken-of-pump-1"));
    let mut plugin = PluginClient::greet(&path);

    let device = "acme/device/pump-1";
    let right = plugin.ask(Password, Some(device), Some("t0ken-of-pump-1"), "pump-1");
    assert_eq!(accepted(right, "device", device).expires_at, None);
    for (name, secret, client_id, why) in [
        (Some(device), Some("wrong"), "c", "TOKEN_INVALID"),
        (Some(device), None, "c", "the password is missing"),
        (Some(device), Some("t0ken-of-pump-1"), "acme/device/pump-2", "belongs to another device"),
        (Some(device), Some("t0ken-of-pump-1"), "sluice", "reserved"),
        (Some("acme/device/pump-9"), Some("x"), "c", "UNREGISTERED_DEVICE"),
        (Some("$sluice/device/probe"), Some("x"), "c", "token"),
        (Some("alice"), Some("x"), "c", "not a token"),
        (None, None, "c", "neither a user name nor a token"),
    ] {
        denied(&plugin.ask(Password, name, secret, client_id), why);
    }

    let token = hooks.token(&user("alice", &["viewers"], 600));
    let by_password = plugin.ask(Password, Some("alice"), Some(&token), "c1");
    let subject = accepted(by_password, "user", "alice");
    assert_eq!(subject.groups, ["viewers"]);
    let expires_at = subject.expires_at.unwrap() / 1_000_000;
    assert!((now() + 1..=now() + 600).contains(&expires_at), "{expires_at}");
    accepted(plugin.ask(Password, Some(&token), Some("jwt"), "c2"), "user", "alice");
    accepted(plugin.ask(Password, None, Some(&token), "c3"), "user", "alice");
    accepted(plugin.ask(Extended, None, Some(&token), "c4"), "user", "alice");
    accepted(plugin.ask(Extended, Some("alice"), Some(&token), "c5"), "user", "alice");
    denied(&plugin.ask(Extended, Some("bob"), Some(&token), "c6"), "not the subject");
    denied(&plugin.ask(Extended, None, Some("no token"), "c7"), "token");
    denied(&plugin.ask(Extended, None, Some(device), "c8"), "the password is missing");
    let old = hooks.token(&user("alice", &[], -60));
    denied(&plugin.ask(Extended, None, Some(&old), "c9"), "expired");

    // The session gets the name of the subject, however the token arrives.
    for subject in ["bridge", "Bridge ", "guest-x"] {
        let token = hooks.token(&user(subject, &[], 600));
        denied(&plugin.ask(Extended, None, Some(&token), "c10"), "the user name is reserved");
        denied(
            &plugin.ask(Password, Some(&token), Some("jwt"), "c11"),
            "the user name is reserved",
        );
        denied(&plugin.ask(Password, None, Some(&token), "c12"), "the user name is reserved");
    }

    let series =
        |result| format!("sluice_access_decisions_total{{hook=\"plugin\",result=\"{result}\"}}");
    hooks.daemon.wait_metric(&series("allowed"), 6.0);
    hooks.daemon.wait_metric(&series("denied"), 21.0);
    let log = hooks.daemon.log();
    assert!(!log.contains("t0ken-of-pump-1") && !log.contains(&token), "a secret is in the log");
}

#[test]
fn a_policy_that_changes_is_sent_again() {
    let (database, dir) = (database(), Scratch::new("plugin"));
    let path = dir.path().join("plugin.sock");
    let hooks = HooksDaemon::start(&database, &[("PLUGIN_SOCKET", path.to_str().unwrap())]);
    let mut plugin = PluginClient::greet(&path);
    assert_eq!(plugin.policies.len(), 1);
    assert_eq!(plugin.policies[0].rules.len(), 4);
    hooks.settings.dir().write("rules.json", r#"{ "rules": [] }"#);
    hooks.daemon.signal("HUP");
    plugin.until("the new policy", |plugin| plugin.policies.len() > 1);
    assert!(plugin.policies[1].rules.is_empty());
}
