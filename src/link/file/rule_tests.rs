//! Rules and links that exclude each other, and how many a file may have.

use std::fmt::Write as _;

use super::tests::{AWS, CERTIFICATE, COGNITO, MQTT, faults_of, link, listed};
use super::*;

#[test]
fn guests_use_only_public_names() {
    let aws = AWS.replace("'c'", "'public-c'");
    let rules = |to: &str, filter: &str| {
        format!(
            "publish = [{{ from = '#', to = '{to}' }}]\n\
             ingest = [{{ filter = '{filter}', tenant = 't', device = 'd' }}]"
        )
    };
    link(&[&aws, COGNITO, &rules("public/a", "public/b/#")]);
    let found = faults_of(&[&aws, COGNITO, &rules("publicity/a", "#")]);
    assert!(
        found[0].starts_with("link.x.publish[0].to: guests publish below \"public/\""),
        "{found:?}"
    );
    assert!(found[1].starts_with("link.x.ingest[0].filter: guests subscribe below"), "{found:?}");
    link(&[AWS, COGNITO, "public_prefix = ''\n", &rules("a", "b")]);
}

#[test]
fn more_rules_than_the_kind_allows_are_a_fault() {
    let rule = "{ filter = 'a', tenant = 't', device = 'd' }";
    let rules = |count: usize| format!("ingest = [{}]", vec![rule; count].join(", "));
    assert_eq!(link(&[AWS, CERTIFICATE, &rules(50)]).ingest.len(), 50);
    let found = faults_of(&[AWS, CERTIFICATE, &rules(51)]);
    assert!(found[0].starts_with("link.x.ingest: the list has 51 rules; at most 50"), "{found:?}");
    let rules = format!("publish = [{}]", vec!["{ from = '#', to = 'a' }"; 65].join(", "));
    assert!(faults_of(&[MQTT, &rules])[0].contains("at most 64"), "{rules}");
    let mut links = String::new();
    for n in 0..=MAX_LINKS {
        let _ = writeln!(links, "[link.l{n}]\n{}", MQTT.replace("'c'", &format!("'c{n}'")));
    }
    assert!(listed(&links)[0].starts_with("link: the file has 33 links; at most 32"), "{links}");
}

#[test]
fn rules_that_map_a_topic_onto_itself_are_a_fault() {
    let rules = |from: &str, to: &str, filter: &str, names: &str| {
        format!(
            "publish = [{{ from = 'tenant/t/device/+/event', to = 'other' }}, {{ from = '{from}', to = '{to}' }}]\n\
             ingest = [{{ filter = '{filter}', {names} }}]"
        )
    };
    for (from, to, filter, names) in [
        ("tenant/+/device/+/telemetry", "d/{device}/e", "d/+/e", "tenant = 'acme', device = '{2}'"),
        (
            "tenant/+/device/+/#",
            "{tenant}/{device}/{type}",
            "+/+/#",
            "tenant = '{1}', device = '{2}', type = '{3}'",
        ),
        ("#", "x/{tenant}-{device}", "x/#", "tenant = 'a', device = 'b'"),
        ("tenant/acme/device/p/event", "x", "x", "tenant = 'acme', device = 'p', type = 'event'"),
        ("#", "x/{device}", "x/p", "tenant = 'a', device = '{2}'"),
    ] {
        let found = faults_of(&[MQTT, &rules(from, to, filter, names)]);
        let words = "link.x.ingest[0]: publish[1] and this rule map \"tenant/";
        assert!(found.len() == 1 && found[0].starts_with(words), "{from} {filter}: {found:?}");
    }
    for (from, to, filter, names) in [
        ("tenant/+/device/+/telemetry", "up/{device}", "down/+", "tenant = 'acme', device = '{2}'"),
        (
            "tenant/+/device/+/telemetry",
            "d/{device}",
            "d/+",
            "tenant = 'acme', device = '{2}', type = 'event'",
        ),
        ("tenant/acme/device/+/telemetry", "d/{device}", "d/+", "tenant = 'other', device = '{2}'"),
        ("#", "d/{device}", "d/+", "tenant = 'a', device = 'x-{2}'"),
    ] {
        link(&[MQTT, &rules(from, to, filter, names)]);
    }
}

#[test]
fn links_that_exclude_each_other_are_a_fault() {
    let two =
        |first: &str, second: &str| format!("[link.a]\n{MQTT}{first}\n[link.b]\n{MQTT}{second}");
    let found = listed(&two("", ""));
    let words =
        "link.b.client_id: link a connects to b.example.org:8883 with the client id \"c\" too";
    assert!(found.len() == 1 && found[0].starts_with(words), "{found:?}");
    let lanes = two("lanes = 2", "").replacen("'c'", "'d'", 1).replace("'c'", "'d-1'");
    assert!(listed(&lanes)[0].contains("client id \"d-1\""), "{lanes}");
    assert!(parse(&two("port = 1", "")).is_ok());
    let apart = two(
        "publish = [{ from = '#', to = 'x/{device}' }]",
        "ingest = [{ filter = 'x/+', tenant = 'a', device = '{2}' }]",
    );
    let found = listed(&apart.replacen("'c'", "'d'", 1));
    assert!(
        found[0].starts_with("link.b.ingest[0]: link.a.publish[0] and this rule map"),
        "{found:?}"
    );
}
