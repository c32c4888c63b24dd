//! A CRL file that cannot be repaired, and a broker that hangs: nothing is enforced then, and
//! everybody can see it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::revocation_stack::RevocationStack;
use crate::compose::stack::Stack;
use crate::support::time_bounds::{REVOCATION, REVOCATION_AFTER_REPAIR, UNREPAIRED};
use crate::support::wait;

const ENFORCED: &str = "sluice_crl_enforced";

#[test]
fn while_the_crl_is_a_directory_nothing_is_enforced_and_all_surfaces_say_so() {
    let mut stack = Stack::prepared();
    let pid_file = stack.launch_alone();
    let revocation = RevocationStack::around(stack);
    let path = revocation.stack.path("data/device-crl.pem");
    let settings = revocation.settings("sluice").set("CRL_OUTPUT_PATH", path.to_str().unwrap());
    let settings = settings.set("BROKER_PID_FILE", pid_file.to_str().unwrap());
    let daemon = settings.start();
    daemon.wait_ready();
    daemon.wait_metric(ENFORCED, 1.0);
    revocation.revoke("pump-1");
    revocation.wait_proven("pump-1", REVOCATION);

    fs::remove_file(&path).unwrap();
    fs::create_dir_all(path.join("not-empty")).unwrap();
    let shown = settings.command(&["crl", "show", "--output", "json"]).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["enforced"], false, "at once: {shown}");
    let why = daemon.wait_unready_for("cannot repair it");
    assert!(why.contains("the broker keeps the last CRL"), "{why}");
    let looks = || revocation.stack.log().matches("$sluice/canary/").count();
    let (begun, before) = (Instant::now(), looks());
    wait::until("the broker was tried several times", || looks() > before + 6);
    // All the while, and in the moments in which the publisher has not looked at the file too.
    while begun.elapsed() < UNREPAIRED {
        let (status, body) = daemon.get("/readyz").unwrap();
        assert_eq!(status, 503, "{body}");
        assert!(daemon.metric(ENFORCED) < 1.0);
        std::thread::sleep(Duration::from_millis(50));
    }
    let shown = settings.command(&["crl", "show"]).output().unwrap();
    assert_eq!(shown.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&shown.stdout)
            .contains("no: the CRL file is not the published CRL"),
        "{shown:?}"
    );

    fs::remove_dir_all(&path).unwrap();
    daemon.wait_ready();
    daemon.wait_metric(ENFORCED, 1.0);
    assert!(!revocation.stack.lets_in("pump-1") && revocation.stack.lets_in("pump-2"));
}

#[test]
fn a_broker_that_hangs_is_reported_within_seconds_as_a_missing_proof() {
    let mut stack = Stack::prepared();
    let pid_file = stack.launch_alone();
    let mut revocation = RevocationStack::around(stack);
    let path = revocation.stack.path("data/device-crl.pem");
    let settings = revocation.settings("sluice").set("CRL_OUTPUT_PATH", path.to_str().unwrap());
    let settings = settings.set("BROKER_PID_FILE", pid_file.to_str().unwrap());
    let daemon = settings.start();
    daemon.wait_ready();
    daemon.wait_metric(ENFORCED, 1.0);
    revocation.stack.process().signal("STOP", &[]);
    revocation.revoke("pump-1");
    let begun = Instant::now();
    let why = daemon.wait_unready_for("cannot tell whether the broker enforces the CRL");
    println!("readiness {:?}", begun.elapsed());
    assert!(why.contains("did not answer"), "{why}");
    let failed = "SELECT failed_link FROM certificate_revocations";
    revocation.database.wait_until(failed, "proven");
    revocation.stack.process().signal("CONT", &[]);
    revocation.wait_proven("pump-1", REVOCATION_AFTER_REPAIR);
    daemon.wait_ready();
}
