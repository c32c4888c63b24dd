//! The accepted content of a links file, and the report of its faults: all at once, each with its
//! place.

use super::*;
use crate::link::kind::{LinkKind, LinkTransport};
use crate::link::settings::LinkAuth;

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

#[test]
fn the_example_is_read() {
    let set = parse(EXAMPLE).unwrap();
    assert_eq!(set.node.as_deref(), Some("plant-7"));
    let (azure, aws) = (set.find("azure").unwrap(), set.find("aws").unwrap());
    assert_eq!(
        (azure.kind, azure.transport, azure.port),
        (LinkKind::EventGrid, LinkTransport::Tls, 8883)
    );
    let LinkAuth::Jwt { token, username: None } = &azure.auth else { panic!("{:?}", azure.auth) };
    let host = "ns.eastus-1.ts.eventgrid.azure.net";
    let claims =
        serde_json::json!({ "iss": "plant-7", "sub": "gate-1", "aud": [host, format!("{host}/")] });
    assert_eq!(serde_json::Value::Object(token.claims.clone()), claims);
    assert_eq!((aws.kind, aws.limits.rate, aws.limits.unacked), (LinkKind::AwsIot, 90, 100));
    assert_eq!(set.plan().links.len(), 1);
    assert_eq!(parse("").unwrap(), LinkSet::default());
}
