//! A daemon that answers devices, at a broker with the shipped access rules and a password for each
//! device.

use std::fs;
use std::process::{Command, Output};

use crate::compose::stack::repository;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions, rows_for};
use crate::support::process::find_program;
use crate::support::test_daemon::{TestDaemon, TestDaemonBuilder};

/// The password of every user.
pub const PASSWORD: &str = "pass-of-the-devices";

/// Devices that may log in, as `<tenant>/device/<device>`.
pub const DEVICES: [&str; 6] = [
    "acme/device/pump-1",
    "acme/device/pump-2",
    "acme/device/off",
    "acme/device/gone",
    "acme/device/stranger",
    "halted/device/pump-1",
];

/// `pump-1` and `pump-2` are ACTIVE.
pub const REGISTRY: &str = "INSERT INTO tenants (tenant_id, name, status) VALUES ('acme', 'Acme', 'ACTIVE'), ('halted', 'H', 'SUSPENDED'); \
    INSERT INTO devices (tenant_id, device_id, status, metadata) VALUES ('acme', 'pump-1', 'ACTIVE', '{\"model\":\"x\"}'), \
    ('acme', 'pump-2', 'ACTIVE', '{}'), ('acme', 'off', 'INACTIVE', '{}'), ('acme', 'gone', 'REVOKED', '{}'), \
    ('halted', 'pump-1', 'ACTIVE', '{}')";

/// Settings under which the name at the broker is proof enough, and no test meets the limit of
/// requests by chance.
pub const TRUSTING: [(&str, &str); 5] = [
    ("DEVICE_API", "1"),
    ("CERT_AUTH_ENABLED", "0"),
    ("REQUIRE_TOKEN", "0"),
    ("DEVICE_API_RPS", "1000"),
    ("DEVICE_API_BURST", "1000"),
];

/// The broker: the shipped rules, and a line for a reader of everything.
pub fn broker() -> Mosquitto {
    let shipped = fs::read_to_string(repository("compose/mosquitto/acl.conf")).unwrap();
    let rows = rows_for(&shipped, &DEVICES.map(str::to_owned));
    let watcher = "user watcher\ntopic read #\n";
    let options =
        MosquittoOptions { acl: Some(format!("{shipped}\n{rows}{watcher}")), ..Default::default() };
    // As the pages recommend: without it a message may wait for 40 ms at the broker.
    let options = options.line("set_tcp_nodelay true");
    let users = DEVICES.into_iter().chain(["sluice", "watcher"]);
    Mosquitto::start(users.fold(options, |options, user| options.user(user, PASSWORD)))
}

/// A daemon at that broker, not started.
pub fn builder() -> TestDaemonBuilder<Mosquitto, ()> {
    TestDaemon::builder()
        .on_broker(broker())
        .set("MQTT_USERNAME", "sluice")
        .set("MQTT_PASSWORD", PASSWORD)
        .with(&TRUSTING)
}

/// A ready daemon with these settings besides.
pub fn start(settings: &[(&str, &str)]) -> TestDaemon {
    let started = builder().registry(REGISTRY).with(settings).start_ready();
    started.daemon.wait_metric("sluice_api_connected", 1.0);
    started
}

/// Runs `mosquitto_rr` as this device with further arguments.
pub fn mosquitto_rr(port: u16, device: &str, arguments: &[&str]) -> Output {
    let program = find_program("mosquitto_rr").expect("mosquitto-clients is installed");
    Command::new(program)
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-u", device, "-P", PASSWORD])
        .args(["-q", "1", "-W", "20"])
        .args(arguments)
        .output()
        .unwrap()
}
