//! The guests' broker of `compose/`, from its own files, with a bridge to the devices' broker: who
//! can connect, what goes through.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::compose::stack::{Listener, Stack, repository, words};
use crate::support::dir::we_are_root;
use crate::support::port;
use crate::support::process::{Launch, Process, find_program, read_log};
use crate::support::wait;

/// Accepted, with a subscriber or without.
const ACCEPTED: [&str; 2] = ["RC:0)", "RC:16)"];
/// Not authorized: 0x87.
const REFUSED: &str = "RC:135)";

/// Both brokers, with the bridge between them.
pub struct Brokers {
    /// The devices'.
    pub devices: Stack,
    guests: Option<Process>,
    /// Where guests come in, over websockets.
    pub websockets: u16,
    plain: u16,
}

// === impl Brokers ===

impl Brokers {
    /// Started, listening, and bridged.
    pub fn start() -> Self {
        let devices = Stack::start();
        let (websockets, plain) = (port::free(), port::free());
        let config = devices.path("guests.conf");
        fs::write(&config, configuration(&devices, websockets, plain)).unwrap();
        fs::copy(repository("compose/mosquitto/guests.acl"), devices.path("guests.acl")).unwrap();
        let bridge = devices.path("guests/bridge.conf");
        let lines = fs::read_to_string(&bridge).unwrap();
        fs::write(
            &bridge,
            replaced(&lines, "mosquitto:1883", &format!("127.0.0.1:{}", devices.ports[0])),
        )
        .unwrap();
        let mut brokers = Self { devices, guests: None, websockets, plain };
        brokers.launch_guests();
        brokers
    }

    /// Kills the guests' broker and starts it again.
    pub fn restart_guests(&mut self) {
        if let Some(mut running) = self.guests.take() {
            running.kill9(&[]);
        }
        self.launch_guests();
    }

    fn launch_guests(&mut self) {
        let log = self.devices.path("guests.log");
        let bridged = || read_log(&log).matches("Received SUBACK from local.guests").count();
        let before = bridged();
        self.guests = Some(Process::start(Launch {
            name: "guests' mosquitto",
            program: &program("mosquitto"),
            args: vec!["-c".into(), self.devices.text("guests.conf")],
            envs: Vec::new(),
            log: &log,
            dir: &self.devices.path("data"),
            account: None,
            parting: "KILL",
        }));
        for port in [self.websockets, self.plain] {
            wait::until("the guests' broker listens", || {
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
        wait::until("the bridge stands", || bridged() > before);
    }

    /// `mosquitto_pub` or `mosquitto_sub` as a guest with this client id.
    fn as_guest(&self, program_name: &str, client_id: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(program_name));
        command
            .args(["-V", "mqttv5", "-p", &self.plain.to_string(), "-i", client_id])
            .args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// What the broker said to a message of a guest.
    fn said(&self, client_id: &str, login: &[&str], topic: &str) -> String {
        let arguments = [login, &["-d", "-q", "1", "-t", topic, "-m", "from a guest"]].concat();
        words(&self.as_guest("mosquitto_pub", client_id, &arguments).output().unwrap())
    }

    /// Says something at the devices' broker, as a service that may broadcast.
    pub fn broadcast(&self, topic: &str, text: &str) {
        let bridge = self.devices.read("guests/bridge.conf");
        let password =
            bridge.lines().find_map(|line| line.strip_prefix("remote_password ")).unwrap();
        let message = ["-i", "service", "-q", "1", "-t", topic, "-m", text];
        let said = self
            .devices
            .by_password("mosquitto_pub", Some(("guests", password)), &message)
            .output()
            .unwrap();
        assert!(said.status.success(), "{said:?}");
    }

    fn listening(&self, command: &Command, file: &str) -> Listener {
        self.devices.listening(command, file)
    }
}

/// The shipped configuration with other paths, ports and user, and one more kind of log line.
fn configuration(devices: &Stack, websockets: u16, plain: u16) -> String {
    let mut text = fs::read_to_string(repository("compose/mosquitto/guests.conf")).unwrap();
    text = replaced(&text, "\nlistener 9002\n", &format!("\nlistener {websockets} 127.0.0.1\n"));
    text =
        replaced(&text, "\nlistener 1884 127.0.0.1\n", &format!("\nlistener {plain} 127.0.0.1\n"));
    text = replaced(&text, "/mosquitto/config/", &devices.text(""));
    text = replaced(
        &text,
        "include_dir /run/secrets",
        &format!("include_dir {}", devices.text("guests")),
    );
    text = replaced(&text, "\nlog_type notice\n", "\nlog_type notice\nlog_type debug\n");
    if we_are_root() {
        // Else it becomes user mosquitto, who may not read here.
        text = replaced(&text, "\nuser mosquitto\n", "\nuser root\n");
    }
    text
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is in\n{text}");
    text.replace(from, to)
}

fn program(name: &str) -> PathBuf {
    find_program(name)
        .unwrap_or_else(|| panic!("{name} is not installed; scripts/test installs it"))
}

#[test]
fn guests_speak_and_hear_under_public_and_only_by_their_own_names() {
    let brokers = Brokers::start();
    let login = ["-u", "guest-0123", "-P", "a token nobody looks at"];
    for login in [&[][..], &login] {
        let fine = brokers.said("public-a", login, "public/news");
        assert!(ACCEPTED.iter().any(|code| fine.contains(code)), "{fine}");
        for topic in
            ["private/x", "public", "publicx/a", "tenant/acme/device/pump-1/telemetry", "$SYS/x"]
        {
            let said = brokers.said("public-a", login, topic);
            assert!(said.contains(REFUSED), "{topic}: {said}");
        }
        for stranger in ["sluice", "acme/device/pump-1", "local.guests", "Public-a", "xpublic-a"] {
            let said = brokers.said(stranger, login, "public/news");
            assert!(said.contains("CONNACK (135)"), "{stranger}: {said}");
        }
    }
    // The health check of the container, with this broker's port.
    let check = brokers
        .as_guest("mosquitto_sub", "public-health", &["-t", "public/health", "-E", "-W", "30"])
        .output();
    assert!(check.as_ref().unwrap().status.success(), "{check:?}");
}

#[test]
fn a_guest_that_subscribes_to_everything_receives_only_public_messages() {
    let brokers = Brokers::start();
    brokers.devices.enroll("pump-1");
    let everything = ["-t", "#", "-t", "tenant/#", "-t", "$SYS/#", "-C", "3", "-F", "heard %t %p"];
    let ear = brokers.as_guest("mosquitto_sub", "public-ear", &everything);
    let mut ear = brokers.listening(&ear, "ear");
    brokers.broadcast("public/news", "one");
    let code = brokers.devices.reason_code("pump-1", "tenant/acme/device/pump-1/telemetry");
    assert!(["0", "16"].contains(&code.as_str()), "{code}");
    assert_eq!(brokers.devices.reason_code("pump-1", "public/news"), "135");
    let said = brokers.said("public-b", &[], "public/news");
    assert!(said.contains(ACCEPTED[0]), "{said}");
    brokers.broadcast("public/end", "three");
    ear.wait_done();
    let read = brokers.devices.read("ear");
    let heard: Vec<&str> = read.lines().filter(|line| line.starts_with("heard ")).collect();
    assert_eq!(
        heard,
        ["heard public/news one", "heard public/news from a guest", "heard public/end three"]
    );
}
