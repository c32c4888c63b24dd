//! `sluice link check` at a broker that logs clients in as Event Grid does: a good link passes, and
//! each wrong field is named.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{ended, with_links};
use crate::links::cloud::{AUDIENCE, CloudBroker, ISSUER, TokenKeys};
use crate::links::limits::{lying, packets};
use crate::support::daemon::Settings;
use crate::support::port;
use crate::support::process::run_to_end;

/// A link to this broker; `changed` replaces lines with the same key.
fn jwt_link(cloud: &CloudBroker, key: &Path, changed: &str) -> String {
    let lines = format!(
        "kind = \"event-grid\"\nhost = \"127.0.0.1\"\nport = {}\nca_cert = \"{}\"\nclient_id = \"gate-1\"\n\
         auth = \"jwt\"\nkey = \"{}\"\nissuer = \"{ISSUER}\"\nsubject = \"gate-1\"\naudience = \"{AUDIENCE}\"\n\
         publish = [{{ from = \"tenant/+/device/+/telemetry\", to = \"devices/gate-1/{{device}}\" }}]\n",
        cloud.tls,
        cloud.ca().display(),
        key.display(),
    );
    let key_of = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
    let kept = lines.lines().filter(|line| !changed.lines().any(|new| key_of(new) == key_of(line)));
    let all: Vec<&str> = kept.chain(changed.lines()).collect();
    format!("[link.azure]\n{}\n", all.join("\n"))
}

/// The exit code and the report.
fn check(settings: &Settings, more: &[&str]) -> (i32, Value) {
    let line = [&["link", "check", "azure", "--output", "json"], more].concat();
    let (code, out, err) = ended(settings, &line);
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}")))
}

/// The step with this number.
fn step(report: &Value, number: usize) -> &Value {
    &report["steps"][number - 1]
}

fn has_field(step: &Value, field: &str) -> bool {
    step["fields"].as_array().unwrap().iter().any(|name| name == field)
}

/// A self-signed certificate of this key.
fn certificate(key: &Path) -> String {
    let path = key.with_extension("crt");
    run_to_end(
        Command::new("openssl")
            .args(["req", "-x509", "-days", "30", "-subj", "/CN=issuer", "-key"])
            .arg(key)
            .arg("-out")
            .arg(&path),
    );
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_good_link_passes_every_step_up_to_the_renewed_login() {
    let keys = TokenKeys::new();
    let cloud = CloudBroker::custom_jwt(&keys, &[]);
    let settings = with_links(&jwt_link(&cloud, &keys.private(), ""));
    let certificate = certificate(&keys.private());
    let more = ["--publish", "devices/gate-1/check", "--certificate", &certificate];
    let (code, report) = check(&settings, &more);
    assert_eq!((code, &report["ok"]), (0, &true.into()), "{report:#}");
    assert_eq!(report["steps"].as_array().unwrap().len(), 16, "{report:#}");
    // The certificate of the stand-in ends in two days.
    assert_eq!(step(&report, 8)["result"], "warn", "{report:#}");
    for number in [1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 16] {
        assert_eq!(step(&report, number)["result"], "pass", "{number}: {report:#}");
    }
    let text = report.to_string();
    for words in
        ["the key is that of", "TLSv1.3", "came back after", "AUTH with a new token", "sluice-test"]
    {
        assert!(text.contains(words), "{words}: {report:#}");
    }
    // A token is three parts in base64 that begin with a brace: two of them log nobody in, three do.
    assert!(!text.contains("eyJ"), "{report:#}");
    let (code, out, _) = ended(&settings, &["link", "check", "azure"]);
    assert!(code == 0 && out.contains("12  pass     CONNACK") && out.contains("0 failed"), "{out}");
    assert!(!out.contains("eyJ"), "{out}");
}

#[test]
fn each_wrong_field_of_a_token_is_named() {
    let keys = TokenKeys::new();
    let cloud = CloudBroker::custom_jwt(&keys, &["plugin_opt_jwt_sub gate-1"]);
    let certificate = certificate(&keys.private());
    for (changed, field) in [
        ("audience = \"127.0.0.1\"", "link.azure.audience"),
        ("audience = \"elsewhere\"", "link.azure.audience"),
        ("issuer = \"somebody\"", "link.azure.issuer"),
        ("subject = \"gate-9\"", "link.azure.subject"),
        ("place = \"password\"\nusername = \"gate-1\"", "link.azure.place"),
    ] {
        let settings = with_links(&jwt_link(&cloud, &keys.private(), changed));
        let (code, report) = check(&settings, &["--certificate", &certificate]);
        assert_eq!(code, 1, "{changed}: {report:#}");
        let found = step(&report, 12);
        assert_eq!(found["result"], "fail", "{changed}: {report:#}");
        assert_eq!(found["fields"][0], field, "{changed}: {found:#}");
        assert!(!has_field(found, "link.azure.key"), "{changed}: {found:#}");
    }
    let settings = with_links(&jwt_link(&cloud, &keys.private(), "audience = \"127.0.0.1\""));
    let (code, report) = check(&settings, &["--try-audiences"]);
    let text = step(&report, 12).to_string();
    assert!(code == 1 && text.contains("aud = \\\"127.0.0.1/\\\""), "{report:#}");
}

#[test]
fn a_key_that_is_not_that_of_the_certificate_is_named() {
    let keys = TokenKeys::new();
    let cloud = CloudBroker::custom_jwt(&keys, &[]);
    let certificate = certificate(&keys.private());
    let other = TokenKeys::new();
    let settings = with_links(&jwt_link(&cloud, &other.private(), ""));
    let (code, report) = check(&settings, &["--certificate", &certificate]);
    assert_eq!((code, &step(&report, 3)["result"]), (1, &"fail".into()), "{report:#}");
    assert!(has_field(step(&report, 3), "link.azure.key"), "{report:#}");
    let (_, report) = check(&settings, &[]);
    assert!(has_field(step(&report, 12), "link.azure.key"), "{report:#}");
    let open = other.dir().join("open.pem");
    std::fs::copy(other.private(), &open).unwrap();
    run_to_end(Command::new("chmod").arg("644").arg(&open));
    let settings = with_links(&jwt_link(&cloud, &open, ""));
    let (code, report) = check(&settings, &[]);
    assert_eq!((code, &step(&report, 3)["result"]), (1, &"fail".into()), "{report:#}");
    assert!(step(&report, 3).to_string().contains("chmod 600"), "{report:#}");
}

#[test]
fn the_clock_of_this_machine_is_named_when_the_broker_finds_the_token_expired() {
    let keys = TokenKeys::new();
    let cloud = CloudBroker::custom_jwt(&keys, &[]);
    // Without TLS, whose certificate would not be valid yet.
    let tcp = format!("transport = \"tcp\"\nport = {}", cloud.broker.port());
    let file = jwt_link(&cloud, &keys.private(), &tcp).replace("ca_cert", "#");
    for moved in ["-2h", "+2h"] {
        let settings = with_links(&file).with_clock(moved);
        let (code, report) = check(&settings, &[]);
        let found = step(&report, 12);
        assert_eq!((code, &found["fields"][0]), (1, &"link.azure.lifetime".into()), "{report:#}");
        assert!(found.to_string().contains("set the clock"), "{found:#}");
    }
}

#[test]
fn a_broker_that_is_not_there_and_a_certificate_of_another_authority_are_told_apart() {
    let keys = TokenKeys::new();
    let cloud = CloudBroker::custom_jwt(&keys, &[]);
    let closed = format!("port = {}", port::free());
    let settings = with_links(&jwt_link(&cloud, &keys.private(), &closed));
    let (code, report) = check(&settings, &[]);
    assert_eq!((code, &step(&report, 7)["result"]), (1, &"fail".into()), "{report:#}");
    assert_eq!(step(&report, 12)["result"], "skipped");
    assert_eq!(step(&report, 16)["result"], "pass");
    let other = CloudBroker::open();
    let trusted = format!("ca_cert = \"{}\"", other.ca().display());
    let settings = with_links(&jwt_link(&cloud, &keys.private(), &trusted));
    let (code, report) = check(&settings, &[]);
    assert_eq!((code, &step(&report, 8)["result"]), (1, &"fail".into()), "{report:#}");
    assert!(has_field(step(&report, 8), "link.azure.ca_cert"), "{report:#}");
    let settings = with_links("[link.azure]\nkind = \"event-grid\"\nhst = \"x\"\n");
    let (code, report) = check(&settings, &[]);
    assert_eq!((code, &step(&report, 1)["result"]), (1, &"fail".into()), "{report:#}");
    assert!(step(&report, 1).to_string().contains("hst"), "{report:#}");
}

#[test]
fn a_topic_without_a_permission_is_named_and_the_other_steps_are_made() {
    let keys = TokenKeys::new();
    let cloud = CloudBroker::custom_jwt(&keys, &[]);
    let rule = "ingest = [{ filter = \"devices/other/#\", tenant = \"acme\", device = \"a\" }]";
    let settings = with_links(&jwt_link(&cloud, &keys.private(), rule));
    let (code, report) = check(&settings, &["--publish", "devices/other/x"]);
    assert_eq!(code, 1, "{report:#}");
    for (number, field) in [(13, "link.azure.ingest"), (14, "link.azure.publish")] {
        assert_eq!(step(&report, number)["result"], "fail", "{report:#}");
        assert!(has_field(step(&report, number), field), "{report:#}");
    }
    assert!(step(&report, 14).to_string().contains("permission binding"), "{report:#}");
    assert_eq!(step(&report, 15)["result"], "pass", "{report:#}");
}

#[test]
fn a_session_that_the_other_broker_keeps_for_less_time_is_named_and_none_is_left_there() {
    let (broker, port) = lying(&json!({ "expiry": 60 }));
    let settings = with_links(&format!(
        "[link.azure]\nkind = \"mqtt\"\nhost = \"127.0.0.1\"\nport = {port}\ntransport = \"tcp\"\n\
         client_id = \"gate-1\"\nsession_expiry = \"1h\"\n\
         ingest = [{{ filter = \"in/+\", tenant = \"acme\", device = \"{{2}}\" }}]\n"
    ));
    let (_, report) = check(&settings, &[]);
    let found = step(&report, 12);
    assert_eq!(found["result"], "warn", "{report:#}");
    assert!(has_field(found, "link.azure.session_expiry"), "{found:#}");
    assert!(found.to_string().contains("for 60 s, not for the 3600 s"), "{found:#}");
    let (connects, ends) = (packets(&broker, "connect"), packets(&broker, "disconnect"));
    assert!(connects.iter().all(|packet| packet["clientId"] == "gate-1-check"), "{connects:?}");
    let asked: Vec<u64> = connects.iter().map(|it| it["expiry"].as_u64().unwrap_or(0)).collect();
    assert_eq!(asked, [3600, 0], "the check itself has no session");
    assert_eq!(ends[0]["expiry"], 0, "the session ends with its connection: {ends:?}");
}
