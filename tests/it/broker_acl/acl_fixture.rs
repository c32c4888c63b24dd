//! A broker whose access rules Sluice writes, a database, and devices that are known by their user
//! names.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::device::{Device, Fate, Message};
use crate::support::dir::Scratch;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::process::{find_program, run_to_end};
use crate::support::wait;

pub const CURRENT: &str = "sluice_broker_acl_current";
pub const WRITTEN: &str = "sluice_broker_acl_written_total";

/// The operator's lines: Sluice itself, and a type of message that no built-in list knows.
pub const TEMPLATE: &str = "user sluice\ntopic read tenant/+/device/+/#\ntopic read $SYS/#\n\
    pattern write tenant/%u/telemetry/#\npattern write tenant/%u/door\npattern read tenant/%u/commands/#\n";

pub struct AclFixture {
    pub broker: Mosquitto,
    pub database: Database<'static>,
    pub dir: Scratch,
}

// === impl AclFixture ===

impl AclFixture {
    /// With the tenant acme and its devices d0 and d1; the broker begins with the operator's lines
    /// alone.
    pub fn new() -> Self {
        let dir = Scratch::new("rules");
        let output = dir.write("acl", TEMPLATE);
        dir.write("template", TEMPLATE);
        let broker = Mosquitto::start(
            MosquittoOptions::default().line(&format!("acl_file {}", output.to_str().unwrap())),
        );
        dir.write("broker.pid", format!("{}\n", broker.pid()));
        let database = Postgres::shared().database();
        database.query("INSERT INTO tenants VALUES ('acme', 'Acme')");
        database.query(
            "INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'd0'), ('acme', 'd1')",
        );
        Self { broker, database, dir }
    }

    /// Of a replica by this name.
    pub fn settings(&self, name: &str) -> Settings {
        let path = |file: &str| self.path(file).to_str().unwrap().to_owned();
        Settings::new(&self.broker, &self.database)
            .set("MQTT_USERNAME", "sluice")
            .set("MQTT_PASSWORD", "any")
            .set("MQTT_CLIENT_ID", name)
            .set("MQTT_SHARE_GROUP", "pair")
            .set("REQUIRE_TOKEN", "0")
            .set("ACL_OUTPUT_PATH", &path("acl"))
            .set("ACL_TEMPLATE_PATH", &path("template"))
            .set("BROKER_PID_FILE", &path("broker.pid"))
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn file(&self) -> String {
        fs::read_to_string(self.path("acl")).unwrap()
    }

    /// A live session of a device of the tenant acme.
    pub fn device(&self, device: &str) -> Device {
        let name = format!("acme/device/{device}");
        Device::try_connect(self.broker.port(), &name, Some((&name, "any"))).unwrap()
    }

    /// Whether the broker of this test is of 2.1 or later.
    pub fn needs_rows() -> bool {
        let program = find_program("mosquitto").unwrap();
        let output = Command::new(program).arg("-h").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        !text.contains("mosquitto version 2.0.")
    }

    /// What a subscriber with this user name gets when this is published for it.
    pub fn hears(&self, user: &str, topic: &str) -> bool {
        let port = self.broker.port().to_string();
        let client = |program: &str| {
            let mut command = Command::new(find_program(program).unwrap());
            command.args(["-p", &port, "-V", "5"]);
            command
        };
        // Retained: it is there whenever the subscription is.
        run_to_end(
            client("mosquitto_pub").args(["-u", "sluice", "-t", topic, "-r", "-m", "x", "-q", "1"]),
        );
        let mut subscriber = client("mosquitto_sub");
        subscriber.args(["-u", user, "-t", topic, "-C", "1", "-W", "1"]);
        subscriber.output().unwrap().stdout == b"x\n"
    }
}

/// Waits until the rules are written and the broker was notified of them.
pub fn wait_current(daemon: &Daemon) {
    daemon.wait_ready();
    daemon.wait_metric(CURRENT, 1.0);
}

/// What became of one message to this topic.
pub fn fate(device: &mut Device, topic: &str) -> Fate {
    device.publish_all(&[Message::new(topic, "{}")]).remove(0)
}

pub fn is_refused(device: &mut Device, topic: &str) -> bool {
    matches!(fate(device, topic), Fate::Refused(_))
}

/// Waits until a live session may, or may no longer, publish there.
pub fn wait_refused(device: &mut Device, topic: &str, refused: bool) {
    wait::for_ok(&format!("refused is {refused} for {topic}"), || match fate(device, topic) {
        Fate::Unknown => panic!("the session ended{}", wait::log_tails()),
        Fate::Refused(_) if refused => Ok(()),
        Fate::Accepted if !refused => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
