//! A broker that is away, refuses the login, or lets nothing be read.

use std::process::Command;

use super::wait_for_words;
use crate::pipeline::fixture::{Pipeline, TRUSTING};
use crate::support::daemon::Settings;
use crate::support::device::Device;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::process::run_to_end;
use crate::support::wait;

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'p1')";

#[test]
fn a_broker_that_is_away_at_start_is_named_and_taken_when_it_comes() {
    let database = Postgres::shared().database();
    let broker = Mosquitto::start(MosquittoOptions::default());
    broker.stop();
    let daemon = Settings::new(&broker, &database).start();
    let address = format!("127.0.0.1:{}", broker.port());
    wait_for_words(&daemon, &[&address, "start the broker", "MQTT_HOST", "MQTT_PORT"]);
    broker.start_again();
    daemon.wait_ready();
    assert!((daemon.metric("sluice_mqtt_connected") - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_wrong_password_is_named_but_not_shown_until_the_broker_accepts_it() {
    let database = Postgres::shared().database();
    let broker = Mosquitto::start(MosquittoOptions::default().user("sluice", "the-right-one"));
    let settings = Settings::new(&broker, &database);
    let daemon =
        settings.set("MQTT_USERNAME", "sluice").set("MQTT_PASSWORD", "the-wrong-one").start();
    let said =
        wait_for_words(&daemon, &["refused the connection", "MQTT_USERNAME", "MQTT_PASSWORD"]);
    assert!(!said.contains("the-wrong-one") && !daemon.log().contains("the-wrong-one"));
    let passwords = broker.dir().path().join("passwords");
    run_to_end(
        Command::new("mosquitto_passwd").arg("-b").arg(passwords).args(["sluice", "the-wrong-one"]),
    );
    broker.signal("HUP");
    daemon.wait_ready();
}

#[test]
fn an_empty_login_where_one_is_needed_names_the_settings() {
    let database = Postgres::shared().database();
    let broker = Mosquitto::start(MosquittoOptions::default().user("sluice", "the-right-one"));
    let daemon = Settings::new(&broker, &database).start();
    wait_for_words(&daemon, &["MQTT_USERNAME", "MQTT_PASSWORD"]);
}

#[test]
fn messages_that_the_broker_withheld_flow_once_its_rules_are_fixed() {
    let acl = "topic write tenant/#\ntopic read $SYS/#\n";
    let options = MosquittoOptions { acl: Some(acl.into()), ..MosquittoOptions::default() };
    let mut pipeline = Pipeline::beside(Mosquitto::start(options), &TRUSTING, REGISTRY);
    // Mosquitto's acl_file does not judge subscriptions, only messages: it grants what it will
    // never deliver.
    assert!(pipeline.broker.log().contains("tenant/+/device/+/#"));
    let mut other = Device::connect(pipeline.broker.port(), "other");
    other.publish("tenant/acme/device/p1/held-back", "{}");
    pipeline.broker.dir().write("acl", format!("{acl}topic read tenant/#\n"));
    pipeline.broker.signal("HUP");
    wait::until("the broker has read its rules again", || {
        pipeline.broker.log().contains("Reloading config")
    });
    // The rules are read in the broker's main loop, after that line; a message of each side of it
    // may come.
    wait::until("messages flow", || {
        pipeline.device.publish("tenant/acme/device/p1/free", "{}");
        pipeline.value("SELECT count(*) FROM telemetry WHERE msg_type = 'free'") != "0"
    });
    assert_eq!(pipeline.value("SELECT count(*) FROM telemetry WHERE msg_type = 'held-back'"), "0");
    pipeline.assert_unharmed();
}
