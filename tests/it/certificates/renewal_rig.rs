//! The broker of `compose/` with a device whose certificate the registry knows, a daemon that lets
//! devices renew, and `mosquitto_rr` and OpenSSL as the device.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::compose::stack::{PASSWORD_DEVICE, Stack};
use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::postgres::Postgres;
use crate::support::process::{find_program, run_to_end};
use crate::support::wait;

/// The topics of the device.
pub const TOPICS: &str = "tenant/acme/device/pump-1";

/// Lines that requests and responses need at the broker.
const ACL: &str = "\
    user sluice\n\
    topic write tenant/+/device/+/response/#\n\
    topic write tenant/+/device/+/commands\n\
    topic write tenant/+/device/+/shadow/desired\n\
    topic write tenant/+/device/+/errors\n\
    topic write tenant/+/device/+/notices/#\n\
    topic readwrite sluice/#\n\
    pattern write tenant/%u/request/#\n\
    pattern read tenant/%u/response/#\n\
    pattern read tenant/%u/notices/#\n";

/// How many certificates the device has got by renewal.
pub const RENEWED: &str = "SELECT count(*) FROM device_certificates WHERE replaces IS NOT NULL";

/// Broker, registry, and the files of the device.
pub struct RenewalRig {
    pub stack: Stack,
    pub database: Database<'static>,
    pub settings: Settings,
    /// The identifier of the device's first certificate.
    pub first: String,
}

// === impl RenewalRig ===

impl RenewalRig {
    /// With the settings that these add or change.
    pub fn new(more: &[(&str, &str)]) -> Self {
        let mut stack = Stack::prepared();
        let path = stack.path("acl.conf");
        let rules = fs::read_to_string(&path).unwrap();
        let missing: String = ACL
            .split_inclusive('\n')
            .filter(|line| line.starts_with("user") || !rules.contains(line.trim_end()))
            .collect();
        // Patterns after a `user` line are still for all.
        fs::write(&path, format!("{rules}\n{missing}")).unwrap();
        stack.allow(&["acme/device/pump-1".to_owned(), "acme/device/pump-2".to_owned()]);
        stack.launch();
        stack.wait_listening();
        let database = Postgres::shared().database();
        database.query(
            "INSERT INTO tenants VALUES ('acme', 'Acme'); \
             INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1'), ('acme', 'pump-2')",
        );
        let settings = settings(&stack, &database);
        let settings = more.iter().fold(settings, |all, (name, value)| all.set(name, value));
        let mut rig = Self { stack, database, settings, first: String::new() };
        rig.first = rig.enroll("pump-1");
        rig
    }

    /// A replica by this name.
    pub fn start(&self, name: &str) -> Daemon {
        let daemon = self.settings.clone().set("MQTT_CLIENT_ID", name).start();
        wait_answering(&daemon);
        daemon
    }

    /// A further replica, with listeners of its own.
    pub fn start_beside(&self, name: &str) -> Daemon {
        let daemon = settings(&self.stack, &self.database).set("MQTT_CLIENT_ID", name).start();
        wait_answering(&daemon);
        daemon
    }

    /// Gives a device its certificate by the script of the stack and imports it; its identifier. The
    /// device's files are `<device>.crt` and `<device>.key`.
    pub fn enroll(&self, device: &str) -> String {
        self.stack.enroll(device);
        for end in ["crt", "key"] {
            let own = self.stack.path(&format!("authority/devices/acme/{device}/device.{end}"));
            fs::copy(own, self.stack.path(&format!("{device}.{end}"))).unwrap();
        }
        let file = self.stack.text(&format!("{device}.crt"));
        let printed = self.settings.run(&["cert", "import", &file, "--output", "json"]);
        let row: Value = serde_json::from_str(&printed).unwrap();
        row["id"].as_str().unwrap().to_owned()
    }

    /// Runs OpenSSL among the files of the device; its standard output.
    pub fn openssl(&self, line: &str) -> Vec<u8> {
        let program = find_program("openssl").expect("openssl is installed");
        let output =
            Command::new(program).args(line.split(' ')).current_dir(self.stack.path(".")).output();
        let output = output.unwrap();
        assert!(output.status.success(), "openssl {line}: {output:?}");
        output.stdout
    }

    /// A new key `<name>.key` and a request for it, `<name>.csr`.
    pub fn request(&self, name: &str, subject: &str) -> String {
        let curve = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256";
        self.openssl(&format!("{curve} -out {name}.key"));
        self.request_for(name, &format!("-subj {subject}"))
    }

    /// A request for the key `<name>.key`.
    pub fn request_for(&self, name: &str, options: &str) -> String {
        self.openssl(&format!("req -new -key {name}.key {options} -out {name}.csr"));
        fs::read_to_string(self.stack.path(&format!("{name}.csr"))).unwrap()
    }

    /// The SHA-256 of `<name>.crt`, as OpenSSL prints it.
    pub fn fingerprint(&self, name: &str) -> String {
        let printed = self.openssl(&format!("x509 -in {name}.crt -noout -fingerprint -sha256"));
        let printed = String::from_utf8(printed).unwrap();
        printed.trim().split_once('=').unwrap().1.to_owned()
    }

    /// The proof for `<csr>.csr` by `<key>.key`, in base64 as OpenSSL writes it, with line ends.
    pub fn proof(&self, csr: &str, key: &str) -> String {
        self.proof_of(csr, key, "acme/device/pump-1")
    }

    /// The same for the device of this name.
    pub fn proof_of(&self, csr: &str, key: &str, device: &str) -> String {
        let der = self.openssl(&format!("req -in {csr}.csr -outform DER"));
        fs::write(self.stack.path("csr.der"), der).unwrap();
        let printed = String::from_utf8(self.openssl("dgst -sha256 -r csr.der")).unwrap();
        let hash = printed.split_once(' ').unwrap().0;
        fs::write(self.stack.path("statement"), format!("sluice-renew-v1\n{device}\n{hash}"))
            .unwrap();
        self.openssl(&format!("dgst -sha256 -sign {key}.key -out proof statement"));
        String::from_utf8(self.openssl("base64 -in proof")).unwrap()
    }

    /// The payload of a renewal: request `<csr>.csr`, proven by `<key>.crt` and `<key>.key`.
    pub fn renewal(&self, csr: &str, key: &str) -> Value {
        let pem = fs::read_to_string(self.stack.path(&format!("{csr}.csr"))).unwrap();
        json!({ "csr": pem, "certificate": self.fingerprint(key), "proof": self.proof(csr, key) })
    }

    /// Sends a request with the certificate `<with>.crt`; the response.
    pub fn send(&self, with: &str, route: &str, payload: &Value) -> Value {
        wait::for_ok(&format!("{route} is answered"), || self.try_send(with, route, payload))
    }

    /// The same once; fails if no response comes.
    pub fn try_send(&self, with: &str, route: &str, payload: &Value) -> Result<Value, String> {
        let mut command = client("mosquitto_rr", self.stack.ports[1]);
        self.identify(&mut command, with);
        read(&exchange(command, route, payload))
    }

    /// Sends it over 1883, under the name of the device with a password.
    pub fn try_send_by_password(&self, route: &str, payload: &Value) -> Result<Value, String> {
        let (user, password) = PASSWORD_DEVICE;
        let mut command = client("mosquitto_rr", self.stack.ports[0]);
        command.args(["-u", user, "-P", password]);
        read(&exchange(command, route, payload))
    }

    /// Whether the broker accepts a connection with the certificate `<with>.crt`.
    pub fn lets_in(&self, with: &str) -> bool {
        let mut command = client("mosquitto_pub", self.stack.ports[1]);
        self.identify(&mut command, with);
        command.args(["-q", "1", "-t", &format!("{TOPICS}/status"), "-m", "x"]);
        command.output().unwrap().status.success()
    }

    /// Publishes a retained request.
    pub fn publish_retained(&self, with: &str, route: &str, payload: &Value) {
        let mut command = client("mosquitto_pub", self.stack.ports[1]);
        self.identify(&mut command, with);
        let topic = format!("{TOPICS}/request/{route}");
        run_to_end(command.args(["-q", "1", "-r", "-t", &topic, "-m", &payload.to_string()]));
    }

    /// Stores what a renewal returned as `<name>.crt`.
    pub fn keep(&self, name: &str, response: &Value) {
        let pem = response["body"]["certificate"].as_str().unwrap();
        fs::write(self.stack.path(&format!("{name}.crt")), pem).unwrap();
    }

    pub fn renewed(&self) -> u64 {
        self.database.value(RENEWED).parse().unwrap()
    }

    /// Runs `work` while no statement that needs the table of certificates ends.
    pub fn while_postgres_waits(&self, work: impl FnOnce()) {
        std::thread::scope(|scope| {
            let lock = "BEGIN; LOCK TABLE device_certificates IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(9)::text; COMMIT";
            let held = scope.spawn(|| self.database.query(lock));
            let granted = "SELECT count(*) FROM pg_locks WHERE relation = 'device_certificates'::regclass AND granted \
                AND mode = 'AccessExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            self.database.wait_until(granted, "1");
            work();
            held.join().unwrap();
        });
    }

    fn identify(&self, command: &mut Command, with: &str) {
        let file = |end: &str| self.stack.path(&format!("{with}.{end}"));
        command.arg("--cafile").arg(self.stack.path("authority/server-ca.crt"));
        command.arg("--cert").arg(file("crt")).arg("--key").arg(file("key"));
    }
}

/// Waits until a daemon answers requests.
pub fn wait_answering(daemon: &Daemon) {
    daemon.wait_ready();
    daemon.wait_metric("sluice_api_connected", 1.0);
}

fn client(program: &str, port: u16) -> Command {
    let path: PathBuf = find_program(program).expect("mosquitto-clients is installed");
    let mut command = Command::new(path);
    command.args(["-V", "5", "-h", "localhost", "-p", &port.to_string()]);
    command
}

fn exchange(mut command: Command, route: &str, payload: &Value) -> Output {
    command.args(["-q", "1", "-W", "5", "-t", &format!("{TOPICS}/request/{route}")]);
    command.args(["-e", &format!("{TOPICS}/response/9"), "-m", &payload.to_string()]);
    command.output().unwrap()
}

fn settings(stack: &Stack, database: &Database<'_>) -> Settings {
    let [inner, outer, _] = stack.ports;
    Settings::empty()
        .set("MQTT_HOST", "127.0.0.1")
        .set("MQTT_PORT", &inner.to_string())
        .set("MQTT_USERNAME", "sluice")
        .set("MQTT_PASSWORD_FILE", &stack.text("sluice/mqtt_password"))
        .set("DATABASE_URL", &database.url())
        .set("CERT_AUTH_ENABLED", "1")
        .set("DEVICE_API", "1")
        .set("DEVICE_API_RPS", "1000")
        .set("DEVICE_API_BURST", "10000")
        .set("CERT_RENEW_OVER_MQTT", "1")
        .set("DEVICE_CA_CERT_PATH", &stack.text("sluice/device-ca.crt"))
        .set("DEVICE_CA_KEY_PATH", &stack.text("sluice/device-ca.key"))
        .set("CRL_OUTPUT_PATH", &stack.text("crl/device-crl.pem"))
        .set("BROKER_PROBE_ADDR", &format!("localhost:{outer}"))
        .set("BROKER_PROBE_CA_CERT", &stack.text("sluice/server-ca.crt"))
}

fn read(output: &Output) -> Result<Value, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).map_err(|error| format!("{error}: {output:?}"))
}
