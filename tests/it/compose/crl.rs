//! `broker.sh`: a new CRL reaches the broker, and nothing else ever does.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::stack::Stack;
use crate::support::process::run_to_end;
use crate::support::wait;

const TAKEN: &str = "a new CRL is in force";

/// Runs `openssl ca` on the records that `generate_device_ca.sh` keeps.
fn openssl_ca(stack: &Stack, arguments: &str) {
    let mut command = Command::new("openssl");
    command.args(["ca", "-config", "device-ca.cnf"]).args(arguments.split(' '));
    run_to_end(command.current_dir(stack.path("authority")));
}

/// Puts a file in the place of the published CRL, whole.
fn publish(stack: &Stack, file: &Path) {
    let new = stack.path("crl/new");
    fs::copy(file, &new).unwrap();
    fs::rename(new, stack.path("crl/device-crl.pem")).unwrap();
}

/// Revokes a device and makes the next CRL; its file.
fn revoke(stack: &Stack, device: &str) -> std::path::PathBuf {
    openssl_ca(
        stack,
        &format!("-revoke devices/acme/{device}/device.crt -crl_reason keyCompromise"),
    );
    openssl_ca(stack, "-gencrl -crldays 7 -out next.pem");
    stack.path("authority/next.pem")
}

#[test]
fn only_a_revoked_certificate_is_refused_once_its_crl_is_published() {
    let stack = Stack::start();
    stack.enroll("pump-1");
    stack.enroll("pump-2");
    publish(&stack, &revoke(&stack, "pump-1"));
    wait::until("pump-1 is refused", || !stack.lets_in("pump-1"));
    assert!(stack.lets_in("pump-2"));
    stack.wait_said(TAKEN, 1);
}

#[test]
fn no_damage_to_the_published_crl_changes_who_can_connect() {
    let mut stack = Stack::start();
    stack.enroll("pump-1");
    stack.enroll("pump-2");
    let good = revoke(&stack, "pump-1");
    publish(&stack, &good);
    stack.wait_said(TAKEN, 1);
    openssl_ca(
        &stack,
        "-gencrl -crl_lastupdate 20200101000000Z -crl_nextupdate 20200102000000Z -out past.pem",
    );
    openssl_ca(
        &stack,
        "-gencrl -crl_lastupdate 20400101000000Z -crl_nextupdate 20400102000000Z -out future.pem",
    );
    let stranger = Stack::prepared();
    let published = stack.path("crl/device-crl.pem");
    let text = fs::read_to_string(&published).unwrap();
    let damages: [(&str, &dyn Fn()); 7] = [
        ("missing or empty", &|| fs::remove_file(&published).unwrap()),
        ("no CRL signed by", &|| fs::write(&published, &text[..text.len() / 2]).unwrap()),
        ("missing or empty", &|| fs::write(&published, "").unwrap()),
        ("it expired at 2020-01-02", &|| publish(&stack, &stack.path("authority/past.pem"))),
        ("it is valid only from 2040-01-01", &|| {
            publish(&stack, &stack.path("authority/future.pem"));
        }),
        ("no CRL signed by", &|| publish(&stack, &stranger.path("crl/device-crl.pem"))),
        ("missing or empty", &|| fs::remove_file(&published).unwrap()),
    ];
    for (number, (why, damage)) in damages.iter().enumerate() {
        damage();
        stack.wait_said("is not used: it", number + 1);
        assert!(
            stack.log().lines().rfind(|line| line.contains("is not used")).unwrap().contains(why),
            "{why}"
        );
        assert!(!stack.lets_in("pump-1"), "{why}");
        assert!(stack.lets_in("pump-2"), "{why}");
    }
    // Somebody else's signal finds the last good one too.
    stack.process().signal("HUP", &[]);
    stack.wait_said("Reloading config.", 2);
    assert!(!stack.lets_in("pump-1"));
    assert!(stack.lets_in("pump-2"));
    // And the next good one is taken.
    publish(&stack, &revoke(&stack, "pump-2"));
    stack.wait_said(TAKEN, 2);
    assert!(!stack.lets_in("pump-2"));
}

#[test]
fn it_starts_with_the_last_good_crl_and_without_any_it_waits() {
    let mut stack = Stack::start();
    stack.enroll("pump-1");
    publish(&stack, &revoke(&stack, "pump-1"));
    stack.wait_said(TAKEN, 1);
    assert_eq!(stack.stop(), 0);
    fs::write(stack.path("crl/device-crl.pem"), "").unwrap();
    stack.launch();
    stack.wait_listening();
    assert!(stack.log().contains("starting with the last valid CRL"), "{}", stack.log());
    assert!(!stack.lets_in("pump-1"));
    assert_eq!(stack.stop(), 0);

    fs::remove_file(stack.path("data/device-crl.pem")).unwrap();
    stack.launch();
    stack.wait_said("the broker starts when there is a valid one", 1);
    publish(&stack, &stack.path("authority/device-crl.pem"));
    stack.wait_listening();
    assert!(stack.lets_in("pump-1"));
}

#[test]
fn it_ends_with_its_broker() {
    let mut stack = Stack::start();
    let brokers = stack.process().children();
    let is_broker = |id: &u32| {
        fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name == "mosquitto\n")
    };
    let broker: Vec<u32> = brokers.into_iter().filter(is_broker).collect();
    assert_eq!(broker.len(), 1);
    run_to_end(
        Command::new("/bin/sh").args(["-c", r#"kill -s KILL "$0""#]).arg(broker[0].to_string()),
    );
    assert_eq!(stack.process().wait(), 128 + 9);
}
