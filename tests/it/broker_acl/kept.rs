//! The file is kept whatever happens to it, by one replica, and a broker is never made to read one
//! that could end it.

use std::fs;

use super::acl_fixture::{
    AclFixture, CURRENT, TEMPLATE, WRITTEN, is_refused, wait_current, wait_refused,
};
use crate::compose::stack::Stack;
use crate::revocation::revocation_stack::RevocationStack;
use crate::support::daemon::Daemon;
use crate::support::time_bounds::REVOCATION_AFTER_REPAIR;
use crate::support::wait;

const OWN: &str = "tenant/acme/device/d0/telemetry";
const PUBLISHES: &str = "this replica publishes the access rules";

#[test]
fn a_damaged_file_is_written_again_and_the_broker_lives_through_all_of_it() {
    let acl = AclFixture::new();
    let daemon = acl.settings("sluice").start();
    wait_current(&daemon);
    let (path, good) = (acl.path("acl"), acl.file());
    let mut d0 = acl.device("d0");
    wait_refused(&mut d0, OWN, false);
    let damages: [(&str, &dyn Fn()); 5] = [
        ("is not an access rule", &|| fs::write(&path, "what is this\n").unwrap()),
        ("it is missing", &|| fs::remove_file(&path).unwrap()),
        ("not the file that Sluice wrote last", &|| fs::write(&path, "").unwrap()),
        ("not the file that Sluice wrote last", &|| fs::write(&path, TEMPLATE).unwrap()),
        ("its mode changed to", &|| {
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .unwrap();
        }),
    ];
    for (number, (why, damage)) in damages.iter().enumerate() {
        damage();
        let noticed =
            || daemon.log().matches("the file of access rules was changed").count() == number + 1;
        wait::until("the daemon notices", noticed);
        assert!(
            daemon
                .log()
                .lines()
                .rfind(|line| line.contains("access rules was changed"))
                .unwrap()
                .contains(why),
            "{why}"
        );
        // The count follows when what was written has been read back.
        daemon.wait_metric(WRITTEN, 2.0 + f64::from(u32::try_from(number).unwrap()));
        assert_eq!(acl.file(), good, "{why}");
        wait_refused(&mut d0, OWN, false);
        assert!(is_refused(&mut d0, "tenant/acme/device/d1/telemetry"), "{why}");
    }
    daemon.wait_metric(CURRENT, 1.0);
    daemon.wait_ready();
}

#[test]
fn while_a_bad_file_cannot_be_written_again_the_broker_is_not_notified() {
    let acl = AclFixture::new();
    let settings = acl.settings("sluice");
    let daemon = settings.start();
    wait_current(&daemon);
    assert_eq!(daemon.terminate(), 0);
    // Without good lines of the operator nothing can be written in place of the damaged file.
    fs::write(acl.path("template"), format!("{TEMPLATE}topic reed x\n")).unwrap();
    fs::write(acl.path("acl"), "what is this\n").unwrap();
    let reloads = || acl.broker.log().matches("Reloading config").count();
    let before = reloads();
    daemon.start_again();
    let why = daemon.wait_unready_for("is not an access rule (it grants");
    assert!(
        why.contains("line 7 of ACL_TEMPLATE_PATH") && why.contains("the last file stays in force"),
        "{why}"
    );
    assert!(daemon.metric(CURRENT) < 1.0);
    acl.database.query("UPDATE devices SET status = 'INACTIVE' WHERE device_id = 'd1'");
    daemon.wait_unready_for("cannot be written");
    assert_eq!(reloads(), before, "it was not notified");
    fs::write(acl.path("template"), TEMPLATE).unwrap();
    daemon.wait_ready();
    daemon.wait_metric(CURRENT, 1.0);
    let mut d1 = acl.device("d1");
    wait_refused(&mut d1, "tenant/acme/device/d1/door", true);
}

#[test]
fn an_invalid_template_is_refused_and_the_last_valid_one_stays_in_force() {
    let acl = AclFixture::new();
    let settings = acl.settings("sluice");
    let daemon = settings.start();
    wait_current(&daemon);
    let mut d0 = acl.device("d0");
    wait_refused(&mut d0, OWN, false);
    fs::write(acl.path("template"), format!("{TEMPLATE}\ntpic write y\n")).unwrap();
    let why = daemon.wait_unready_for("line 8 of ACL_TEMPLATE_PATH");
    assert!(why.contains("Sluice keeps the lines that it read before"), "{why}");
    let doctor = settings.command(&["doctor"]).output().unwrap();
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("line 8"), "{doctor:?}");
    // A status still reaches the broker.
    settings.run(&["device", "set-status", "acme", "d0", "INACTIVE"]);
    wait_refused(&mut d0, OWN, true);
    fs::write(acl.path("template"), format!("{TEMPLATE}pattern write tenant/%u/lamp\n")).unwrap();
    settings.run(&["device", "set-status", "acme", "d0", "ACTIVE"]);
    wait_refused(&mut d0, "tenant/acme/device/d0/lamp", false);
    daemon.wait_ready();
    let doctor = settings.command(&["doctor", "--output", "json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let rules = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["check"] == "broker access rules");
    let levels: Vec<_> = rules.map(|row| row["level"].clone()).collect();
    assert_eq!(levels, ["ok", "ok", "ok"], "{report:#}");
}

#[test]
fn one_of_two_replicas_writes_and_the_other_takes_its_place() {
    let acl = AclFixture::new();
    let replicas = ["one", "other"].map(|name| acl.settings(name).start());
    for replica in &replicas {
        wait_current(replica);
    }
    let is_publisher = |daemon: &Daemon| daemon.log().contains(PUBLISHES);
    let [one, other] = &replicas;
    assert!(is_publisher(one) != is_publisher(other), "one publishes");
    let (publisher, heir) = if is_publisher(one) { (one, other) } else { (other, one) };
    assert!(
        heir.metric(WRITTEN) < 1.0
            && heir.metric("sluice_broker_acl_rows") >= publisher.metric("sluice_broker_acl_rows")
    );
    publisher.kill9();
    wait::until("the other one publishes", || is_publisher(heir));
    let mut d0 = acl.device("d0");
    wait_refused(&mut d0, OWN, false);
    acl.database.query("UPDATE devices SET status = 'INACTIVE' WHERE device_id = 'd0'");
    wait_refused(&mut d0, OWN, true);
    assert!(heir.metric(WRITTEN) > 0.0);
    heir.wait_ready();
}

#[test]
fn one_reload_serves_the_crl_and_the_access_rules() {
    let mut stack = Stack::prepared();
    let pid_file = stack.launch_alone();
    let revocation = RevocationStack::around(stack);
    let settings = revocation
        .settings("sluice")
        .set("CRL_OUTPUT_PATH", &revocation.stack.text("data/device-crl.pem"))
        .set("BROKER_PID_FILE", pid_file.to_str().unwrap())
        .set(
            "ACL_TEMPLATE_PATH",
            concat!(env!("CARGO_MANIFEST_DIR"), "/compose/mosquitto/acl.conf"),
        )
        .set("ACL_OUTPUT_PATH", &revocation.stack.text("data/acl.conf"))
        .set("BROKER_ACL_MODE", "rows");
    let daemon = settings.start();
    daemon.wait_ready();
    daemon.wait_metric("sluice_crl_enforced", 1.0);
    daemon.wait_metric(CURRENT, 1.0);
    let reloads = || revocation.stack.log().matches("Reloading config").count();
    assert_eq!(reloads(), 1, "{}", revocation.stack.log());
    assert!(revocation.stack.lets_in("pump-1"), "its rows stand there");
    revocation.database.query("UPDATE devices SET status = 'INACTIVE' WHERE device_id = 'pump-1'");
    wait::until("its rows are gone", || {
        revocation.stack.reason_code("pump-1", "tenant/acme/device/pump-1/status") == "135"
    });
    assert!(revocation.stack.lets_in("pump-2"));
    revocation.revoke("pump-2");
    revocation.wait_proven("pump-2", REVOCATION_AFTER_REPAIR);
    assert!(!revocation.stack.lets_in("pump-2"));
}
