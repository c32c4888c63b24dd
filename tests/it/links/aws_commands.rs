//! `sluice link` commands at the stand-ins of AWS, with Amazon's own client as the other end.

use std::process::Output;

use serde_json::json;

use super::aws::{ACCESS_KEY, AwsGate, SECRET_KEY, TOKEN_START, amazon, amazon_listener};
use super::aws_certificate::{AlpnGate, admitted};
use crate::support::daemon::Settings;

/// Settings with this links file; guests keep their identity in a cache of their own.
fn settings(file: &str) -> Settings {
    let settings = Settings::empty();
    let path = settings.dir().write("links.toml", file);
    let cache = settings.dir().path().join("cache");
    settings
        .set("LINKS_PATH", path.to_str().unwrap())
        .set("XDG_CACHE_HOME", cache.to_str().unwrap())
        .set("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .set("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .set("AWS_SESSION_TOKEN", "ABC12345/of-the-test")
}

/// What a command printed, and its exit code. No secret is among it.
fn outcome(settings: &Settings, line: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = settings.command(line).output().unwrap();
    let text = String::from_utf8([stdout, stderr].concat()).unwrap();
    for secret in [SECRET_KEY, TOKEN_START] {
        assert!(!text.contains(secret), "{line:?} prints {secret}: {text}");
    }
    (status.code().unwrap(), text)
}

const SIGV4: &str = "auth = \"sigv4\"\nregion = \"us-east-1\"\n";

#[test]
fn what_a_guest_sends_reaches_three_of_amazons_clients_and_what_they_publish_is_printed() {
    let (aws, cognito) = AwsGate::with_cognito(&[]);
    aws.admit("amazon");
    let settings = settings(&aws.link("aws", "public-gate-1", &cognito.login()));
    let wish = |more| aws.client("public-amazon", &more);
    let mut listeners: Vec<_> = (0..3)
        .map(|n| {
            let id = format!("public-amazon-{n}");
            amazon_listener(wish(json!({
                "token": "amazon", "client_id": id, "subscribe": ["public/broadcast"],
            })))
        })
        .collect();
    let text = "Hello, World!";
    let (code, shown) = outcome(&settings, &["link", "send", "aws", "public/broadcast", text]);
    assert_eq!(code, 0, "{shown}");
    for listener in &mut listeners {
        listener.wait_for(text);
    }
    let (code, shown) = outcome(&settings, &["link", "broadcast-demo", "aws"]);
    assert_eq!(code, 0, "{shown}");
    for listener in &mut listeners {
        listener.wait_for("Hello from the broadcaster!");
    }
    assert_eq!(cognito.count("GetId"), 1, "all commands are one guest");

    let listen = ["link", "listen", "aws", "public/back", "--count", "1", "--wait", "60"];
    let heard = std::thread::scope(|scope| {
        let listening = scope.spawn(|| outcome(&settings, &listen));
        crate::support::wait::until("Sluice has subscribed", || {
            aws.gate.json().iter().any(|line| line["subscribe"] == json!(["public/back"]))
        });
        amazon(&wish(json!({ "token": "amazon", "publish": [["public/back", "an answer"]] })));
        listening.join().unwrap()
    });
    assert_eq!(heard.0, 0, "{}", heard.1);
    let line = "[message] topic=public/back payload=an answer";
    assert!(heard.1.contains(line), "{}", heard.1);

    let (code, shown) = outcome(&settings, &["link", "check", "aws", "--output", "json"]);
    assert_eq!(code, 0, "{shown}");
    let found = "access key TEST..., with a session token, valid for ";
    assert!(shown.contains(found), "{shown}");
    let (code, shown) = outcome(&settings, &["link", "presign", "aws"]);
    assert_eq!(code, 0, "{shown}");
    for part in ["SignedHeaders=host", "Signature=[secret]", "Security-Token=[secret]"] {
        assert!(shown.contains(&format!("X-Amz-{part}")), "{part}: {shown}");
    }
    let (code, whole) = outcome(&settings, &["link", "presign", "aws", "--reveal"]);
    assert_eq!(code, 0, "{whole}");
    assert!(whole.contains("Security-Token=ABC12345") && !whole.contains("[secret]"), "{whole}");
}

#[test]
fn each_refusal_is_explained_with_what_to_do() {
    let aws = AwsGate::start();
    let here = settings(&aws.link("aws", "public-gate-1", SIGV4));
    let refused = |settings: &Settings, line: &[&str], words: &[&str]| {
        let (code, shown) = outcome(settings, line);
        assert_ne!(code, 0, "{shown}");
        for word in words {
            assert!(shown.contains(word), "{line:?} does not say {word}: {shown}");
        }
    };
    let private = ["link", "send", "aws", "public/a", "x", "--client-id", "private-1"];
    refused(&here, &private, &["0x87", "private-1"]);
    refused(&here, &["link", "send", "aws", "secret/x", "x"], &["0x87", "secret/x"]);
    let other = here.clone().set("AWS_SECRET_ACCESS_KEY", "other");
    refused(&other, &["link", "send", "aws", "public/a", "x"], &["403", "key"]);
    let none = here.clone().set("AWS_ACCESS_KEY_ID", "");
    refused(&none, &["link", "send", "aws", "public/a", "x"], &["AWS_ACCESS_KEY_ID is not set"]);

    let late = AwsGate::with(&["--skew", "600"]);
    let there = settings(&late.link("aws", "public-gate-1", SIGV4));
    let clock = ["the clock of this machine (", "s behind the server's ("];
    refused(&there, &["link", "send", "aws", "public/a", "x"], &clock);
    refused(&there, &["link", "check", "aws"], &clock);
}

#[test]
fn each_refusal_of_cognito_is_explained_with_what_to_do() {
    let refusal = crate::support::dir::Scratch::new("refusal");
    let path = refusal.path().join("refusal");
    let (aws, cognito) = AwsGate::with_cognito(&["--refusal", path.to_str().unwrap()]);
    let settings = settings(&aws.link("aws", "public-gate-1", &cognito.login()));
    for (kind, words) in [
        ("NotAuthorizedException", "the identity pool forbids guests"),
        ("ResourceNotFoundException", "check `identity_pool_id` and `region`"),
        ("InvalidIdentityPoolConfigurationException", "attach an IAM role"),
    ] {
        refusal.write("refusal", format!("GetId {kind}"));
        for line in [&["link", "send", "aws", "public/a", "x"][..], &["link", "check", "aws"]] {
            let (code, shown) = outcome(&settings, line);
            assert_ne!(code, 0, "{shown}");
            assert!(shown.contains(kind) && shown.contains(words), "{line:?}: {shown}");
        }
    }
}

#[test]
fn a_certificate_gets_in_on_port_443_by_the_name_of_the_protocol() {
    let aws = AwsGate::start();
    let (certificate, key) = aws.client_certificate("gate-1");
    let Some(mut gate) = AlpnGate::start(&aws) else { return };
    let link = format!(
        "[link.aws]\nkind = \"aws-iot\"\nhost = \"127.0.0.1\"\nport = 443\nca_cert = \"{}\"\n\
         client_id = \"gate-1\"\nauth = \"certificate\"\ncert = \"{}\"\nkey = \"{}\"\n",
        aws.ca().display(),
        certificate.display(),
        key.display()
    );
    let (code, shown) = outcome(&settings(&link), &["link", "send", "aws", "a/b", "x"]);
    assert_eq!(code, 0, "{shown}");
    assert_eq!(gate.peer.wait_json(2).pop().unwrap(), admitted("gate-1"));
}
