//! When Postgres does not answer, who is not known in memory is denied with an alarm, never with a
//! 5xx, and soon.

use std::time::Instant;

use super::hooks_daemon::{HooksDaemon, user};
use crate::support::postgres::Postgres;
use crate::support::time_bounds::CLOSED_WAY;
use crate::support::wait;

const EVENT: &str = "tenant/acme/device/pump-1/event";

#[test]
fn without_postgres_cached_clients_are_answered_and_others_are_denied() {
    let server = Postgres::private();
    let database = server.database();
    let hooks = HooksDaemon::start(&database, &[]);
    hooks.register("acme", "pump-1", Some("t0ken-of-pump-1"));
    let mut asker = hooks.asker();
    asker.login("alice", &hooks.token(&user("alice", &["viewers"], 600)), "cid1").yes();
    wait::until("the device is warm", || {
        asker.acl_once("acme/device/pump-1", "c", 2, EVENT).status == 200
    });
    server.stop();
    asker.acl_once("acme/device/pump-1", "c", 2, EVENT).yes();
    let faults = [
        "sluice_access_decisions_total{hook=\"acl\",result=\"fault\"}",
        "sluice_access_faults_total",
    ];
    let before = faults.map(|fault| hooks.daemon.metric(fault));
    asker.acl_once("acme/device/pump-2", "c", 2, EVENT).no("a fault of Sluice");
    for (fault, before) in faults.into_iter().zip(before) {
        assert!((hooks.daemon.metric(fault) - before - 1.0).abs() < f64::EPSILON, "{fault}");
    }
    // A token is accepted without Postgres, but whether its names belong to another can be decided
    // only for cached clients.
    asker.login("alice", &hooks.token(&user("alice", &["viewers"], 600)), "cid1").yes();
    let carol = hooks.token(&user("carol", &["viewers"], 600));
    asker
        .ask_once(
            "/mqtt/user",
            &format!(r#"{{"clientid":"c","password":"{carol}","username":"carol"}}"#),
        )
        .no("a fault of Sluice");
    asker.acl_once("alice", "cid1", 1, "plant/x/readings").yes();
    asker.acl_once("bob", "cid1", 1, "plant/x/readings").no("a fault of Sluice");
    let login = r#"{"clientid":"c","password":"t0ken","username":"acme/device/pump-2"}"#;
    asker.ask_once("/mqtt/user", login).no("a fault of Sluice");
    server.start();
    database.wait_until("SELECT count(*) FROM access_sessions WHERE username = 'alice'", "1");
    wait::until("Postgres is asked again", || {
        asker.acl_once("bob", "cid1", 1, "x").body.contains("no valid login")
    });
}

#[test]
fn a_silent_postgres_holds_the_broker_up_once_and_not_at_each_question() {
    let server = Postgres::private();
    let database = server.database();
    let hooks = HooksDaemon::start(&database, &[]);
    hooks.register("acme", "pump-1", None);
    server.pause();
    let mut asker = hooks.asker();
    let begun = Instant::now();
    asker.acl_once("acme/device/pump-1", "c", 2, EVENT).no("a fault of Sluice");
    let first = begun.elapsed();
    for _ in 0..20 {
        asker.acl_once("acme/device/pump-1", "c", 2, EVENT).no("a fault of Sluice");
    }
    let all = begun.elapsed();
    server.resume();
    // The first waited for its second; the others found the way closed. On a slow machine all of it
    // takes longer.
    assert!(all < first + CLOSED_WAY, "{first:?}, then {all:?}");
}
