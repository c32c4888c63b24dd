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
replace_after = "2h"
"#;

/// A link without a fault, to which a case adds one.
pub(super) const MQTT: &str = "kind = 'mqtt'\nhost = 'b.example.org'\nclient_id = 'c'\n";
pub(super) const GRID: &str =
    "kind = 'event-grid'\nhost = 'n.r.ts.eventgrid.azure.net'\nclient_id = 'c'\n";
pub(super) const AWS: &str =
    "kind = 'aws-iot'\nhost = 'x-ats.iot.eu-west-1.amazonaws.com'\nclient_id = 'c'\n";
pub(super) const JWT: &str = "auth = 'jwt'\nkey = '/k'\nsubject = 's'\nissuer = 'i'\n";
pub(super) const CERTIFICATE: &str = "auth = 'certificate'\ncert = '/c'\nkey = '/k'\n";
pub(super) const COGNITO: &str = "auth = 'cognito'\nidentity_pool_id = 'eu-west-1:1'\n";

pub(super) fn listed(text: &str) -> Vec<String> {
    let faults: Faults = parse(text).unwrap_err();
    faults.listed.iter().map(ToString::to_string).collect()
}

/// The faults of a file with one link.
pub(super) fn faults_of(parts: &[&str]) -> Vec<String> {
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
    assert_eq!(
        (aws.replace_after.map(|life| life.as_secs()), azure.replace_after),
        (Some(7200), None)
    );
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
    assert_eq!(cognito.replace_after.map(|life| life.as_secs()), Some(23 * 3600));
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

/// Each line: a link without a fault, what is added to it, and the one fault that this causes.
const CASES: &str = r#"
grid |  | link.x: auth is missing: expected "jwt" or "certificate"
aws |  | link.x: auth is missing
http-grid jwt |  | link.x.host: this is the namespace's HTTP host: its MQTT host is "n.r.ts.eventgrid.azure.net"
mqtt | transport = 'tcp' | link.x.transport: "tcp" is not encrypted, so it leads only to this machine
mqtt | transport = 'ws' | link.x.transport: "ws" is not encrypted
mqtt | port = 0 | link.x.port: expected a whole number from 1 to 65535, found 0
mqtt | port = '1' | link.x.port: expected a whole number from 1 to 65535, found a text
mqtt | key_id = 'k' | link.x.key_id: it is used only with auth = "jwt", and auth is "none"
mqtt | auth = 'password'; username = 'u' | link.x: password_file is missing
mqtt jwt | place = 'username'; username = 'u' | link.x.username: the token is sent as the user name
mqtt jwt |  | link.x: username is missing
grid jwt | lifetime = '2d' | link.x.lifetime: expected a duration from "10s" to "1d", found "2d"
grid jwt | audience = [] | link.x.audience: expected a text, or a list
grid jwt | claims = { exp = 1 } | link.x.claims.exp: Sluice sets this claim
grid jwt | claims = { aud = 'a' } | link.x.claims.aud: write it as the key audience
grid jwt | claims = { at = 2026-01-01 } | link.x.claims: expected texts, numbers
local certificate | transport = 'tcp' | link.x.transport: auth = "certificate" is used only with TLS
local | transport = 'tcp'; ca_cert = '/c' | link.x.ca_cert: it is used only with TLS
aws cognito |  | link.x.client_id: guests have client ids that begin with "public-": write "public-c"
aws | auth = 'sigv4'; transport = 'tls' | link.x.transport: auth = "sigv4" signs the URL of a websocket: use "wss"
mqtt | auth = 'sigv4'; region = 'eu-west-1' | link.x.auth: "sigv4" is a login of kind = "aws-iot" alone
aws | auth = 'sigv4'; profile = 'p' | link.x.profile: it is a section of credentials_file
aws | auth = 'sigv4'; region = 'EU' | link.x.region: expected a region such as us-east-1
local-aws | auth = 'sigv4' | link.x: region is missing: the host does not name it
aws | auth = 'cognito'; identity_pool_id = 'p' | link.x.identity_pool_id: expected <region>:<uuid>
aws cognito | public_prefix = ''; cognito_endpoint = 'http://h.org/' | link.x.cognito_endpoint: expected an https:// URL
aws certificate | max_rate = 1.5 | link.x.max_rate: expected a whole number from 1 to 100, found a number with a fraction
aws certificate | max_rate = 101 | link.x.max_rate: expected a whole number from 1 to 100, found 101: aws-iot allows at most 100
aws certificate | max_unacked = 101 | link.x.max_unacked: expected a whole number from 1 to 100, found 101: aws-iot allows
aws certificate | keepalive = '1h' | link.x.keepalive: expected a duration from "5s" to "20m", found "1h": aws-iot allows at most 20m
grid jwt | session_expiry = '1d' | link.x.session_expiry: expected a duration from "1s" to "8h", found "1d": event-grid allows
grid jwt | max_packet_bytes = '1MiB' | link.x.max_packet_bytes: expected a size from "256B" to "512KiB", found "1MiB": event-grid allows
mqtt | backlog_max_bytes = '1MB/s' | link.x.backlog_max_bytes: expected a size from "64KiB" to "1TiB", in KiB, MiB or GiB, found
mqtt | lanes = 17 | link.x.lanes: expected a whole number from 1 to 16, found 17
mqtt | refuse_after = 'soon' | link.x.refuse_after: expected a duration from "1s" to "30d", in s, m, h or d, found "soon"
mqtt | client_id = 'd' | line 5, column 1: not TOML: duplicate key
mqtt | publish = [{ from = 'a/#/b', to = 'a' }] | link.x.publish[0].from: expected a topic filter
mqtt | publish = [{ from = 'devices/+', to = 'a' }] | link.x.publish[0].from: it matches no topic of a device
mqtt | publish = [{ from = 'tenant/+/device/+', to = 'a' }] | link.x.publish[0].from: it matches no topic of a device
mqtt | publish = [{ from = '$share/g/#', to = 'a' }] | link.x.publish[0].from: a link reads accepted messages
mqtt | publish = [{ from = 'tenant/+/device/+/commands/x', to = 'a' }] | link.x.publish[0].from: Sluice publishes these messages itself
mqtt | publish = [{ from = 'tenant/a/device/b/heartbeat/x', to = 'a' }] | link.x.publish[0].from: it matches no message that Sluice accepts
mqtt | publish = [{ from = '#', to = '{site}' }] | link.x.publish[0].to: {site} is no placeholder
mqtt | publish = [{ from = '#', to = 'a/#' }] | link.x.publish[0].to: a message has one topic, without + and #
mqtt | publish = [{ from = '#', to = '$SYS/x' }] | link.x.publish[0].to: a topic that begins with $ belongs to the other broker
mqtt | publish = [{ from = '#', to = '$aws/rules/r/x' }] | link.x.publish[0].to: a topic that begins with $
aws certificate | ingest = [{ filter = '$aws/events/#', tenant = 't', device = 'd' }] | link.x.ingest[0].filter: topics that begin with $
mqtt | ingest = [{ filter = '$share/g/$SYS/#', tenant = 't', device = 'd' }] | link.x.ingest[0].filter: topics that begin with $
aws certificate | publish = [{ from = '#', to = '$aws/rules/' }] | link.x.publish[0].to: the name of the rule is missing
aws certificate | publish = [{ from = '#', to = 'a/b/c/d/e/f/g/h/{type}' }] | link.x.publish[0].to: even with the shortest names the topic has 9 levels, at most 8 are allowed by aws-iot
mqtt | publish = [{ from = '#', to = 'a', mode = 'json' }] | link.x.publish[0].mode: expected "binary", "structured", "raw", found "json"
aws certificate | ingest = [{ filter = '$share/g/a', tenant = 't', device = 'd' }] | link.x.ingest[0].filter: shared subscriptions of aws-iot
mqtt | ingest = [{ filter = 'a+', tenant = 't', device = 'd' }] | link.x.ingest[0].filter: expected a topic filter
mqtt | ingest = [{ filter = 'a', tenant = 't', device = 'd', type = 'commands' }] | link.x.ingest[0].type: Sluice publishes these messages itself
mqtt | ingest = [{ filter = 'a', tenant = 't', device = 'd', type = 'a/b' }] | link.x.ingest[0].type: it is never a message type
mqtt | ingest = [{ filter = 'a', tenant = 't', device = 'd', lenient = 1 }] | link.x.ingest[0].lenient: expected true or false, found a number
mqtt | ingest = [{ filter = 'a/+/b', tenant = 't', device = '{4}' }] | link.x.ingest[0].device: the filter has 3 levels, so there is no {4}
mqtt | ingest = [{ filter = 'a/+/b', tenant = 't', device = '{0}' }] | link.x.ingest[0].device: {0} is no level of the topic
mqtt | ingest = [{ filter = 'a/+/b', tenant = 't', device = '{2' }] | link.x.ingest[0].device: the { has no }
mqtt | ingest = [{ filter = 'a/+/b', tenant = 't', device = 'a b' }] | link.x.ingest[0].device: it is never a valid name: a name may contain only
mqtt | ingest = [{ filter = 'a/+/b', tenant = 'é{2}', device = 'd' }] | link.x.ingest[0].tenant: it is never a valid name: a name may contain only
"#;

/// The parts of a link that the first column names.
fn base(names: &str) -> String {
    let part = |name: &str| match name {
        "mqtt" => MQTT.to_owned(),
        "local" => MQTT.replace("b.example.org", "localhost"),
        "grid" => GRID.to_owned(),
        "http-grid" => GRID.replace(".ts.", "."),
        "aws" => AWS.to_owned(),
        "local-aws" => AWS.replace("x-ats.iot.eu-west-1.amazonaws.com", "localhost"),
        "jwt" => JWT.to_owned(),
        "certificate" => CERTIFICATE.to_owned(),
        "cognito" => COGNITO.to_owned(),
        other => panic!("{other}"),
    };
    names.split_whitespace().map(part).collect()
}

#[test]
fn each_fault_names_its_place_and_what_to_do() {
    let cases: Vec<_> = CASES.trim().lines().collect();
    assert!(cases.len() > 50, "{}", cases.len());
    for case in cases {
        let columns: Vec<&str> = case.split(" | ").map(str::trim).collect();
        let [names, added, expected] = columns.as_slice() else { panic!("{case}") };
        let found = faults_of(&[&base(names), &added.replace("; ", "\n")]);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{case}\n{found:#?}");
    }
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
