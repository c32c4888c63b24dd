//! The policy file of a running daemon: changed, invalid, fixed.

use super::hooks_daemon::{HooksDaemon, RULES, database, user};
use crate::support::wait;

#[test]
fn a_changed_policy_holds_and_a_wrong_one_does_not() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let mut asker = hooks.asker();
    let token = hooks.token(&user("alice", &["viewers"], 600));
    let mut is_allowed = |topic: &str| asker.acl(&token, "c", 1, topic).status == 200;
    assert!(is_allowed("plant/x/readings") && !is_allowed("plant/x/other"));
    hooks.settings.dir().write("rules.json", RULES.replace("plant/+/readings", "plant/+/other"));
    wait::until("the change is noticed", || is_allowed("plant/x/other"));
    assert!(!is_allowed("plant/x/readings"));

    hooks.settings.dir().write("rules.json", RULES.replace("plant/+/readings", "plant/#/readings"));
    hooks.daemon.signal("HUP");
    wait::until("the fault is logged", || {
        hooks.daemon.metric("sluice_access_policy_current").abs() < f64::EPSILON
    });
    assert!(is_allowed("plant/x/other"), "the old policy goes on");
    assert!(hooks.daemon.log().contains("rules[2].topics[0]"), "{}", hooks.daemon.log());

    hooks.settings.dir().write("rules.json", RULES);
    hooks.daemon.signal("HUP");
    wait::until("the fixed one is in force", || is_allowed("plant/x/readings"));
    assert!(hooks.daemon.metric("sluice_access_policy_current") > 0.0);
}

#[test]
fn a_daemon_does_not_start_with_a_wrong_policy() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    hooks.daemon.terminate();
    hooks
        .settings
        .dir()
        .write("rules.json", r#"{ "rules": [{ "topics": ["a"], "actions": ["fly"] }] }"#);
    hooks.daemon.start_again();
    assert_eq!(hooks.daemon.wait(), 78);
    assert!(hooks.daemon.log().contains("rules[0].actions"), "{}", hooks.daemon.log());
}
