//! Errors to devices: who receives one, how often, what it says; and that nothing waits for it.

use std::iter;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::pipeline::fixture::{Pipeline, TRUSTING, to};
use crate::support::device::Message;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::process::{Launch, Process, find_program, read_log};
use crate::support::wait;

const REGISTRY: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', ''); \
    INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'pump-' || n FROM generate_series(1, 300) n";

const SETTINGS: [(&str, &str); 2] = [TRUSTING[0], ("DEVICE_ERRORS", "1")];

/// Everything that `mosquitto_sub` receives on the topic of errors, one line each.
struct Errors {
    _process: Process,
    log: PathBuf,
}

impl Errors {
    fn subscribe(broker: &Mosquitto) -> Self {
        let log = broker.dir().path().join("errors.log");
        let format = "%t retain=%r qos=%q expiry=%E type=%C %p";
        let args = [
            "-V",
            "5",
            "-p",
            &broker.port().to_string(),
            "-q",
            "1",
            "-t",
            "tenant/+/device/+/errors",
            "-t",
            "subscribed",
            "-F",
            format,
        ];
        let process = Process::start(Launch {
            name: "mosquitto_sub",
            program: &find_program("mosquitto_sub").expect("mosquitto_sub is not installed"),
            args: args.map(str::to_owned).to_vec(),
            envs: Vec::new(),
            log: &log,
            dir: broker.dir().path(),
            account: None,
            parting: "KILL",
        });
        let errors = Self { _process: process, log };
        let mut probe = crate::support::device::Device::connect(broker.port(), "probe");
        wait::until("mosquitto_sub is subscribed", || {
            probe.publish("subscribed", "");
            read_log(&errors.log).contains("subscribed ")
        });
        errors
    }

    /// Properties and payload of each error.
    fn all(&self) -> Vec<(String, Value)> {
        let log = read_log(&self.log);
        let errors = log.lines().filter(|line| line.starts_with("tenant/"));
        let split = errors.filter_map(|line| line.split_once(" {"));
        split
            .map(|(head, body)| {
                (head.to_owned(), serde_json::from_str(&format!("{{{body}")).unwrap())
            })
            .collect()
    }
}

fn count(pipeline: &Pipeline, result: &str) -> f64 {
    pipeline.daemon.metric(&format!("sluice_device_errors_total{{result=\"{result}\"}}"))
}

#[test]
fn a_device_receives_one_error_a_minute_for_each_reason() {
    let mut pipeline = Pipeline::new(&SETTINGS, REGISTRY);
    let errors = Errors::subscribe(&pipeline.broker);
    let stale =
        r#"{"ts": 936144000.50, "seq": 7, "metrics": {"a": 1}, "provision_token": "secret"}"#;
    // It comes first, so that its error would, too.
    let stranger = to("acme/device/unknown/telemetry", "no JSON");
    let flood: Vec<Message> = iter::once(stranger)
        .chain((0..1_000).map(|_| to("acme/device/pump-1/telemetry/engine", stale)))
        .chain([
            to("acme/device/pump-1/telemetry", "no JSON"),
            to("acme/device/pump-2/telemetry", stale),
            // None of these causes an error.
            to("acme/device/unknown/telemetry", r#"{"metrics": {"a": 1}}"#),
            to("acme/device/pump-1/telemetry", r#"{"metrics": {"a": 1}}"#),
        ])
        .collect();
    pipeline.send(&flood);
    // What Sluice publishes comes back to the pipeline, which ignores it.
    pipeline.expect(3);
    pipeline.settle();
    pipeline.daemon.wait_metric("sluice_device_errors_total{result=\"sent\"}", 3.0);
    wait::until("three errors have arrived", || errors.all().len() == 3);
    assert!((count(&pipeline, "suppressed") - 999.0).abs() < 0.5, "{:?}", errors.all());
    let found = errors.all();
    assert!(!found.iter().any(|(head, _)| head.contains("/unknown/")), "{found:?}");
    let first = found.iter().find(|(_, error)| error["type"] == "telemetry/engine").unwrap();
    let head = first.0.replace("expiry=299", "expiry=300");
    assert_eq!(
        head,
        "tenant/acme/device/pump-1/errors retain=0 qos=1 expiry=300 type=application/json"
    );
    let text = first.1.to_string();
    assert_eq!(first.1["reason"], "TIMESTAMP_OUT_OF_RANGE", "{text}");
    assert!(first.1["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{text}");
    assert_eq!((&first.1["ts"], &first.1["seq"]), (&936_144_000.5.into(), &7.into()), "{text}");
    assert_eq!(first.1["suppressed"], 0, "{text}");
    assert!(!text.contains("secret"), "{text}");
    let of = |device: &str, reason: &str| {
        let topic = format!("tenant/acme/device/{device}/errors ");
        found.iter().any(|(head, error)| head.starts_with(&topic) && error["reason"] == reason)
    };
    assert!(of("pump-1", "BAD_PAYLOAD") && of("pump-2", "TIMESTAMP_OUT_OF_RANGE"), "{found:?}");
    assert_eq!((pipeline.ended("quarantined"), pipeline.ended("ignored")), (1_004, 3));
    pipeline.assert_unharmed();
}

#[test]
fn without_the_setting_no_device_receives_an_error() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    let errors = Errors::subscribe(&pipeline.broker);
    pipeline.publish("acme/device/pump-1/telemetry", "no JSON");
    pipeline.settle();
    let mut probe = crate::support::device::Device::connect(pipeline.broker.port(), "last");
    probe.publish("tenant/acme/device/pump-9/errors", "{}");
    wait::until("the last message has arrived", || !errors.all().is_empty());
    assert_eq!(errors.all().len(), 1, "{:?}", errors.all());
}

#[test]
fn a_broker_that_refuses_errors_delays_nothing_and_readiness_names_the_rule() {
    let rules = "topic readwrite #\ntopic deny tenant/+/device/+/errors\n";
    let options = MosquittoOptions { acl: Some(rules.to_owned()), ..MosquittoOptions::default() };
    let mut pipeline = Pipeline::beside(Mosquitto::start(options), &SETTINGS, REGISTRY);
    // More than all devices together may receive in a second, and than the queue holds.
    let flood: Vec<Message> = (1..=300)
        .flat_map(|n| {
            let path = format!("acme/device/pump-{n}/telemetry");
            [to(&path, "no JSON"), to(&path, r#"{"metrics": {"a": 1}}"#)]
        })
        .collect();
    pipeline.send(&flood);
    pipeline.settle();
    assert_eq!((pipeline.ended("stored"), pipeline.ended("quarantined")), (300, 300));
    pipeline.daemon.wait_unready_for("topic write tenant/+/device/+/errors");
    assert!(count(&pipeline, "sent") < 0.5);
    assert!(count(&pipeline, "suppressed") > 150.0);

    std::fs::write(pipeline.broker.dir().path().join("acl"), "topic readwrite #\n").unwrap();
    pipeline.broker.signal("HUP");
    let errors = Errors::subscribe(&pipeline.broker);
    wait::within(Duration::from_mins(1), "an error arrives", || {
        let path = format!("acme/device/pump-{}/telemetry", 1 + errors.all().len());
        pipeline.device.publish(&format!("tenant/{path}"), r#"{"ts": 1}"#);
        if errors.all().is_empty() { Err("none".to_owned()) } else { Ok(()) }
    });
    pipeline.daemon.wait_ready();
}
