//! The accepted content of a links file, and the report of its faults: all at once, each with its
//! place.

use super::*;
use crate::config::document::reader::Faults;
use crate::config::sections::broker::JwtPlace;
use crate::domain::ids::DeviceKey;
use crate::link::kind::{LinkKind, LinkTransport};
use crate::link::settings::{LinkAuth, LinkSet, LinkSettings};

const EXAMPLE: &str = r#"
node = "plant-7"

[link.azure]
kind = "event-grid"
host = "ns.eastus-1.ts.eventgrid.azure.net"
client_id = "gate-1"
auth = "jwt"
key = "/etc/sluice/event-grid.key"
issuer = "plant-7"
subject = "gate-1"
publish = [{ from = "tenant/+/device/+/telemetry", to = "devices/{device}/messages/events", mode = "binary" }]
ingest  = [{ filter = "commands/+/messages", tenant = "acme", device = "{2}", lenient = false }]

[link.aws]
kind = "aws-iot"
host = "xxx-ats.iot.us-east-1.amazonaws.com"
client_id = "gate-1"
auth = "certificate"
cert = "/etc/sluice/aws.crt"
key = "/etc/sluice/aws.key"
lanes = 1
max_rate = 90
backlog_max_bytes = "256MiB"
backlog_max_age = "7d"
refuse_after = "1h"
"#;

/// A link without a fault, to which a case adds one.
pub(super) const MQTT: &str = "kind = 'mqtt'\nhost = 'b.example.org'\nclient_id = 'c'\n";
pub(super) const GRID: &str =
    "kind = 'event-grid'\nhost = 'n.r.ts.eventgrid.azure.net'\nclient_id = 'c'\n";
pub(super) const AWS: &str =
    "kind = 'aws-iot'\nhost = 'x-ats.iot.eu-west-1.amazonaws.com'\nclient_id = 'c'\n";
pub(super) const JWT: &str = "auth = 'jwt'\nkey = '/k'\nsubject = 's'\nissuer = 'i'\n";
pub(super) const CERTIFICATE: &str = "auth = 'certificate'\ncert = '/c'\nkey = '/k'\n";
const COGNITO: &str = "auth = 'cognito'\nidentity_pool_id = 'eu-west-1:1'\n";

fn listed(text: &str) -> Vec<String> {
    let faults: Faults = parse(text).unwrap_err();
    faults.listed.iter().map(ToString::to_string).collect()
}

/// The faults of a file with one link.
fn faults_of(parts: &[&str]) -> Vec<String> {
    listed(&format!("[link.x]\n{}", parts.concat()))
}

pub(super) fn link(parts: &[&str]) -> LinkSettings {
    let text = format!("[link.x]\n{}", parts.concat());
    let set = parse(&text).unwrap_or_else(|faults| panic!("{text}\n{faults}"));
    set.links.into_iter().next().unwrap()
}

#[test]
fn the_example_is_read() {
    let set = parse(EXAMPLE).unwrap();
    assert_eq!(set.node.as_deref(), Some("plant-7"));
    let (azure, aws) = (set.find("azure").unwrap(), set.find("aws").unwrap());
    assert_eq!((azure.kind, azure.transport), (LinkKind::EventGrid, LinkTransport::Tls));
    assert_eq!((azure.port, azure.limits.keepalive_seconds), (8883, 60));
    assert_eq!(azure.limits.session_expiry_seconds, 3600);
    let LinkAuth::Jwt { token, username: None } = &azure.auth else { panic!("{:?}", azure.auth) };
    let host = "ns.eastus-1.ts.eventgrid.azure.net";
    let claims =
        serde_json::json!({ "iss": "plant-7", "sub": "gate-1", "aud": [host, format!("{host}/")] });
    assert_eq!(serde_json::Value::Object(token.claims.clone()), claims);
    assert_eq!((token.place, token.lifetime.as_secs()), (JwtPlace::Enhanced, 3600));
    assert_eq!((aws.kind, aws.limits.rate, aws.limits.unacked), (LinkKind::AwsIot, 90, 100));
    assert_eq!((aws.backlog_max_bytes, aws.backlog_max_age.as_secs()), (256 << 20, 604_800));
    assert_eq!(parse("").unwrap(), LinkSet::default());
    let plan = set.plan();
    assert_eq!(plan.links.len(), 1, "a link without publish has no part in the plan");
    let device = DeviceKey::new("acme", "pump-1").unwrap();
    let rule = plan.links[0].rule_for(&device, "telemetry").unwrap();
    assert_eq!(rule.to.render(&device, "telemetry"), "devices/pump-1/messages/events");
}

#[test]
fn each_kind_and_login_has_its_defaults() {
    let cognito = link(&[AWS.replace("'c'", "'public-c'").as_str(), COGNITO]);
    assert_eq!((cognito.transport, cognito.port), (LinkTransport::SecureWebSocket, 443));
    let LinkAuth::Cognito { region, public_prefix, .. } = &cognito.auth else { panic!() };
    assert_eq!((region.as_str(), public_prefix.as_deref()), ("eu-west-1", Some("public")));
    let open = link(&[AWS, COGNITO, "public_prefix = ''"]);
    assert!(matches!(open.auth, LinkAuth::Cognito { public_prefix: None, .. }), "{open:?}");
    let sigv4 = link(&[AWS, "auth = 'sigv4'\ncredentials_file = '/c'"]);
    let LinkAuth::SigV4 { credentials: Some(profile), .. } = &sigv4.auth else { panic!() };
    assert_eq!(profile.profile, "default");
    let mqtt = link(&[MQTT]);
    assert_eq!((mqtt.port, mqtt.limits.session_expiry_seconds), (8883, 7 * 86_400));
    assert_eq!((mqtt.auth.label(), mqtt.limits.unacked, mqtt.lanes), ("none", 1000, 1));
    let local = link(&["kind = 'mqtt'\nhost = '127.0.0.1'\nclient_id = 'c'\ntransport = 'ws'"]);
    assert_eq!(local.port, 80);
    let one =
        link(&[MQTT, JWT, "username = 'u'\naudience = 'a'\nclaims = { level = 1.5, x = [true] }"]);
    let LinkAuth::Jwt { token, .. } = &one.auth else { panic!() };
    let claims =
        serde_json::json!({ "iss": "i", "sub": "s", "aud": "a", "level": 1.5, "x": [true] });
    assert_eq!(serde_json::Value::Object(token.claims.clone()), claims);
    let lanes = link(&[MQTT, "lanes = 3\nmax_packet_bytes = '1KiB'"]);
    assert_eq!((lanes.client_id_of(2).as_str(), lanes.limits.payload_bytes), ("c-2", 1024));
}

#[test]
fn all_faults_of_a_file_are_reported_at_once_with_their_places() {
    let text = r##"
        nodes = 1
        node = "a b"
        [link.Azure]
        kind = "event-gird"
        host = "https://ns/"
        auth = "jwt"
        lifetime = 60
        publish = [{ form = "#", to = "a/+" }, 7]
        ingest = {}
        [link.b]
        kind = "mqtt"
        [links]
    "##;
    let expected = [
        "nodes: the key is unknown here; expected node, link; did you mean node?",
        "links: the key is unknown here; expected node, link; did you mean link?",
        "node: a name may contain only A-Z a-z 0-9 . _ : -",
        "link.Azure: the name of a link has 1 to 32 characters of a-z 0-9 -",
        "link.Azure.kind: expected \"event-grid\", \"aws-iot\", \"mqtt\", found \"event-gird\"; did you mean \"event-grid\"?",
        "link.Azure.host: expected a host name or an IP address, without scheme, port and path: write \"ns\"",
        "link.Azure: key is missing: auth = \"jwt\" needs",
        "link.Azure: subject is missing: auth = \"jwt\" needs",
        "link.Azure.lifetime: a duration has a unit: write \"60s\" for seconds",
        "link.Azure: username is missing: the token is sent as the password",
        "link.Azure: client_id is missing",
        "link.Azure.publish[0].form: the key is unknown here; expected from, to, mode; did you mean from?",
        "link.Azure.publish[0]: from is missing",
        "link.Azure.publish[0].to: a message has one topic, without + and #",
        "link.Azure.publish[1]: expected a table, found a number",
        "link.Azure.ingest: expected a list, found a table",
        "link.b: host is missing",
        "link.b: client_id is missing",
    ];
    let found = listed(text);
    for expected in expected {
        assert!(found.iter().any(|found| found.starts_with(expected)), "{expected}\n{found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

/// Each case: what is added to a link, and the one fault that it causes.
#[test]
fn each_fault_names_its_place_and_what_to_do() {
    let publish = |rule: &str| format!("publish = [{{ {rule} }}]");
    let to = |to: &str| publish(&format!("from = 'tenant/+/device/+/#', to = '{to}'"));
    let from = |from: &str| publish(&format!("from = '{from}', to = 'a'"));
    let ingest = |rule: &str| format!("ingest = [{{ tenant = 't', device = 'd', {rule} }}]");
    let named = |rule: &str| format!("ingest = [{{ filter = 'a/+/b', tenant = 't', {rule} }}]");
    let cases: &[(&[&str], &str)] = &[
        (&[GRID], "link.x: auth is missing: expected \"jwt\" or \"certificate\""),
        (&[AWS], "link.x: auth is missing"),
        (
            &[&GRID.replace(".ts.", "."), JWT],
            "link.x.host: this is the namespace's HTTP host: its MQTT host is \"n.r.ts.eventgrid.azure.net\"",
        ),
        (
            &[MQTT, "transport = 'tcp'"],
            "link.x.transport: \"tcp\" is not encrypted, so it leads only to this machine",
        ),
        (&[MQTT, "transport = 'ws'"], "link.x.transport: \"ws\" is not encrypted"),
        (&[MQTT, "port = 0"], "link.x.port: expected a whole number from 1 to 65535, found 0"),
        (
            &[MQTT, "port = '1'"],
            "link.x.port: expected a whole number from 1 to 65535, found a text",
        ),
        (
            &[MQTT, "key_id = 'k'"],
            "link.x.key_id: it is used only with auth = \"jwt\", and auth is \"none\"",
        ),
        (&[MQTT, "auth = 'password'\nusername = 'u'"], "link.x: password_file is missing"),
        (
            &[MQTT, JWT, "place = 'username'\nusername = 'u'"],
            "link.x.username: the token is sent as the user name",
        ),
        (&[MQTT, JWT], "link.x: username is missing"),
        (
            &[GRID, JWT, "lifetime = '2d'"],
            "link.x.lifetime: expected a duration from \"10s\" to \"1d\", found \"2d\"",
        ),
        (&[GRID, JWT, "audience = []"], "link.x.audience: expected a text, or a list"),
        (&[GRID, JWT, "claims = { exp = 1 }"], "link.x.claims.exp: Sluice sets this claim"),
        (&[GRID, JWT, "claims = { aud = 'a' }"], "link.x.claims.aud: write it as the key audience"),
        (&[GRID, JWT, "claims = { at = 2026-01-01 }"], "link.x.claims: expected texts, numbers"),
        (
            &[
                "kind = 'mqtt'\nhost = 'localhost'\nclient_id = 'c'\ntransport = 'tcp'\n",
                CERTIFICATE,
            ],
            "link.x.transport: auth = \"certificate\" is used only with TLS",
        ),
        (
            &[
                "kind = 'mqtt'\nhost = 'localhost'\nclient_id = 'c'\ntransport = 'tcp'\nca_cert = '/c'",
            ],
            "link.x.ca_cert: it is used only with TLS",
        ),
        (
            &[AWS, COGNITO],
            "link.x.client_id: guests have client ids that begin with \"public-\": write \"public-c\"",
        ),
        (
            &[AWS, "auth = 'sigv4'\ntransport = 'tls'"],
            "link.x.transport: auth = \"sigv4\" signs the URL of a websocket: use \"wss\"",
        ),
        (
            &[MQTT, "auth = 'sigv4'\nregion = 'eu-west-1'"],
            "link.x.auth: \"sigv4\" is a login of kind = \"aws-iot\" alone",
        ),
        (
            &[AWS, "auth = 'sigv4'\nprofile = 'p'"],
            "link.x.profile: it is a section of credentials_file",
        ),
        (
            &[AWS, "auth = 'sigv4'\nregion = 'EU'"],
            "link.x.region: expected a region such as us-east-1",
        ),
        (
            &["kind = 'aws-iot'\nhost = 'localhost'\nclient_id = 'c'\nauth = 'sigv4'"],
            "link.x: region is missing: the host does not name it",
        ),
        (
            &[AWS, "auth = 'cognito'\nidentity_pool_id = 'p'"],
            "link.x.identity_pool_id: expected <region>:<uuid>",
        ),
        (
            &[AWS, COGNITO, "public_prefix = ''\ncognito_endpoint = 'http://h.org/'"],
            "link.x.cognito_endpoint: expected an https:// URL",
        ),
        (
            &[AWS, CERTIFICATE, "max_rate = 101"],
            "link.x.max_rate: expected a whole number from 1 to 100, found 101: aws-iot allows at most 100",
        ),
        (
            &[AWS, CERTIFICATE, "max_unacked = 101"],
            "link.x.max_unacked: expected a whole number from 1 to 100, found 101: aws-iot allows at most 100",
        ),
        (
            &[AWS, CERTIFICATE, "keepalive = '1h'"],
            "link.x.keepalive: expected a duration from \"5s\" to \"20m\", found \"1h\": aws-iot allows at most 20m",
        ),
        (
            &[GRID, JWT, "session_expiry = '1d'"],
            "link.x.session_expiry: expected a duration from \"1s\" to \"8h\", found \"1d\": event-grid allows",
        ),
        (
            &[GRID, JWT, "max_packet_bytes = '1MiB'"],
            "link.x.max_packet_bytes: expected a size from \"256B\" to \"512KiB\", found \"1MiB\": event-grid allows",
        ),
        (
            &[MQTT, "backlog_max_bytes = '1MB/s'"],
            "link.x.backlog_max_bytes: expected a size from \"64KiB\" to \"1TiB\", in KiB, MiB or GiB, found",
        ),
        (&[MQTT, "lanes = 17"], "link.x.lanes: expected a whole number from 1 to 16, found 17"),
        (
            &[MQTT, "refuse_after = 'soon'"],
            "link.x.refuse_after: expected a duration from \"1s\" to \"30d\", in s, m, h or d, found \"soon\"",
        ),
        (&[MQTT, "client_id = 'd'"], "line 5, column 1: not TOML: duplicate key"),
        (&[MQTT, &from("a/#/b")], "link.x.publish[0].from: expected a topic filter"),
        (&[MQTT, &from("devices/+")], "link.x.publish[0].from: it matches no topic of a device"),
        (
            &[MQTT, &from("tenant/+/device/+")],
            "link.x.publish[0].from: it matches no topic of a device",
        ),
        (
            &[MQTT, &from("tenant/+/device/+/commands/x")],
            "link.x.publish[0].from: Sluice publishes these messages itself",
        ),
        (
            &[MQTT, &from("tenant/a/device/b/heartbeat/x")],
            "link.x.publish[0].from: it matches no message that Sluice accepts: invalid message type",
        ),
        (&[MQTT, &to("{site}")], "link.x.publish[0].to: {site} is no placeholder"),
        (
            &[MQTT, &to("$SYS/x")],
            "link.x.publish[0].to: a topic that begins with $ belongs to the other broker",
        ),
        (&[MQTT, &to("$aws/rules/r/x")], "link.x.publish[0].to: a topic that begins with $"),
        (
            &[AWS, CERTIFICATE, &to("$aws/rules/")],
            "link.x.publish[0].to: the name of the rule is missing",
        ),
        (
            &[AWS, CERTIFICATE, &to("a/b/c/d/e/f/g/h/{type}")],
            "link.x.publish[0].to: even with the shortest names the topic has 9 levels, at most 8 are allowed by aws-iot",
        ),
        (
            &[AWS, CERTIFICATE, &to(&"x".repeat(257))],
            "link.x.publish[0].to: even with the shortest names the topic has 257 bytes",
        ),
        (
            &[AWS, COGNITO.trim_end(), "\npublic_prefix = 'guest'\n", &to("guest/a")],
            "link.x.client_id: guests have client ids that begin with \"guest-\"",
        ),
        (
            &[MQTT, &publish("from = '#', to = 'a', mode = 'json'")],
            "link.x.publish[0].mode: expected \"binary\", \"structured\", \"raw\", found \"json\"",
        ),
        (
            &[AWS, CERTIFICATE, &ingest("filter = '$share/g/a'")],
            "link.x.ingest[0].filter: shared subscriptions of aws-iot are not relied on",
        ),
        (&[MQTT, &ingest("filter = 'a+'")], "link.x.ingest[0].filter: expected a topic filter"),
        (
            &[MQTT, &ingest("filter = 'a', type = 'commands'")],
            "link.x.ingest[0].type: Sluice publishes these messages itself",
        ),
        (
            &[MQTT, &ingest("filter = 'a', type = 'a/b'")],
            "link.x.ingest[0].type: it is never a message type",
        ),
        (
            &[MQTT, &ingest("filter = 'a', lenient = 1")],
            "link.x.ingest[0].lenient: expected true or false, found a number",
        ),
        (
            &[MQTT, &named("device = '{4}'")],
            "link.x.ingest[0].device: the filter has 3 levels, so there is no {4}",
        ),
        (
            &[MQTT, &named("device = '{0}'")],
            "link.x.ingest[0].device: {0} is no level of the topic",
        ),
        (&[MQTT, &named("device = '{2'")], "link.x.ingest[0].device: the { has no }"),
        (
            &[MQTT, &named("device = 'a b'")],
            "link.x.ingest[0].device: it is never a valid name: a name may contain only",
        ),
        (
            &[MQTT, &named(&format!("device = '{}{{2}}'", "d".repeat(64)))],
            "link.x.ingest[0].device: it is never a valid name: a name has at most 64",
        ),
    ];
    for (parts, expected) in cases {
        let found = faults_of(parts);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}\n{found:#?}");
    }
}

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
    let links: String = (0..=MAX_LINKS)
        .map(|n| format!("[link.l{n}]\n{}", MQTT.replace("'c'", &format!("'c{n}'"))))
        .collect();
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

#[test]
fn each_key_of_a_login_belongs_to_a_login() {
    for key in keys::LINK.iter().filter(|key| !key.of_auth.is_empty()) {
        let given = format!("{} = 'x'", key.name);
        let found = faults_of(&[MQTT, &given]);
        let words = format!("link.x.{}: it is used only with auth = ", key.name);
        assert!(found.iter().any(|found| found.starts_with(&words)), "{given}: {found:?}");
    }
}
