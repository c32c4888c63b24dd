//! `sluice tail`: decisions of a running daemon, its exit codes, and a restart of the daemon.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::api::client::{TOKEN, builder};
use crate::support::daemon::Settings;
use crate::support::device::Device;
use crate::support::wait;

const REGISTRY: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme');
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1')";

const TOPIC: &str = "tenant/acme/device/pump-1/telemetry";

/// A running command, and its lines.
struct Tail {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

// === impl Tail ===

impl Tail {
    fn start(settings: &Settings, arguments: &[&str]) -> Self {
        let mut command = settings.command(&[&["tail"], arguments].concat());
        let errors = std::fs::File::create(settings.dir().path().join("tail.log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    fn interrupt(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        std::process::Command::new("kill").args(["-s", "INT", &pid]).status().unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tail_prints_decisions_connects_again_and_ends_as_it_says() {
    let it = builder().broker().registry(REGISTRY).set("REQUIRE_TOKEN", "0").start_ready();
    it.listening("HTTP_BIND");
    let listening = |number: f64| {
        wait::until("it listens", || {
            (it.daemon.metric("sluice_live_listeners") - number).abs() < 0.5
        });
    };
    let mut device = Device::connect(it.broker.port(), "d");
    let mut two =
        Tail::start(&it.settings, &["--search", "pump-1", "--count", "2", "--output", "json"]);
    let mut text = Tail::start(&it.settings, &["--search", "outcome:refused"]);
    listening(2.0);
    for number in 0..2 {
        device.publish(TOPIC, format!("{{\"metrics\":{{\"t\":{number}}}}}"));
    }
    let lines: Vec<Value> = (0..2).map(|_| serde_json::from_str(&two.line()).unwrap()).collect();
    assert_eq!(lines[1]["payload"], r#"{"metrics":{"t":1}}"#);
    assert_eq!(two.child.wait().unwrap().code(), Some(0), "--count is reached");

    device.publish("tenant/acme/device/pump-1/telemetry", "\u{1b}[2J");
    let line = text.line();
    for part in ["  refused    acme/pump-1", "BAD_PAYLOAD: ", "\\u{1b}[2J"] {
        assert!(line.contains(part), "{line}");
    }
    // A restart of the daemon: the command connects again.
    assert_eq!(it.daemon.terminate(), 0);
    it.daemon.start_again();
    it.daemon.wait_ready();
    listening(1.0);
    device.publish("tenant/acme/device/pump-1/telemetry", "again");
    assert!(text.line().contains("again"));
    assert_eq!(text.interrupt(), Some(0), "Ctrl-C");
    let said = std::fs::read_to_string(it.settings.dir().path().join("tail.log")).unwrap();
    assert!(said.contains("connecting again") && said.contains("connected again"), "{said}");
}

#[test]
fn tail_says_why_it_cannot_read() {
    let it = builder().registry(REGISTRY).start();
    let port = it.listening("HTTP_BIND");
    let ends = |settings: &Settings, arguments: &[&str]| {
        let output = settings.command(&[&["tail"], arguments].concat()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let wrong = it.settings.clone().set("ADMIN_TOKEN", "another-token");
    let token = it.settings.dir().write("token", TOKEN);
    let eve: Value = serde_json::from_str(&it.settings.run(&[
        "operator", "add", "eve", "--role", "viewer", "--tenant", "acme", "--output", "json",
    ]))
    .unwrap();
    let of_eve = it.settings.dir().write("eve", eve["token"].as_str().unwrap());
    let url = format!("http://127.0.0.1:{port}");
    let nowhere = format!("http://127.0.0.1:{}", crate::support::port::free());
    for (settings, arguments, exit, says) in [
        (&wrong, &[][..], 78, "the daemon refused the token"),
        (&it.settings, &["--search", "colour:red"], 64, "unknown key `colour`"),
        (
            &it.settings,
            &["--token-file", of_eve.to_str().unwrap(), "--tenant", "zeta"],
            64,
            "only the tenant acme",
        ),
        (&it.settings, &["--token-file", "/nonexistent"], 78, "--token-file /nonexistent"),
        (&it.settings, &["--url", nowhere.as_str()], 69, "no daemon answers at"),
    ] {
        let (code, said) = ends(settings, arguments);
        assert!(code == exit && said.contains(says), "{arguments:?}: {code} {said}");
    }
    // Another address and a token of a file are used; `--count 0` is no number of lines.
    let mut tail = Tail::start(&wrong, &["--url", &url, "--token-file", token.to_str().unwrap()]);
    wait::until("it listens", || it.daemon.metric("sluice_live_listeners") > 0.5);
    assert_eq!(tail.interrupt(), Some(0));
    assert_eq!(ends(&it.settings, &["--count", "0"]).0, 64);
}
