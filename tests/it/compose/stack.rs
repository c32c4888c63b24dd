//! The broker of `compose/`, from its own files: made ready by `prepare.sh`, run by `broker.sh`,
//! told by the very same `mosquitto.conf` and `acl.conf`.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::support::dir::{Scratch, we_are_root};
use crate::support::mosquitto::rows_for;
use crate::support::port;
use crate::support::process::{Launch, Process, find_program, read_log, run_to_end, search_path};
use crate::support::wait;

/// A user by password with a device's name, which the access rules then take for that device.
pub const PASSWORD_DEVICE: (&str, &str) = ("acme/device/pump-1", "the-pump-has-a-password");

/// The devices that the broker's access rules know, also where each needs rows of its own.
const DEVICES: [&str; 3] = ["acme/device/pump-1", "acme/device/pump-2", "acme/device/pump-3"];

/// The stack's broker; it ends when this is dropped.
pub struct Stack {
    process: Option<Process>,
    /// Without TLS, with TLS, websockets.
    pub ports: [u16; 3],
    dir: Scratch,
}

/// A subscriber in the background; it is killed when this is dropped.
pub struct Listener(Child);

// === impl Stack ===

impl Stack {
    /// Prepared, started, and listening.
    pub fn start() -> Self {
        let mut stack = Self::prepared();
        stack.launch();
        stack.wait_listening();
        stack
    }

    /// Prepared, and not started.
    pub fn prepared() -> Self {
        let stack = Self {
            process: None,
            ports: [port::free(), port::free(), port::free()],
            dir: Scratch::new("stack"),
        };
        stack.prepare();
        let (user, password) = PASSWORD_DEVICE;
        let passwords = stack.path("broker/passwords");
        run_to_end(
            Command::new(program("mosquitto_passwd"))
                .arg("-b")
                .arg(passwords)
                .args([user, password]),
        );
        fs::create_dir(stack.path("data")).unwrap();
        let shipped = fs::read_to_string(repository("compose/mosquitto/acl.conf")).unwrap();
        stack.dir.write("acl.conf", shipped);
        stack.allow(&DEVICES.map(str::to_owned));
        stack.dir.write("mosquitto.conf", stack.configuration("mosquitto.conf"));
        stack
    }

    /// Lets devices with these user names have what the shipped patterns say, also on a broker
    /// where each needs rows.
    pub fn allow(&self, names: &[String]) {
        let rules = self.read("acl.conf");
        self.dir.write("acl.conf", format!("{rules}{}", rows_for(&rules, names)));
    }

    /// Runs `prepare.sh`; what it printed.
    pub fn prepare(&self) -> String {
        self.prepare_with(&[])
    }

    /// The same with more settings.
    pub fn prepare_with(&self, envs: &[(&str, &str)]) -> String {
        let of_root = fs::metadata(self.dir.path()).unwrap();
        let own = format!("{}:{}", of_root.uid(), of_root.gid());
        let mut command = Command::new("/bin/sh");
        command.arg(repository("compose/init/prepare.sh")).env("SECRETS_ROOT", self.dir.path());
        command
            .env("CRL_DIR", self.path("crl"))
            .env("PLUGIN_DIR", self.path("plugin"))
            .env("POSTGRES_DATA", self.path("tables"))
            .env("GENERATE", repository("scripts/generate_device_ca.sh"));
        for owner in ["SLUICE_OWNER", "BROKER_OWNER", "POSTGRES_OWNER", "GRAFANA_OWNER"] {
            command.env(owner, &own);
        }
        command.envs(envs.iter().copied());
        run_to_end(command.env("SERVER_NAMES", "mqtt.example.org 192.0.2.7"))
    }

    pub fn launch(&mut self) {
        let settings = [
            ("MOSQUITTO_CONF", "mosquitto.conf"),
            ("CRL_PUBLISHED", "crl/device-crl.pem"),
            ("CRL_TAKEN", "data/device-crl.pem"),
            ("CRL_AUTHORITY", "broker/device-ca.crt"),
            ("ACL_PUBLISHED", "crl/acl.conf"),
            ("ACL_SHIPPED", "acl.conf"),
            ("ACL_TAKEN", "data/acl.conf"),
        ];
        let mut envs: Vec<(String, String)> =
            settings.iter().map(|(name, file)| ((*name).to_owned(), self.text(file))).collect();
        envs.push(("CRL_SETTLE_SECONDS".into(), "0.1".into()));
        let script = repository("compose/mosquitto/broker.sh").to_str().unwrap().to_owned();
        self.process = Some(Process::start(Launch {
            name: "broker.sh",
            // A shell cannot trap a signal that was ignored when it began, as under nohup; in a
            // container none is.
            program: Path::new("/usr/bin/env"),
            args: vec!["--default-signal=HUP".into(), "/bin/sh".into(), script],
            envs,
            log: &self.path("log"),
            dir: self.dir.path(),
            account: None,
            // It ends the broker; killed, it could not.
            parting: "TERM",
        }));
    }

    /// The broker alone, without the process that watches its CRL; its PID file.
    pub fn launch_alone(&mut self) -> PathBuf {
        fs::copy(self.path("crl/device-crl.pem"), self.path("data/device-crl.pem")).unwrap();
        fs::copy(self.path("acl.conf"), self.path("data/acl.conf")).unwrap();
        self.process = Some(Process::start(Launch {
            name: "mosquitto",
            program: &program("mosquitto"),
            args: vec!["-c".into(), self.text("mosquitto.conf")],
            envs: Vec::new(),
            log: &self.path("log"),
            dir: self.dir.path(),
            account: None,
            parting: "KILL",
        }));
        self.wait_listening();
        let pid = self.process().pid().to_string();
        self.dir.write("mosquitto.pid", pid + "\n")
    }

    pub fn wait_listening(&mut self) {
        for port in self.ports {
            wait::until("the broker listens", || {
                assert!(
                    self.process.as_mut().unwrap().is_running(),
                    "broker.sh ended{}",
                    wait::log_tails()
                );
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("broker.sh is running")
    }

    /// Ends it; the exit code of `broker.sh`.
    pub fn stop(&mut self) -> i32 {
        let mut process = self.process.take().expect("broker.sh is running");
        process.signal("TERM", &[]);
        process.wait()
    }

    pub fn log(&self) -> String {
        read_log(&self.path("log"))
    }

    /// Waits until the log has this line this many times.
    pub fn wait_said(&self, words: &str, times: usize) {
        wait::for_ok(&format!("the broker's log says {times} times: {words}"), || {
            match self.log().matches(words).count() {
                count if count >= times => Ok(()),
                count => Err(format!("{count} times")),
            }
        });
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same, for arguments.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The content of a file.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `test_mtls_device.sh` for this device, against this broker.
    pub fn try_device(&self, tenant: &str, device: &str, envs: &[(&str, &str)]) -> Output {
        let mut command = script("scripts/test_mtls_device.sh");
        command.args([
            "--dir",
            &self.text("authority"),
            tenant,
            device,
            "localhost",
            &self.ports[1].to_string(),
        ]);
        command.envs(envs.iter().copied()).output().unwrap()
    }

    /// Gives a device of the tenant acme its certificate, by the script, which also publishes once.
    pub fn enroll(&self, device: &str) {
        let output = self.try_device("acme", device, &[]);
        assert!(output.status.success(), "{output:?}{}", wait::log_tails());
    }

    /// `mosquitto_pub` or `mosquitto_sub` over MQTT 5 on 8883, as a device of the tenant acme, or
    /// as nobody.
    pub fn over_tls(
        &self,
        program_name: &str,
        device: Option<&str>,
        arguments: &[&str],
    ) -> Command {
        let mut command = self.client(program_name, 1, arguments);
        command.arg("--cafile").arg(self.path("authority/server-ca.crt"));
        if let Some(device) = device {
            let own = self.path(&format!("authority/devices/acme/{device}"));
            command
                .arg("--cert")
                .arg(own.join("device.crt"))
                .arg("--key")
                .arg(own.join("device.key"));
        }
        command
    }

    /// The same on 1883, with a name and a password.
    pub fn by_password(
        &self,
        program_name: &str,
        login: Option<(&str, &str)>,
        arguments: &[&str],
    ) -> Command {
        let mut command = self.client(program_name, 0, arguments);
        if let Some((user, password)) = login {
            command.args(["-u", user, "-P", password]);
        }
        command
    }

    /// The reason code with which the broker acknowledged a message of this device.
    pub fn reason_code(&self, device: &str, topic: &str) -> String {
        let output = self
            .over_tls("mosquitto_pub", Some(device), &["-d", "-q", "1", "-t", topic, "-m", "x"])
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        let code = said.split_once("RC:").and_then(|(_, rest)| rest.split_once(')'));
        code.unwrap_or_else(|| panic!("no PUBACK for {topic}: {said}")).0.to_owned()
    }

    /// Whether a device gets in now.
    pub fn lets_in(&self, device: &str) -> bool {
        let arguments =
            ["-q", "1", "-t", &format!("tenant/acme/device/{device}/status"), "-m", "x"];
        self.over_tls("mosquitto_pub", Some(device), &arguments).output().unwrap().status.success()
    }

    /// How often the broker ended a session of this device because another client took its name.
    pub fn takeovers(&self, device: &str) -> usize {
        let name = format!("Client acme/device/{device} ");
        let log = self.log();
        let of_device = log.lines().filter(|line| line.contains(&name));
        // As 2.0 and as 2.1 log it.
        of_device
            .filter(|line| {
                line.contains("already connected, closing old")
                    || line.ends_with("session taken over.")
            })
            .count()
    }

    /// Starts a subscriber in the background and waits until the broker has confirmed its
    /// subscription.
    pub fn listening(&self, command: &Command, file: &str) -> Listener {
        let log = fs::File::create(self.path(file)).unwrap();
        // Lines as they come, not when a buffer is full.
        let mut lined = Command::new("stdbuf");
        lined
            .arg("-oL")
            .arg(command.get_program())
            .args(command.get_args())
            .arg("-d")
            .env("PATH", search_path());
        let child = lined
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let listener = Listener(child);
        wait::until("the subscription stands", || {
            read_log(&self.path(file)).contains("Subscribed (mid")
        });
        listener
    }

    fn client(&self, program_name: &str, listener: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(program_name));
        command
            .args(["-V", "mqttv5", "-h", "localhost", "-p", &self.ports[listener].to_string()])
            .args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// A shipped configuration with other paths, ports and user, and not a word else.
    pub fn configuration(&self, file: &str) -> String {
        let mut text = fs::read_to_string(repository("compose/mosquitto").join(file)).unwrap();
        let mut replace = |from: &str, to: &str| {
            assert!(text.contains(from), "{from} is in mosquitto.conf");
            text = text.replace(from, to);
        };
        for (number, port) in ["1883", "8883", "9001"].iter().zip(self.ports) {
            replace(&format!("\nlistener {number}\n"), &format!("\nlistener {port} 127.0.0.1\n"));
        }
        replace("/run/secrets/", &self.text("broker/"));
        replace("/mosquitto/data/", &self.text("data/"));
        if we_are_root() {
            // Else it becomes user mosquitto, who may not write here.
            replace("\nuser mosquitto\n", "\nuser root\n");
        }
        text
    }
}

// === impl Listener ===

impl Listener {
    /// Waits until it has received as much as expected.
    pub fn wait_done(&mut self) {
        let ended = wait::for_some("the subscriber has heard it", || self.0.try_wait().unwrap());
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // One that has ended is no failure.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A script of this repository, run by the plain shell it asks for, with nothing of this machine's
/// settings.
pub fn script(path: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .arg(repository(path))
        .env_clear()
        .env("PATH", search_path())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

/// What a script or a program wrote, to both.
pub fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn program(name: &str) -> PathBuf {
    find_program(name)
        .unwrap_or_else(|| panic!("{name} is not installed; scripts/test installs it"))
}
