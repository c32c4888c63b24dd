//! The policy file of a running daemon: changed, wrong, mended.

use super::house::{House, RULES, database, user};
use crate::support::wait;

#[test]
fn a_changed_policy_holds_and_a_wrong_one_does_not() {
    let database = database();
    let house = House::start(&database, &[]);
    let mut asker = house.asker();
    let token = house.token(&user("alice", &["viewers"], 600));
    let mut is_allowed = |topic: &str| asker.acl(&token, "c", 1, topic).status == 200;
    assert!(is_allowed("plant/x/readings") && !is_allowed("plant/x/other"));
    house.settings.dir().write("rules.json", RULES.replace("plant/+/readings", "plant/+/other"));
    wait::until("the change is noticed", || is_allowed("plant/x/other"));
    assert!(!is_allowed("plant/x/readings"));

    house.settings.dir().write("rules.json", RULES.replace("plant/+/readings", "plant/#/readings"));
    house.daemon.signal("HUP");
    wait::until("the fault is told", || {
        house.daemon.metric("sluice_access_policy_current").abs() < f64::EPSILON
    });
    assert!(is_allowed("plant/x/other"), "the old policy goes on");
    assert!(house.daemon.log().contains("rules[2].topics[0]"), "{}", house.daemon.log());

    house.settings.dir().write("rules.json", RULES);
    house.daemon.signal("HUP");
    wait::until("the mended one holds", || is_allowed("plant/x/readings"));
    assert!(house.daemon.metric("sluice_access_policy_current") > 0.0);
}

#[test]
fn a_daemon_does_not_start_with_a_wrong_policy() {
    let database = database();
    let house = House::start(&database, &[]);
    house.daemon.terminate();
    house
        .settings
        .dir()
        .write("rules.json", r#"{ "rules": [{ "topics": ["a"], "actions": ["fly"] }] }"#);
    house.daemon.start_again();
    assert_eq!(house.daemon.wait(), 78);
    assert!(house.daemon.log().contains("rules[0].actions"), "{}", house.daemon.log());
}
