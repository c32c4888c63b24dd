//! The daemon with the API of devices: bad Response Topics, retained requests, and access rules that
//! lack the line for responses.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Connect, Publish, PublishProperties};
use serde_json::Value;

use super::exchange_harness::mosquitto_pub;
use crate::support::daemon::Settings;
use crate::support::mosquitto::{self, Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::process::{find_program, run_to_end};
use crate::support::wait;

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); \
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'p1'), ('acme', 'p2')";
const TIME: &str = "tenant/acme/device/p1/request/time";
const RECONNECTS: &str = "sluice_api_reconnects_total";
const BAD: &str = "sluice_api_bad_response_topics_total";

/// A client that publishes with a Response Topic that no client library would send.
struct RawClient(TcpStream);

// === impl RawClient ===

impl RawClient {
    fn connect(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let connect =
            Connect { keep_alive: 0, client_id: "raw".into(), clean_start: true, properties: None };
        let mut bytes = BytesMut::new();
        connect.write(&None, &None, &mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
        let mut client = Self(stream);
        assert_eq!(client.packet(), 0x20);
        client
    }

    /// Publishes a request with this Response Topic; returns when the broker has it.
    fn request(&mut self, response_topic: &str) {
        let properties = PublishProperties {
            response_topic: Some(response_topic.to_owned()),
            ..PublishProperties::default()
        };
        let mut publish = Publish::new(TIME, QoS::AtLeastOnce, "{}", Some(properties));
        publish.pkid = 7;
        let mut bytes = BytesMut::new();
        publish.write(&mut bytes).unwrap();
        self.0.write_all(&bytes).unwrap();
        assert_eq!(self.packet(), 0x40, "{response_topic}");
    }

    /// Reads a short packet; returns its first byte.
    fn packet(&mut self) -> u8 {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        self.0.read_exact(&mut vec![0; head[1].into()]).unwrap();
        head[0]
    }
}

/// Asks for the time with Mosquitto's own request-response client.
fn ask_time(broker: &Mosquitto) -> String {
    let program = find_program("mosquitto_rr").expect("mosquitto-clients is installed");
    let mut command = Command::new(program);
    let port = broker.port().to_string();
    command.args(["-V", "5", "-q", "1", "-p", &port, "-W", "20", "-t", TIME, "-m", "{\"t0\":1}"]);
    command.args(["-e", "tenant/acme/device/p1/response/9", "-D", "publish", "correlation-data"]);
    run_to_end(command.args(["abc", "-F", "%t %D %p"]))
}

fn doctor(settings: &Settings) -> Value {
    let output = settings.command(&["doctor", "--output", "json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[test]
fn bad_response_topics_and_retained_requests_harm_nothing() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    database.query(REGISTRY);
    let daemon = Settings::new(&broker, &database)
        .set("DEVICE_API", "1")
        .set("DEVICE_API_BURST", "1000")
        .set("REQUIRE_TOKEN", "0")
        .start();
    daemon.wait_ready();
    let answer = ask_time(&broker);
    assert!(answer.starts_with("tenant/acme/device/p1/response/9 abc {"), "{answer}");

    let deep = format!("tenant/acme/device/p1/response/{}", "/".repeat(201));
    let long = format!("tenant/acme/device/p1/response/{}", "x".repeat(60_000));
    let bad = [
        "tenant/+/x",
        "#",
        "",
        "$SYS/a",
        "tenant/acme/device/p2/response/1",
        "coa-response",
        "tenant/acme/device/p1/response/+",
        &deep,
        &long,
    ];
    let is_sent = |topic: &&str| {
        !mosquitto::checks_response_topics()
            || sluice::domain::exchange::PublishTopic::new(*topic).is_ok()
    };
    let bad: Vec<&str> = bad.into_iter().filter(is_sent).collect();
    let all = (bad.len() * 2).to_string();
    let port = broker.port().to_string();
    let program = find_program("mosquitto_sub").unwrap();
    let ear = Command::new(program)
        .args(["-V", "5", "-p", &port, "-i", "ear", "-t", "#", "-C", &all, "-W", "60", "-F", "%t"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("it is subscribed", || broker.log().contains("Sending SUBACK to ear"));
    let mut client = RawClient::connect(broker.port());
    for (response_topic, number) in bad.iter().zip(1_u32..) {
        client.request(response_topic);
        daemon.wait_metric(BAD, f64::from(number));
        daemon.wait_metric("sluice_api_requests_total", f64::from(number + 1));
    }
    let heard = ear.wait_with_output().unwrap();
    let heard = String::from_utf8(heard.stdout).unwrap();
    let responses = heard.lines().filter(|topic| *topic != TIME);
    for topic in responses.clone() {
        assert_eq!(topic, "tenant/acme/device/p1/response/time/accepted");
    }
    assert_eq!(responses.count(), bad.len());

    // A retained request is dropped when it comes, and comes with no later subscription.
    mosquitto_pub(broker.port(), &["-q", "1", "-r", "-t", TIME, "-m", "{}"]);
    daemon.wait_metric("sluice_api_requests_dropped_total{why=\"retained\"}", 1.0);
    assert!(daemon.metric(RECONNECTS) < 1.0 && daemon.metric("sluice_api_connected") > 0.0);
    for _ in 0..5 {
        assert_eq!(daemon.terminate(), 0);
        daemon.start_again();
        daemon.wait_ready();
        ask_time(&broker);
        assert!(daemon.metric("sluice_api_requests_total") < 2.0, "its own answer alone");
    }
}

#[test]
fn without_the_line_for_responses_readiness_and_doctor_name_it() {
    let rules = "user sluice\ntopic read #\ntopic readwrite sluice/#\n\
        topic write tenant/+/device/+/commands\ntopic write tenant/+/device/+/shadow/desired\n\
        topic write tenant/+/device/+/errors\ntopic write tenant/+/device/+/notices/#\n";
    let line = "topic write tenant/+/device/+/response/#";
    let options = MosquittoOptions { acl: Some(rules.to_owned()), ..MosquittoOptions::default() };
    let broker = Mosquitto::start(options.user("sluice", "any"));
    let database = Postgres::shared().database();
    let settings = Settings::new(&broker, &database)
        .set("MQTT_USERNAME", "sluice")
        .set("MQTT_PASSWORD", "any");
    // Without an API the daemon is ready, and doctor warns.
    let publishing = |report: &Value| {
        let rows = report["findings"].as_array().unwrap();
        let row = rows.iter().find(|row| row["check"] == "broker publishing").unwrap();
        assert!(row["advice"].as_str().unwrap().contains(line), "{row}");
        row["level"].as_str().unwrap().to_owned()
    };
    let daemon = settings.start();
    daemon.wait_ready();
    assert_eq!(publishing(&doctor(&settings)), "warning");
    assert_eq!(daemon.terminate(), 0);

    let settings = settings.set("DEVICE_API", "1");
    let daemon = settings.start();
    let why = daemon.wait_unready_for(line);
    assert!(why.contains("\"api\"") && why.contains("user sluice"), "{why}");
    assert_eq!(publishing(&doctor(&settings)), "error");
    assert!(daemon.metric(RECONNECTS) < 1.0 && daemon.metric("sluice_mqtt_connected") > 0.0);
    fs::write(broker.dir().path().join("acl"), format!("{rules}{line}\n")).unwrap();
    broker.signal("HUP");
    daemon.wait_ready();
    assert!(daemon.metric(RECONNECTS) < 1.0);
    // What the daemon and doctor tried is neither stored nor refused.
    assert_eq!(database.value("SELECT count(*) FROM quarantine_events"), "0");
    assert_eq!(database.value("SELECT count(*) FROM telemetry"), "0");
}
