//! `sluice link listen`, `send` and `broadcast-demo` at another broker, as a person types them. None of
//! them has a database.

pub mod check;
pub mod stored;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::links::cloud::CloudBroker;
use crate::support::daemon::Settings;
use crate::support::mosquitto::MosquittoOptions;
use crate::support::process::run_to_end;
use crate::support::wait;

/// Settings with this links file, and nothing else.
pub fn with_links(file: &str) -> Settings {
    let settings = Settings::empty();
    let path = settings.dir().write("links.toml", file);
    settings.set("LINKS_PATH", path.to_str().unwrap())
}

/// The exit code, standard output and standard error of a command.
pub fn ended(settings: &Settings, line: &[&str]) -> (i32, String, String) {
    let output = settings.command(line).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code().unwrap(), out, err)
}

/// A link of any kind without a login.
fn open_link(port: u16) -> String {
    format!(
        "[link.hub]\nkind = \"mqtt\"\nhost = \"127.0.0.1\"\nport = {port}\ntransport = \"tcp\"\n\
         client_id = \"gate-1\"\nauth = \"none\"\n"
    )
}

/// Starts a command whose output goes to a file, and waits for these words in it.
fn start(settings: &Settings, line: &[&str], log: &Path, words: &str) -> std::process::Child {
    let out = File::create(log).unwrap();
    let child = settings.command(line).stdout(out).stderr(Stdio::inherit()).spawn().unwrap();
    wait_for(log, words);
    child
}

fn wait_for(log: &Path, words: &str) {
    wait::until(words, || std::fs::read_to_string(log).unwrap().contains(words));
}

fn signal(child: &std::process::Child, name: &str) {
    run_to_end(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]));
}

#[test]
fn a_listener_prints_what_is_sent_and_says_goodbye_on_a_signal() {
    let cloud = CloudBroker::open();
    let settings = with_links(&open_link(cloud.broker.port()));
    for name in ["INT", "TERM"] {
        let log = settings.dir().path().join(name);
        let line = ["link", "listen", "hub", "public/+"];
        let mut listener = start(&settings, &line, &log, "[listening]");
        let (code, out, err) =
            ended(&settings, &["link", "send", "hub", "public/broadcast", "Hello, World!"]);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        for words in ["[connecting] 127.0.0.1:", "[connected]", "[publishing]", "[published]"] {
            assert!(out.contains(words), "{out}");
        }
        wait_for(&log, "[message] topic=public/broadcast payload=Hello, World!");
        signal(&listener, name);
        assert!(listener.wait().unwrap().success());
        let printed = std::fs::read_to_string(&log).unwrap();
        for words in [
            "[connecting]",
            "[connected]",
            "[subscribing] public/+",
            "[subscribed] public/+",
            "[goodbye] 1",
        ] {
            assert!(printed.contains(words), "{words} in {printed}");
        }
    }
    // DISCONNECT was sent: Mosquitto logs another end otherwise.
    let said = cloud.broker.log();
    assert!(!said.contains("closed its connection") && !said.contains("Socket error"), "{said}");
}

#[test]
fn a_listener_ends_after_the_count_and_writes_lines_of_json() {
    let cloud = CloudBroker::open();
    let settings = with_links(&open_link(cloud.broker.port()));
    let log = settings.dir().path().join("log");
    let line = ["link", "listen", "hub", "public/#", "other/+", "--count", "2", "--output", "json"];
    let retained = ["link", "send", "hub", "other/a", "kept \u{1b}[2J", "--retain"];
    assert_eq!(ended(&settings, &retained).0, 0);
    let mut listener = start(&settings, &line, &log, "kept");
    let (code, out, _) =
        ended(&settings, &["link", "send", "hub", "public/a", "{}", "--output", "json"]);
    assert_eq!(
        (code, serde_json::from_str::<Value>(&out).unwrap()["topic"].clone()),
        (0, "public/a".into())
    );
    assert!(listener.wait().unwrap().success());
    let printed = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{printed}");
    assert_eq!((&lines[0]["topic"], &lines[0]["retained"]), (&"other/a".into(), &true.into()));
    assert_eq!(lines[0]["payload"], "kept \u{1b}[2J");
    assert!(!printed.contains('\u{1b}'), "{printed}");
    assert_eq!(lines[1]["payload"], "{}");
    let (code, _, err) =
        ended(&settings, &["link", "listen", "hub", "none", "--count", "1", "--wait", "1"]);
    assert!(code == 1 && err.contains("0 of 1 messages arrived"), "{err}");
}

#[test]
fn three_listeners_receive_one_message_and_one_that_may_not_is_named() {
    let cloud = CloudBroker::open();
    let settings = with_links(&open_link(cloud.broker.port()));
    let (code, out, err) = ended(&settings, &["link", "broadcast-demo", "hub", "--text", "to all"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for number in 1..=3 {
        assert!(out.contains(&format!("[Client {number}] received: to all")), "{out}");
    }
    let line = ["link", "broadcast-demo", "hub", "--client-id", "demo", "--output", "json"];
    let (code, out, _) = ended(&settings, &line);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["ok"]), (0, &true.into()), "{report:#}");
    assert_eq!(report["listeners"][2]["client_id"], "demo-3");

    let acl = "topic write sluice/broadcast\ntopic read other\n".to_owned();
    let deaf =
        CloudBroker::with(MosquittoOptions { acl: Some(acl), ..MosquittoOptions::default() });
    let settings = with_links(&open_link(deaf.broker.port()));
    let (code, out, err) = ended(&settings, &line[..3]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains("sluice/broadcast") || err.contains("received nothing"), "{err}");
}

#[test]
fn a_refused_message_and_an_absent_broker_are_explained() {
    let acl = "topic write public/#\n".to_owned();
    let cloud =
        CloudBroker::with(MosquittoOptions { acl: Some(acl), ..MosquittoOptions::default() });
    let settings = with_links(&open_link(cloud.broker.port()));
    let (code, out, err) = ended(&settings, &["link", "send", "hub", "secret/x", "a"]);
    assert_eq!(code, 1, "{out}");
    assert!(!out.contains("[published]"), "{out}");
    assert!(err.contains("secret/x with code 0x87") && err.contains("link.hub.publish"), "{err}");
    let (code, _, err) = ended(&settings, &["link", "send", "hub", "a/#", "a"]);
    assert!(code == 64 && err.contains("topic a/#"), "{err}");
    let (code, _, err) = ended(&settings, &["link", "send", "cloud", "a", "a"]);
    assert!(code == 64 && err.contains("link cloud not found: the links file has hub"), "{err}");
    let (code, _, err) = ended(&Settings::empty(), &["link", "listen", "hub", "a"]);
    assert!(code == 78 && err.contains("LINKS_PATH is not set"), "{err}");
    let nowhere = with_links(&open_link(crate::support::port::free()));
    let (code, _, err) = ended(&nowhere, &["link", "listen", "hub", "a"]);
    assert!(
        code == 1 && err.contains("link.hub.port") && err.contains("sluice link check hub"),
        "{err}"
    );
    let (code, _, err) = ended(&settings, &["link", "presign", "hub"]);
    assert!(code == 64 && err.contains("only sigv4 and cognito"), "{err}");
}
