//! A device whose topics the other broker refuses, and that makes up more of them than a lane remembers:
//! it harms only its own messages, and fills no log.

use super::sender::{WAITING, link, linked, publish};
use crate::support::device::{Device, Message};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::wait;

/// Most topics of a lane that wait.
const REMEMBERED: usize = 1024;
const TOPICS: usize = 1200;

/// What the log has of one refused topic, and of all further ones.
const REFUSED: &str = "the messages of this topic wait";
const SUMMARY: &str = "the other broker refuses messages again and again";

#[test]
fn a_device_that_makes_up_topics_fills_no_log_and_costs_no_other_device_a_message() {
    let acl = "topic readwrite up/timed-2/#\n";
    let options = MosquittoOptions { acl: Some(acl.to_owned()), ..MosquittoOptions::default() };
    let cloud = Mosquitto::start(options);
    let file = link("away", cloud.port(), "refuse_after = \"1h\"")
        .replace("telemetry\", to = \"up/{device}\"", "#\", to = \"up/{device}/{type}\"");
    let it = linked(&file, &["timed-1", "timed-2", "timed-3"]);
    // A topic of another device waits, too.
    publish(&it, "timed-3", 0, 2);
    wait::until("it is refused", || it.daemon.log().contains(REFUSED));
    let flood: Vec<Message> = (0..TOPICS)
        .map(|number| {
            let topic = format!("tenant/acme/device/timed-1/telemetry/s{number}");
            Message::new(topic, format!(r#"{{"seq":{number},"metrics":{{"a":1}}}}"#))
        })
        .collect();
    Device::connect(it.broker.port(), "timed-1").publish_all(&flood);
    publish(&it, "timed-2", 0, 20);
    it.daemon.wait_metric("sluice_link_published_total{link=\"away\"}", 20.0);
    // One of the remembered topics is that of the other device.
    let excess = TOPICS - (REMEMBERED - 1);
    let dead = "SELECT count(*) FROM link_refused WHERE device_id = 'timed-1'";
    it.database.wait_until(dead, &excess.to_string());
    it.database.wait_until(WAITING, &(TOPICS - excess + 2).to_string());
    assert_eq!(it.database.value("SELECT count(*) FROM link_refused"), excess.to_string());
    let refusals = "sluice_link_refusals_total{code=\"0x87\",link=\"away\",packet=\"PUBACK\"}";
    assert!(it.daemon.metric(refusals) >= 1201.0, "{}", it.daemon.metric(refusals));
    let log = it.daemon.log();
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!((lines(REFUSED), lines(SUMMARY)), (20, 1), "{log}");
}
