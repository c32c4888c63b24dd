//! Logins by a token as password: remembered for the questions that follow, to the end of the proof
//! and not longer.

use super::hooks_daemon::{HooksDaemon, database, now, user};
use crate::support::wait;

const TOPIC: &str = "plant/x/readings";

#[test]
fn a_login_survives_the_daemon_and_no_token_is_kept() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let token = hooks.token(&user("alice", &["viewers"], 600));
    hooks.asker().login("alice", &token, "cid1").yes();
    database.wait_until("SELECT count(*) FROM access_sessions WHERE username = 'alice'", "1");
    let row = database.value("SELECT a::text FROM access_sessions a WHERE username = 'alice'");
    assert!(row.contains("viewers") && !row.contains(&token[..20]), "{row}");
    hooks.daemon.kill9();
    hooks.daemon.start_again();
    hooks.wait_open();
    let mut asker = hooks.asker();
    asker.acl("alice", "cid1", 1, TOPIC).yes();
    asker.acl("alice", "cid1", 1, "plant/secret/x").no("denied to read");
    asker.acl("alice", "cid2", 1, TOPIC).no("no valid login");
}

#[test]
fn a_login_is_known_to_another_replica() {
    let database = database();
    let (one, other) = (HooksDaemon::start(&database, &[]), HooksDaemon::start(&database, &[]));
    let token = one.token(&user("alice", &["viewers"], 600));
    one.asker().login("alice", &token, "cid1").yes();
    database.wait_until("SELECT count(*) FROM access_sessions WHERE username = 'alice'", "1");
    // Until it has the issuer's key too, the login ends there.
    let mut asker = other.asker();
    asker.acl("alice", "cid1", 1, TOPIC).no("has withdrawn the key");
    let keys = std::fs::read(one.settings.dir().path().join("keys.json")).unwrap();
    other.settings.dir().write("keys.json", keys);
    wait::until("it has read the key", || asker.acl("alice", "cid1", 1, TOPIC).status == 200);
}

#[test]
fn the_end_of_a_token_is_kept_at_every_question() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let mut asker = hooks.asker();
    let token = hooks.token(&user("alice", &["viewers"], 3));
    asker.login("alice", &token, "cid1").yes();
    asker.acl("alice", "cid1", 1, TOPIC).yes();
    asker.acl(&token, "cid1", 1, TOPIC).yes();
    let end = now() + 3;
    wait::until("the login has expired", || asker.acl("alice", "cid1", 1, TOPIC).status == 403);
    assert!(now() <= end + 1, "it ended too late");
    asker.acl(&token, "cid1", 1, TOPIC).no("expired");
    asker.acl("alice", "cid1", 1, TOPIC).no("no valid login");
    // A new login under the same names counts at once.
    asker.login("alice", &hooks.token(&user("alice", &["viewers"], 600)), "cid1").yes();
    asker.acl("alice", "cid1", 1, TOPIC).yes();
}

#[test]
fn a_later_login_takes_the_place_of_an_earlier_one() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let mut asker = hooks.asker();
    asker.login("root", &hooks.token(&user("root", &["admins"], 600)), "cid1").yes();
    // A superuser by a password's token is one at each topic, for the broker asks without the
    // client id.
    asker.ask("/mqtt/superuser", r#"{"username":"root"}"#).no("each topic");
    asker.acl("root", "cid1", 2, "plant/secret/x").yes();
    // The broker would end the device's session.
    let any = hooks.token(&user("bob", &["viewers"], 600));
    asker.login("bob", &any, "acme/device/pump-1").no("belongs to another device");
    asker.login("acme/pump-1/", &any, "cid9").no("not a device's");
    // At a topic the broker tells names only: nobody goes by the name of somebody else.
    let another = hooks.token(&user("mallory", &["viewers"], 600));
    asker.login("root", &another, "cid1").no("not the subject of the token");
    asker.acl("root", "cid1", 2, "plant/secret/x").yes();
    asker.login("root", &hooks.token(&user("root", &["viewers"], 600)), "cid1").yes();
    asker.acl("root", "cid1", 2, "plant/secret/x").no("denied to publish");
    let groups = "SELECT groups->>0 FROM access_sessions WHERE username = 'root'";
    database.wait_until(groups, "viewers");
}
