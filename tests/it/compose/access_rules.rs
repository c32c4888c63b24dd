//! `broker.sh`: new access rules reach the broker, and nothing that is no rule ever does; and the
//! configuration for 2.1.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::stack::{PASSWORD_DEVICE, Stack};
use crate::support::mosquitto::version;
use crate::support::process::{find_program, run_to_end};
use crate::support::wait;

const TAKEN: &str = "new access rules are in force";

/// As Sluice begins the file.
const HEADER: &str = "# Written by sluice from its registry.\n";

/// Accepted, with a subscriber or without.
const ACCEPTED: [&str; 2] = ["0", "16"];
/// Not authorized: 0x87.
const REFUSED: &str = "135";

/// The rules of the stack, and pump-1 may do nothing.
fn barring(stack: &Stack) -> String {
    let barred = format!("\nuser {}\ntopic deny #\n", PASSWORD_DEVICE.0);
    format!("{HEADER}{}{barred}", stack.read("acl.conf"))
}

/// Puts a text in the place of the published rules, whole.
fn publish(stack: &Stack, text: &str) {
    fs::write(stack.path("crl/acl.new"), text).unwrap();
    fs::rename(stack.path("crl/acl.new"), stack.path("crl/acl.conf")).unwrap();
}

fn is_accepted(stack: &Stack, device: &str) -> bool {
    let code = stack.reason_code(device, &format!("tenant/acme/device/{device}/telemetry"));
    assert!(ACCEPTED.contains(&code.as_str()) || code == REFUSED, "{code}");
    code != REFUSED
}

#[test]
fn rules_that_are_published_act_and_no_damage_to_them_reaches_the_broker() {
    let mut stack = Stack::start();
    stack.enroll("pump-1");
    stack.enroll("pump-2");
    assert!(is_accepted(&stack, "pump-1"), "with the shipped rules");
    let good = barring(&stack);
    publish(&stack, &good);
    stack.wait_said(TAKEN, 1);
    wait::until("pump-1 is refused", || !is_accepted(&stack, "pump-1"));
    assert!(is_accepted(&stack, "pump-2"));

    let published = stack.path("crl/acl.conf");
    let cut_off = &good[..good.len() - 3];
    let damages: [(&str, &dyn Fn()); 6] = [
        ("missing or empty", &|| fs::remove_file(&published).unwrap()),
        ("its last line is incomplete", &|| fs::write(&published, cut_off).unwrap()),
        ("missing or empty", &|| fs::write(&published, "").unwrap()),
        ("it contains no rule", &|| fs::write(&published, "# nothing\n").unwrap()),
        ("line 2 is no access rule", &|| publish(&stack, "user sluice\nthis is no rule\n")),
        ("line 1 is no access rule", &|| publish(&stack, "topic read tenant/#/device\n")),
    ];
    for (number, (why, damage)) in damages.iter().enumerate() {
        damage();
        stack.wait_said("the broker keeps the last valid rules", number + 1);
        assert!(
            stack.log().lines().rfind(|line| line.contains("is not used")).unwrap().contains(why),
            "{why}"
        );
        assert!(!is_accepted(&stack, "pump-1") && is_accepted(&stack, "pump-2"), "{why}");
    }
    // The signal of an operator finds the last good ones too.
    stack.process().signal("HUP", &[]);
    stack.wait_said("Reloading config.", 2);
    assert!(!is_accepted(&stack, "pump-1") && is_accepted(&stack, "pump-2"));
    publish(&stack, &good.replace("topic deny #\n", ""));
    stack.wait_said(TAKEN, 2);
    wait::until("pump-1 is accepted", || is_accepted(&stack, "pump-1"));
}

#[test]
fn a_reload_ends_no_session() {
    let stack = Stack::start();
    stack.enroll("pump-1");
    let topic = "tenant/acme/device/pump-1/commands/ack";
    let session =
        stack.over_tls("mosquitto_sub", Some("pump-1"), &["-q", "1", "-t", topic, "-C", "2"]);
    let mut session = stack.listening(&session, "session");
    for number in 1..=2 {
        publish(&stack, &format!("{HEADER}{}# {number}\n", stack.read("acl.conf")));
        stack.wait_said(TAKEN, number);
        stack.wait_said("Reloading config.", number);
        let message = ["-q", "1", "-t", topic, "-m", "x"];
        run_to_end(&mut stack.by_password("mosquitto_pub", Some(PASSWORD_DEVICE), &message));
    }
    session.wait_done();
}

#[test]
fn it_starts_with_the_last_valid_rules_or_else_with_the_shipped_ones() {
    let mut stack = Stack::start();
    stack.enroll("pump-1");
    publish(&stack, &barring(&stack));
    stack.wait_said(TAKEN, 1);
    for number in 1..=2 {
        assert_eq!(stack.stop(), 0);
        if number == 1 {
            fs::write(stack.path("crl/acl.conf"), "no rule\n").unwrap();
        } else {
            fs::remove_file(stack.path("crl/acl.conf")).unwrap();
        }
        stack.launch();
        stack.wait_listening();
        stack.wait_said("starting with the last valid rules", number);
        assert!(!is_accepted(&stack, "pump-1"));
    }
    assert_eq!(stack.stop(), 0);
    fs::remove_file(stack.path("data/acl.conf")).unwrap();
    publish(&stack, "no rule\n");
    stack.launch();
    stack.wait_said("the broker starts when there are valid ones", 1);
    publish(&stack, &barring(&stack));
    stack.wait_listening();
    assert!(!is_accepted(&stack, "pump-1"));
}

/// The directory of the broker's plugins.
fn libraries() -> PathBuf {
    let program = fs::canonicalize(find_program("mosquitto").unwrap()).unwrap();
    program
        .ancestors()
        .nth(2)
        .unwrap()
        .join("lib")
        .join(format!("{}-linux-gnu/mosquitto", std::env::consts::ARCH))
}

/// The configuration that 2.1 runs without a warning of what it will no longer know.
#[test]
fn the_configuration_for_mosquitto_two_one_gives_the_same_access() {
    let mut stack = Stack::prepared();
    let shipped = stack.configuration("mosquitto-2.1.conf");
    let config =
        shipped.replace("/usr/lib/x86_64-linux-gnu/mosquitto", libraries().to_str().unwrap());
    fs::write(stack.path("mosquitto.conf"), config).unwrap();
    if version() < (2, 1) {
        let mut command = Command::new(find_program("mosquitto").unwrap());
        let output = command.arg("-c").arg(stack.path("mosquitto.conf")).output().unwrap();
        assert!(!output.status.success(), "2.0 does not run it: {output:?}");
        return;
    }
    stack.launch();
    stack.wait_listening();
    stack.enroll("pump-1");
    assert!(is_accepted(&stack, "pump-1"));
    assert_eq!(stack.reason_code("pump-1", "tenant/acme/device/pump-2/telemetry"), REFUSED);
    let own = ["-q", "1", "-t", "tenant/acme/device/pump-1/status", "-m", "x"];
    run_to_end(&mut stack.by_password("mosquitto_pub", Some(PASSWORD_DEVICE), &own));
    for login in [None, Some((PASSWORD_DEVICE.0, "wrong")), Some(("nobody", "x"))] {
        assert!(
            !stack.by_password("mosquitto_pub", login, &own).output().unwrap().status.success(),
            "{login:?}"
        );
    }
    publish(&stack, &barring(&stack));
    stack.wait_said(TAKEN, 1);
    wait::until("pump-1 is refused", || !is_accepted(&stack, "pump-1"));
    assert!(!stack.log().contains("deprecated"), "{}", stack.log());
}
