//! Each refusal names what to change, and no more than a likely cause.

use std::io;

use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

use super::codes::of_code;
use super::errors::of_error;
use super::{CodePacket, FailureClass};
use crate::broker::error::BrokerError;
use crate::broker::transport::malformed::Malformed;
use crate::broker::transport::packets::DisconnectReason;
use crate::broker::transport::web_socket_fault::WebSocketFault;
use crate::link::file;
use crate::link::settings::LinkSettings;

const AZURE: &str = r#"
[link.azure]
kind = "event-grid"
host = "ns.eastus-1.ts.eventgrid.azure.net"
client_id = "gate-1"
auth = "jwt"
key = "/key.pem"
issuer = "gate"
subject = "gate-1"
publish = [{ from = "tenant/+/device/+/telemetry", to = "devices/{device}/messages/events" }]
"#;

const AWS: &str = r#"
[link.aws]
kind = "aws-iot"
host = "xxx-ats.iot.us-east-1.amazonaws.com"
client_id = "gate-1"
auth = "certificate"
cert = "/cert.pem"
key = "/key.pem"
publish = [{ from = "tenant/+/device/+/telemetry", to = "devices/{device}/events" }]
"#;

const OTHER: &str = r#"
[link.other]
kind = "mqtt"
host = "127.0.0.1"
port = 1883
transport = "tcp"
client_id = "gate-1"
auth = "password"
username = "gate"
password_file = "/password"
publish = [{ from = "tenant/+/device/+/telemetry", to = "devices/{device}/events" }]
"#;

fn link(text: &str) -> LinkSettings {
    file::parse(text).unwrap_or_else(|faults| panic!("{faults}")).links.remove(0)
}

#[test]
fn a_code_names_the_field_or_the_thing_to_change() {
    use CodePacket::{ConnAck, Disconnect, PubAck, SubAck};
    for (text, packet, code, named) in [
        (AZURE, ConnAck, 0x87, "link.azure.audience"),
        (AZURE, ConnAck, 0x8c, "custom JWT"),
        (AZURE, ConnAck, 0x88, "enable MQTT"),
        (AZURE, ConnAck, 0x97, "link.azure.lanes"),
        (AZURE, PubAck, 0x87, "topic space"),
        (AZURE, SubAck, 0x87, "link.azure.ingest"),
        (AZURE, Disconnect, 0x8e, "link.azure.client_id"),
        (AZURE, Disconnect, 0x95, "link.azure.max_packet_bytes"),
        (AZURE, Disconnect, 0xa0, "link.azure.lifetime"),
        (AWS, ConnAck, 0x87, "link.aws.client_id"),
        (AWS, PubAck, 0x87, "iot:Publish"),
        (AWS, SubAck, 0x87, "iot:Subscribe"),
        (AWS, PubAck, 0x97, "link.aws.max_rate"),
        (OTHER, ConnAck, 0x86, "link.other.password_file"),
        (OTHER, ConnAck, 0x85, "link.other.client_id"),
        (OTHER, ConnAck, 0x8c, "link.other.place"),
        (OTHER, PubAck, 0x87, "link.other.publish"),
    ] {
        let explained = of_code(&link(text), packet, code, Some("devices/a"));
        assert!(explained.advice.contains(named), "{packet:?} 0x{code:02X}: {explained:?}");
        assert!(explained.what.contains(&format!("0x{code:02X}")), "{explained:?}");
    }
}

#[test]
fn every_code_has_an_explanation_and_a_class() {
    for text in [AZURE, AWS, OTHER] {
        for packet in [
            CodePacket::ConnAck,
            CodePacket::SubAck,
            CodePacket::PubAck,
            CodePacket::Disconnect,
            CodePacket::Auth,
        ] {
            for code in 0x80..=0xa2 {
                let explained = of_code(&link(text), packet, code, None);
                assert!(!explained.advice.is_empty() && explained.cause.is_some());
                let is_takeover = explained.class == FailureClass::TakenOver;
                assert_eq!(is_takeover, code == 0x8e);
            }
        }
    }
}

#[test]
fn a_failure_without_a_code_names_the_field_at_fault() {
    let timeout = || BrokerError::ConnectTimeout { address: "a:8883".to_owned(), seconds: 10 };
    let name = || BrokerError::Name { host: "a".to_owned(), source: io::Error::other("none") };
    let tls = |source| BrokerError::Tls { source };
    let forbidden = |status| BrokerError::Upgrade {
        status,
        error_type: Some("ForbiddenException".to_owned()),
        message: None,
        date: Some("Wed, 01 Jan 2020 00:00:00 GMT".to_owned()),
    };
    let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
    let required = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
    let end = |code, reason, server| DisconnectReason { code, reason, server };
    let moved = || BrokerError::Dismissed(end(0x9d, Some("bye".into()), Some("b.x:8883".into())));
    let elsewhere =
        || BrokerError::Refused { code: 0x9c, reason: None, server: Some("b.x:8883".into()) };
    let no_answer = |packet| BrokerError::NoAnswer { packet, seconds: 10 };
    for (text, error, named) in [
        (AZURE, timeout(), "link.azure.transport to wss"),
        (AZURE, name(), "region in link.azure.host"),
        (AZURE, BrokerError::ClosedEarly, "IP filter"),
        (AWS, BrokerError::ClosedEarly, "iot:Connect"),
        (AWS, tls(unknown), "link.aws.ca_cert"),
        (AZURE, tls(required), "link.azure.auth"),
        (AWS, forbidden(403), "clock"),
        (AWS, forbidden(503), "tries again"),
        (OTHER, BrokerError::Closed, "link.other.client_id"),
        (OTHER, moved(), "names the server b.x:8883"),
        (OTHER, moved(), "link.other.host"),
        (OTHER, moved(), "(\"bye\")"),
        (OTHER, elsewhere(), "names the server b.x:8883"),
        (OTHER, BrokerError::Protocol(Malformed::UnrequestedAuth), "AUTH without a renewal"),
        (OTHER, BrokerError::Protocol(Malformed::SecondConnAck), "a second CONNACK"),
        (OTHER, BrokerError::Protocol(Malformed::Length), "link.other.transport"),
        (AZURE, BrokerError::AuthContinued { code: 0x18 }, "link.azure.place"),
        (OTHER, BrokerError::AuthContinued { code: 0x18 }, "another step of authentication"),
        (OTHER, no_answer("CONNECT"), "link.other.port"),
        (OTHER, no_answer("PUBLISH"), "did not answer PUBLISH within 10 s"),
        (OTHER, BrokerError::Silent { seconds: 90 }, "sent nothing for 90 s"),
        (OTHER, BrokerError::PacketStalled { seconds: 120 }, "did not end within 120 s"),
        (OTHER, BrokerError::WriteStalled { seconds: 10 }, "accepted no bytes"),
        (OTHER, BrokerError::Broken(io::Error::other("reset")), "failed (reset)"),
        (AWS, BrokerError::NotUpgraded("no key"), "link.aws.transport"),
        (AWS, BrokerError::WebSocket(WebSocketFault::Text), "the websocket to the other broker"),
        (OTHER, BrokerError::Unsendable("too long".to_owned()), "link.other.ingest"),
    ] {
        let explained = of_error(&link(text), &error);
        let shown = format!("{explained}; {}", explained.advice);
        assert!(shown.contains(named), "{named} is not in: {shown}");
        // Settings of the daemon, and its own broker.
        assert!(!shown.contains("MQTT_") && !shown.contains("the broker's"), "{shown}");
    }
}
