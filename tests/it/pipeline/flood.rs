//! A flood from one bad device: the good ones are stored, the disk is not filled, and everything is
//! counted.

use rumqttc::v5::mqttbytes::QoS;

use crate::faults::load::{Load, assert_each_once, counted, register, settings, wait_rows};
use crate::support::device::{Device, Fate, Message};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;

/// Messages of the flood at QoS 1, and as many at QoS 0.
const FLOOD: u64 = 10_000;

/// `QUARANTINE_MAX_PER_MINUTE`.
const BUDGET: u64 = 100;

/// A minute may end during the flood, so the budget may be used twice; and past it the powers of
/// two are kept.
const KEPT: u64 = 2 * (BUDGET + FLOOD.ilog2() as u64 + 3);

#[test]
fn a_flood_from_one_device_is_sampled_and_the_others_are_stored() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    register(&database, &["wrong-token"]);
    database.query(
        "UPDATE devices SET provision_token_hash = repeat('0', 64) WHERE device_id = 'wrong-token'",
    );
    // The good ones hold certificates; the bad one has only a token, and a wrong one.
    let settings =
        settings(&broker, &database).set("CERT_AUTH_ENABLED", "1").set("REQUIRE_TOKEN", "1");
    let daemon = settings.set("QUARANTINE_MAX_PER_MINUTE", &BUDGET.to_string()).start();
    daemon.wait_ready();
    let good = ["timed-1", "timed-2", "plain-1"];
    register(&database, &good);
    for device in good {
        database.query(&format!(
            "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, \
             issuer, not_before, not_after) VALUES (gen_random_uuid(), 'acme', '{device}', \
             encode(sha256('{device}'), 'hex'), '{device}', '{device}', 'test', now() - interval '1 day', \
             now() + interval '1 day')"
        ));
    }
    let load = Load::start(&broker, &database, &good);
    let port = broker.port();
    let floods =
        [QoS::AtLeastOnce, QoS::AtMostOnce].map(|qos| std::thread::spawn(move || flood(port, qos)));
    load.grant(400);
    wait_rows(&database, 1_200);
    for flood in floods {
        flood.join().unwrap();
    }
    let accepted = load.finish();
    let refused = "sluice_quarantined_total{reason=\"TOKEN_INVALID\"}";
    daemon.wait_metric(refused, 20_000.0);
    let kept: u64 = database.value("SELECT count(*) FROM quarantine_events").parse().unwrap();
    println!("{kept} of {} refused messages are kept", 2 * FLOOD);
    assert!((BUDGET..=KEPT).contains(&kept), "{kept} rows, at most {KEPT}");
    assert_eq!(
        database.value("SELECT sum(cnt) FROM quarantine_counters_minute"),
        (2 * FLOOD).to_string()
    );
    assert_eq!(counted(&daemon, refused), 2 * FLOOD);
    assert_eq!(counted(&daemon, "sluice_quarantine_sampled_out_total"), 2 * FLOOD - kept);
    let good_ones = "sluice_messages_total{result=\"stored\"}";
    assert_eq!(counted(&daemon, good_ones), accepted.len() as u64);
    database.query("TRUNCATE quarantine_events");
    assert_each_once(&database, &accepted);
}

#[test]
fn a_flood_that_only_the_database_refuses_is_thinned_as_well() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    register(&database, &["liar", "timed-1"]);
    let daemon =
        settings(&broker, &database).set("QUARANTINE_MAX_PER_MINUTE", &BUDGET.to_string()).start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &["timed-1"]);
    let port = broker.port();
    // An accepted device acknowledges commands it never got: only the table of commands shows it.
    let made_up = |number: u64| {
        let payload = format!(
            "{{\"command_id\":\"00000000-0000-4000-8000-{number:012}\",\"status\":\"done\"}}"
        );
        Message::new("tenant/acme/device/liar/commands/ack", payload).qos(QoS::AtLeastOnce)
    };
    let flood = std::thread::spawn(move || {
        let mut device = Device::connect(port, "liar");
        for start in (0..FLOOD).step_by(500) {
            let messages: Vec<Message> = (start..start + 500).map(made_up).collect();
            assert!(device.publish_all(&messages).iter().all(|fate| *fate == Fate::Accepted));
        }
    });
    load.grant(400);
    wait_rows(&database, 400);
    flood.join().unwrap();
    let accepted = load.finish();
    let refused = "sluice_quarantined_total{reason=\"STORE_REJECTED\"}";
    daemon.wait_metric(refused, 10_000.0);
    let kept: u64 = database.value("SELECT count(*) FROM quarantine_events").parse().unwrap();
    println!("{kept} of {FLOOD} messages that the database refused are kept");
    assert!((BUDGET..=KEPT).contains(&kept), "{kept} rows, at most {KEPT}");
    assert_eq!(
        database.value("SELECT sum(cnt) FROM quarantine_counters_minute"),
        FLOOD.to_string()
    );
    assert_eq!(counted(&daemon, "sluice_quarantine_sampled_out_total"), FLOOD - kept);
    database.query("TRUNCATE quarantine_events");
    assert_each_once(&database, &accepted);
}

fn flood(port: u16, qos: QoS) {
    let mut device = Device::connect(port, &format!("flood-{qos:?}"));
    for start in (0..FLOOD).step_by(500) {
        let message = |number: u64| {
            let payload =
                format!("{{\"seq\":{number},\"provision_token\":\"guessed\",\"metrics\":{{}}}}");
            Message::new("tenant/acme/device/wrong-token/telemetry", payload).qos(qos)
        };
        let messages: Vec<Message> = (start..start + 500).map(message).collect();
        assert!(device.publish_all(&messages).iter().all(|fate| *fate == Fate::Accepted));
    }
}
