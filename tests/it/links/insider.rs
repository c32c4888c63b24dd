//! Attacks with valid access: a device with its certificate and its token at the broker as it is
//! shipped, and a client of the other broker that may publish there. Each harms only itself.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::cloud::CloudBroker;
use super::events::{base64, publish};
use super::linked::{judge, mqtt_link};
use super::rig::Peer;
use crate::broker::tls::Authority;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions, TlsListener, rows_for};
use crate::support::process::find_program;
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

/// The access rules that are shipped.
const SHIPPED: &str = include_str!("../../../compose/mosquitto/acl.conf");

/// What a device may publish goes out in three modes.
const RULES: &str = "publish = [\n\
    { from = \"tenant/+/device/+/telemetry/#\", to = \"devices/{device}/binary\", mode = \"binary\" },\n\
    { from = \"tenant/+/device/+/event\", to = \"devices/{device}/structured\", mode = \"structured\" },\n\
    { from = \"tenant/+/device/+/status\", to = \"devices/{device}/raw\", mode = \"raw\" },\n]\n";

/// A daemon as it is shipped, with two devices, and what the first one has: certificate and token.
struct Insider {
    it: TestDaemon,
    authority: Authority,
    certificate: PathBuf,
    key: PathBuf,
    token: String,
    other_token: String,
}

// === impl Insider ===

impl Insider {
    fn start(links: &str) -> Self {
        let authority = Authority::new();
        let (server, server_key) = authority.sign("server");
        let builder = TestDaemon::builder().registry("").authority(400);
        let settings = builder.settings().clone();
        let path = |name: &str| settings.dir().path().join(name);
        settings.run(&["tenant", "add", "acme"]);
        let [token, other_token] = ["d1", "d2"].map(|device| {
            let added = settings.run(&["device", "add", "acme", device, "--output", "json"]);
            let added: Value = serde_json::from_str(&added).unwrap();
            added["token"].as_str().unwrap().to_owned()
        });
        let (key, certificate) = (path("d1.key"), path("d1.crt"));
        let line = ["cert", "issue", "acme", "d1", "--new-key", "--key-out", key.to_str().unwrap()];
        settings.run(&[&line[..], &["--out", certificate.to_str().unwrap()]].concat());
        let names = ["acme/device/d1", "acme/device/d2"].map(str::to_owned);
        let tls = TlsListener {
            ca: path("ca.crt"),
            certificate: server,
            key: server_key,
            crl: None,
            mutual: true,
            names_by_certificate: true,
        };
        let options = MosquittoOptions {
            acl: Some(format!("{SHIPPED}\n{}", rows_for(SHIPPED, &names))),
            tls: Some(tls),
            ..MosquittoOptions::default()
        };
        let broker = Mosquitto::start(options.user("sluice", "s3cret"));
        let it = builder
            .on_broker(broker)
            .set("MQTT_USERNAME", "sluice")
            .set("MQTT_PASSWORD", "s3cret")
            .file("LINKS_PATH", "links.toml", links)
            .start_ready();
        it.daemon.wait_metric("sluice_link_up{lane=\"0\",link=\"cloud\"}", 1.0);
        Self { it, authority, certificate, key, token, other_token }
    }

    /// Publishes as the device, with `mosquitto_pub` and these options; whether the broker took it.
    fn publish(&self, topic: &str, payload: &str, options: &[&str]) -> bool {
        let Output { status, stdout, stderr } =
            Command::new(find_program("mosquitto_pub").expect("mosquitto_pub is not installed"))
                .args(["-V", "5", "-h", "127.0.0.1", "-p"])
                .arg(self.it.broker.tls_port().to_string())
                .arg("--cafile")
                .arg(self.authority.path("ca.crt"))
                .arg("--cert")
                .arg(&self.certificate)
                .arg("--key")
                .arg(&self.key)
                .args(["-i", "d1", "-q", "1", "-t", topic, "-m", payload])
                .args(options)
                .output()
                .unwrap();
        let said = [stdout, stderr].concat();
        status.success() && !String::from_utf8_lossy(&said).to_lowercase().contains("not auth")
    }

    /// A payload with the device's token and these members.
    fn payload(&self, members: &Value) -> String {
        let mut body = json!({ "provision_token": self.token });
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        body.to_string()
    }

    /// No table, no log line and no metric has a token.
    fn assert_secret(&self) {
        let tables = "SELECT string_agg(format('%I', table_name), ' ') FROM information_schema.tables \
                      WHERE table_schema = 'public' AND table_type = 'BASE TABLE'";
        for table in self.it.database.value(tables).split(' ') {
            for token in [&self.token, &self.other_token] {
                // A payload is text in a column of bytes.
                let hex: String = token.bytes().fold(String::new(), |mut hex, byte| {
                    write!(hex, "{byte:02x}").unwrap();
                    hex
                });
                let found = format!(
                    "SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%{token}%' OR t::text LIKE '%{hex}%'"
                );
                assert_eq!(self.it.database.value(&found), "0", "{table} has the token");
            }
        }
        let shown = [self.it.daemon.log(), self.it.daemon.get("/metrics").unwrap().1].concat();
        assert!(!shown.contains(&self.token) && !shown.contains(&self.other_token));
    }
}

/// The judge's messages, in order.
fn messages(judge: &Peer) -> Vec<Value> {
    judge.json().into_iter().filter(|line| line.get("topic").is_some()).collect()
}

/// The options of `mosquitto_pub` that make a message look like an event of another device.
fn forged() -> Vec<&'static str> {
    let properties: [&[&str]; 8] = [
        &["content-type", "application/cloudevents+json"],
        &["response-topic", "tenant/acme/device/d2/commands"],
        &["correlation-data", "1"],
        &["message-expiry-interval", "60"],
        &["payload-format-indicator", "0"],
        &["user-property", "specversion", "1.0"],
        &["user-property", "source", "/sluice/north/acme/d2"],
        &["user-property", "sluicenode", "north"],
    ];
    properties.iter().flat_map(|one| ["-D", "publish"].iter().chain(*one)).copied().collect()
}

#[test]
fn a_device_with_certificate_and_token_gets_out_only_its_own_messages() {
    let cloud = CloudBroker::open();
    let judge = judge(cloud.broker.port());
    let link = mqtt_link("cloud", cloud.broker.port(), RULES);
    let attacker = Insider::start(&format!("node = \"north\"\n{link}"));
    let own = |msg_type: &str| format!("tenant/acme/device/d1/{msg_type}");
    let sent = |number: u64| attacker.payload(&json!({ "seq": number }));
    // Whatever it puts around a message, the message stays one of this device.
    for (number, msg_type) in (1..).zip(["telemetry", "event", "status"]) {
        assert!(attacker.publish(&own(msg_type), &sent(number), &forged()), "{msg_type}");
    }
    assert!(attacker.publish(&own("telemetry/a/b/c/d/e/f/g/h"), &sent(4), &["-q", "2"]));
    assert!(attacker.publish(&own("telemetry"), &sent(5), &["-q", "0", "-r"]));
    attacker.it.database.wait_until("SELECT count(*) FROM telemetry", "5");
    // The broker as shipped lets it publish nowhere else.
    for topic in [
        "tenant/acme/device/d2/telemetry",
        "tenant/acme/device/d1/commands",
        "tenant/acme/device/d1/response/x",
        "tenant/other/device/d1/telemetry",
        "devices/d2/binary",
        "$SYS/broker/uptime",
        "sluice/marker",
        "symphony/request/d1",
    ] {
        assert!(!attacker.publish(topic, &sent(6), &[]), "{topic}");
    }
    // Its own topic with another's identity or token.
    for (members, reason) in [
        (json!({ "device_id": "d2" }), "DEVICE_MISMATCH_TOPIC_VS_PAYLOAD"),
        (json!({ "tenant_id": "other" }), "TENANT_MISMATCH_TOPIC_VS_PAYLOAD"),
        (json!({ "provision_token": attacker.other_token }), "TOKEN_INVALID"),
        (json!({ "provision_token": "" }), "TOKEN_"),
        (json!({ "note": "x".repeat(20_000) }), "PAYLOAD_TOO_LARGE"),
    ] {
        let reasons = "SELECT count(*) FROM quarantine_events";
        let before: u64 = attacker.it.database.value(reasons).parse().unwrap();
        assert!(attacker.publish(&own("telemetry"), &attacker.payload(&members), &forged()));
        attacker.it.database.wait_until(reasons, &(before + 1).to_string());
        let last = "SELECT reason FROM quarantine_events ORDER BY received_at DESC LIMIT 1";
        let found = attacker.it.database.value(last);
        assert!(found.starts_with(reason), "{reason}: {found}");
    }
    // A device that may publish no longer keeps its certificate.
    attacker.it.settings.run(&["device", "set-status", "acme", "d1", "INACTIVE"]);
    wait::until("its messages are refused", || {
        attacker.publish(&own("telemetry"), &sent(7), &[]);
        let refused = "SELECT count(*) > 0 FROM quarantine_events WHERE reason = 'DEVICE_INACTIVE'";
        attacker.it.database.value(refused) == "t"
    });
    attacker.it.database.wait_until("SELECT count(*) FROM link_outbox", "0");
    wait::until("the five have arrived", || messages(&judge).len() >= 5);
    for message in messages(&judge).iter().take(5) {
        let topic = message["topic"].as_str().unwrap();
        assert!(topic.starts_with("devices/d1/"), "{message}");
        if topic.ends_with("/raw") {
            assert_eq!(message["properties"].get("specversion"), None, "{message}");
        } else {
            let event = &message["event"];
            assert_eq!(event["source"], json!("/sluice/north/acme/d1"), "{message}");
            assert_eq!(event["sluicenode"], json!("north"), "{message}");
        }
        let payload = STANDARD.decode(message["payload"].as_str().unwrap()).unwrap();
        let payload = String::from_utf8(payload).unwrap();
        assert!(payload.contains("seq") && !payload.contains(&attacker.token), "{payload}");
        assert!(!message.to_string().contains(&attacker.token), "{message}");
    }
    assert_eq!(attacker.it.database.value("SELECT count(*) FROM link_refused"), "0");
    attacker.assert_secret();
}

#[test]
fn a_client_of_the_other_broker_reaches_no_token_no_command_and_no_answer() {
    let cloud = CloudBroker::open();
    let port = cloud.broker.port();
    let more = "ingest = [{ filter = \"in/#\", tenant = \"acme\", device = \"{2}\", type = \"{3}\" }]\n\
                publish = [{ from = \"tenant/+/device/+/#\", to = \"devices/{device}/{type}\", mode = \"raw\" }]\n";
    let attacker = Insider::start(&format!("node = \"north\"\n{}", mqtt_link("cloud", port, more)));
    attacker.it.settings.run(&["device", "set-status", "acme", "d2", "INACTIVE"]);
    let plain = |topic: &str, body: &Value| {
        json!({ "topic": topic, "payload": base64(&body.to_string()),
                "content_type": "application/json",
                "response_topic": "devices/answers", "correlation": "1" })
    };
    let (own, other) = (&attacker.token, &attacker.other_token);
    let sent = [
        // A link needs no token; one in a payload is neither stored nor judged.
        plain("in/d1/telemetry", &json!({ "seq": 1, "provision_token": own })),
        plain("in/d1/telemetry", &json!({ "seq": 2, "provision_token": other })),
        plain("in/d1/telemetry", &json!({ "seq": 3, "device_id": "d2", "provision_token": other })),
        plain("in/d2/telemetry", &json!({ "seq": 4, "provision_token": other })),
        // Requests and what only the platform publishes have no effect over a link.
        plain("in/d1/request", &json!({ "provision_token": own })),
        plain("in/d1/commands", &json!({ "command": "reboot" })),
        plain("in/d1/errors", &json!({ "seq": 5 })),
        plain("in/d1/telemetry", &json!({ "seq": 6, "note": "x".repeat(20_000) })),
        plain("in/d1/telemetry", &json!({ "seq": 99 })),
    ];
    publish(port, &json!(sent));
    attacker.it.database.wait_until("SELECT count(*) FROM telemetry WHERE seq = 99", "1");
    let rows =
        "SELECT string_agg(device_id || ' ' || seq, ', ' ORDER BY received_at) FROM telemetry";
    assert_eq!(attacker.it.database.value(rows), "d1 1, d1 2, d1 99");
    let reasons = "SELECT string_agg(reason, ' ' ORDER BY received_at) FROM quarantine_events";
    assert_eq!(
        attacker.it.database.value(reasons),
        "DEVICE_MISMATCH_TOPIC_VS_PAYLOAD DEVICE_INACTIVE PAYLOAD_TOO_LARGE"
    );
    // What came over this link does not go out over it, and nothing was answered at either broker.
    assert_eq!(attacker.it.database.value("SELECT count(*) FROM link_outbox"), "0");
    assert_eq!(cloud.count("'devices/"), 0, "nothing is published there");
    let local = attacker.it.broker.log();
    assert!(!local.contains("'tenant/acme/device/d1/response") && !local.contains("/commands'"));
    attacker.assert_secret();
}
