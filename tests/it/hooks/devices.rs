//! Devices at login: by certificate, of which the broker sends the common name only; by token; and
//! no longer.

use super::hooks_daemon::{HooksDaemon, database, user};
use crate::support::time_bounds::REGISTRY_CHANGE;
use crate::support::wait;

const EVENT: &str = "tenant/acme/device/pump-1/event";

#[test]
fn a_device_logs_in_by_its_token_and_does_what_its_own_topics_allow() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    hooks.register("acme", "pump-1", Some("t0ken-of-pump-1"));
    hooks.register("acme", "pump-2", Some("t0ken-of-pump-2"));
    let mut asker = hooks.asker();
    for name in ["acme/device/pump-1", "acme/pump-1"] {
        asker.login(name, "t0ken-of-pump-1", "pump-1").yes();
        asker.login(name, "t0ken-of-pump-2", "pump-1").no("TOKEN_INVALID");
        asker.acl(name, "any", 2, EVENT).yes();
        asker.acl(name, "any", 4, "tenant/acme/device/pump-1/commands/#").yes();
        asker.acl(name, "any", 2, "tenant/acme/device/pump-2/event").no("no rule allows it");
        asker.acl(name, "any", 4, "tenant/acme/device/+/commands/#").no("no rule allows it");
        asker.acl(name, "any", 4, "#").no("no rule allows it");
    }
    asker.login("acme/device/pump-9", "t0ken-of-pump-1", "c").no("UNREGISTERED_DEVICE");
    asker
        .login("acme/device/pump-1", "t0ken-of-pump-1", "acme/device/pump-2")
        .no("belongs to another device");
    asker.login("acme/device/pump-1", "t0ken-of-pump-1", "acme/device/pump-1").yes();
    asker.ask("/mqtt/superuser", r#"{"username":"acme/device/pump-1"}"#).no("not a superuser");
}

#[test]
fn the_isolation_probe_has_its_own_topics_and_accepts_no_login() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    let mut asker = hooks.asker();
    let probe = "$sluice/device/probe";
    asker.acl(probe, probe, 2, "tenant/$sluice/device/probe/telemetry").yes();
    for topic in [
        "tenant/$sluice/device/foreign/telemetry",
        "tenant/$sluice-foreign/device/probe/telemetry",
        EVENT,
    ] {
        asker.acl(probe, probe, 2, topic).no("no rule allows it");
    }
    let token = hooks.token(&user(probe, &["admins"], 600));
    asker.login(probe, &token, "c").no("token");
    asker.login(probe, "t0ken", "c").no("token");
}

#[test]
fn no_token_of_an_issuer_makes_anybody_a_device() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    hooks.register("acme", "pump-1", Some("t0ken-of-pump-1"));
    let mut asker = hooks.asker();
    let token = hooks.token(&user("acme/device/pump-1", &["viewers"], 600));
    asker.login("acme/device/pump-1", &token, "c").no("TOKEN_INVALID");
    // It is what the token says, a person of that name, and has none of the device's topics.
    asker.acl(&token, "c", 2, EVENT).no("no rule allows it");
}

#[test]
fn what_plain_sql_does_to_a_device_acts_within_seconds() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    hooks.register("acme", "pump-1", Some("t0ken-of-pump-1"));
    let mut asker = hooks.asker();
    let mut within_seconds = |sql: &str, why: &str| {
        wait::until("it is warm", || asker.acl("acme/device/pump-1", "c", 2, EVENT).status == 200);
        database.query(sql);
        wait::within(REGISTRY_CHANGE, why, || {
            match asker.acl_once("acme/device/pump-1", "c", 2, EVENT) {
                answer if answer.body.contains(why) => Ok(()),
                answer => Err(format!("{answer:?}")),
            }
        });
    };
    let revive = "UPDATE tenants SET status = 'ACTIVE'; UPDATE devices SET status = 'ACTIVE'";
    within_seconds("UPDATE devices SET status = 'REVOKED'", "DEVICE_REVOKED");
    database.query(revive);
    within_seconds("UPDATE devices SET status = 'INACTIVE'", "DEVICE_INACTIVE");
    database.query(revive);
    within_seconds("UPDATE tenants SET status = 'SUSPENDED'", "TENANT_SUSPENDED");
    database.query(revive);
    within_seconds("DELETE FROM devices", "UNREGISTERED_DEVICE");
}

#[test]
fn a_device_with_only_revoked_certificates_is_denied() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[("CERT_AUTH_ENABLED", "1")]);
    hooks.register("acme", "pump-1", None);
    database.query(
        "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, \
            issuer, status, not_before, not_after, cert_pem) VALUES (gen_random_uuid(), 'acme', 'pump-1', \
            repeat('a', 64), '01', 'acme/device/pump-1', 'CN=ca', 'ACTIVE', now() - interval '1 day', \
            now() + interval '1 day', 'pem')",
    );
    let mut asker = hooks.asker();
    wait::until("it is let in", || asker.acl("acme/device/pump-1", "c", 2, EVENT).status == 200);
    database.query("UPDATE device_certificates SET status = 'REVOKED', revoked_at = now()");
    wait::until("its certificate is not accepted any longer", || {
        asker.acl("acme/device/pump-1", "c", 2, EVENT).body.contains("no valid certificate")
    });
}

#[test]
fn a_warm_device_costs_no_query() {
    let database = database();
    let hooks = HooksDaemon::start(&database, &[]);
    hooks.register("acme", "pump-1", Some("t0ken-of-pump-1"));
    let mut asker = hooks.asker();
    wait::until("200 questions of each kind ask the registry nothing", || {
        let misses = hooks.daemon.metric("sluice_auth_cache_misses");
        for _ in 0..200 {
            asker.acl("acme/device/pump-1", "c", 2, EVENT).yes();
            asker.login("acme/device/pump-1", "t0ken-of-pump-1", "c").yes();
        }
        (hooks.daemon.metric("sluice_auth_cache_misses") - misses).abs() < f64::EPSILON
    });
    let answered =
        hooks.daemon.metric("sluice_access_decisions_total{hook=\"acl\",result=\"allowed\"}");
    assert!(
        answered > 200.0 && hooks.daemon.metric("sluice_access_seconds_count") > 400.0,
        "{answered}"
    );
}
