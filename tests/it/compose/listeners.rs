//! Who gets in at each listener of the shipped `mosquitto.conf`, and what the shipped `acl.conf`
//! lets them say and hear.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::stack::{PASSWORD_DEVICE, Stack, words};
use crate::support::process::run_to_end;
use crate::support::wait;

/// Accepted, with a subscriber or without.
const ACCEPTED: [&str; 2] = ["0", "16"];
/// Not authorized: 0x87.
const REFUSED: &str = "135";

#[test]
fn a_device_publishes_only_as_itself_and_a_refused_message_goes_nowhere() {
    let stack = Stack::start();
    stack.enroll("pump-1");
    let password = stack.read("sluice/mqtt_password");
    let login = Some(("sluice", password.as_str()));
    let ear = stack.by_password(
        "mosquitto_sub",
        login,
        &["-q", "1", "-t", "tenant/+/device/+/#", "-C", "1", "-F", "heard %t"],
    );
    let mut ear = stack.listening(&ear, "ear");
    for topic in [
        "tenant/acme/device/pump-2/telemetry",
        "tenant/acme/device/pump-2/request/time",
        "tenant/acme/device/pump-1/response/time/accepted",
        "tenant/acme/device/pump-1/notices/certificate",
        "sluice/outbox",
        "symphony/response/ops",
        "tenant/other/device/pump-1/telemetry",
        "tenant/acme/device/pump-1/commands/start",
        "tenant/acme/device/pump-1/shadow/desired",
        "tenant/acme/device/pump-1/jobs/1",
        "tenant/acme/device/pump-1",
        "tenant/acme/device/pump-1x/telemetry",
        "any/topic",
    ] {
        assert_eq!(stack.reason_code("pump-1", topic), REFUSED, "{topic}");
    }
    for kind in [
        "telemetry",
        "telemetry/fast",
        "heartbeat",
        "event",
        "status",
        "shadow/reported",
        "commands/ack",
        "request/time",
        "request/certificate/renew",
    ] {
        let code = stack.reason_code("pump-1", &format!("tenant/acme/device/pump-1/{kind}"));
        assert!(ACCEPTED.contains(&code.as_str()), "{kind}: {code}");
    }
    ear.wait_done();
    // The first that came was the first accepted.
    assert!(
        stack.read("ear").contains("heard tenant/acme/device/pump-1/telemetry\n"),
        "{}",
        stack.read("ear")
    );
}

#[test]
fn a_subscription_to_everything_yields_ones_own_topics_only() {
    let stack = Stack::start();
    stack.enroll("pump-1");
    stack.enroll("pump-2");
    let everything =
        ["-q", "1", "-t", "#", "-t", "tenant/acme/device/pump-2/#", "-C", "4", "-F", "heard %t"];
    let ear = stack.over_tls("mosquitto_sub", Some("pump-1"), &everything);
    let mut ear = stack.listening(&ear, "ear");
    for kind in ["telemetry", "status", "commands/ack"] {
        let code = stack.reason_code("pump-2", &format!("tenant/acme/device/pump-2/{kind}"));
        assert!(ACCEPTED.contains(&code.as_str()), "{kind}: {code}");
    }
    let password = stack.read("sluice/mqtt_password");
    for device in ["pump-2", "pump-1"] {
        for kind in ["response/time/accepted", "notices/certificate", "errors"] {
            let topic = format!("tenant/acme/device/{device}/{kind}");
            let message = ["-q", "1", "-t", &topic, "-m", "x"];
            run_to_end(&mut stack.by_password(
                "mosquitto_pub",
                Some(("sluice", &password)),
                &message,
            ));
        }
    }
    // What a device may receive; its second connection, by password, publishes it.
    let own = ["-q", "1", "-t", "tenant/acme/device/pump-1/commands/ack", "-m", "x"];
    let output = stack.by_password("mosquitto_pub", Some(PASSWORD_DEVICE), &own).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    ear.wait_done();
    let heard = stack.read("ear");
    assert!(!heard.contains("heard tenant/acme/device/pump-2"), "{heard}");
    for kind in ["response/time/accepted", "notices/certificate", "errors", "commands/ack"] {
        assert!(heard.contains(&format!("heard tenant/acme/device/pump-1/{kind}\n")), "{heard}");
    }
}

#[test]
fn no_client_connects_without_a_certificate_or_a_password() {
    let stack = Stack::start();
    let publish = ["-q", "1", "-t", "tenant/acme/device/pump-1/telemetry", "-m", "x"];
    let bare = stack.over_tls("mosquitto_pub", None, &publish).output().unwrap();
    assert!(!bare.status.success(), "{bare:?}");
    // A password does not stand in for a certificate.
    let mut with_password = stack.over_tls("mosquitto_pub", None, &publish);
    with_password.args(["-u", PASSWORD_DEVICE.0, "-P", PASSWORD_DEVICE.1]);
    assert!(!with_password.output().unwrap().status.success());
    for login in [None, Some(("sluice", "wrong")), Some(("nobody", "x"))] {
        let output = stack.by_password("mosquitto_pub", login, &publish).output().unwrap();
        assert!(words(&output).contains("ot authorized"), "{login:?}: {output:?}");
    }
    let password = stack.read("sluice/mqtt_password");
    assert_eq!(browser_login(stack.ports[2], None), REFUSED.parse::<u8>().unwrap());
    assert_eq!(browser_login(stack.ports[2], Some(("sluice", &password))), 0);
}

#[test]
fn sluice_hears_and_does_not_speak_and_the_health_check_sees_nothing_else() {
    let stack = Stack::start();
    let password = stack.read("sluice/mqtt_password");
    let speak = ["-d", "-q", "1", "-t", "tenant/acme/device/pump-1/telemetry", "-m", "x"];
    let output =
        stack.by_password("mosquitto_pub", Some(("sluice", &password)), &speak).output().unwrap();
    assert!(words(&output).contains("RC:135"), "{output:?}");
    // The command of the health check, with this broker's port.
    let mut check = stack.by_password(
        "mosquitto_sub",
        None,
        &["-t", "$SYS/broker/version", "-C", "1", "-W", "30"],
    );
    let output = check.env("XDG_CONFIG_HOME", stack.path("broker")).output().unwrap();
    assert!(words(&output).contains("mosquitto version"), "{output:?}");
}

#[test]
fn a_live_session_ends_when_sluice_takes_its_client_id() {
    let stack = Stack::start();
    stack.enroll("pump-1");
    let session = stack.over_tls("mosquitto_sub", Some("pump-1"), &["-i", "whatever", "-t", "x"]);
    let _session = stack.listening(&session, "session");
    let password = stack.read("sluice/mqtt_password");
    let take = ["-i", "acme/device/pump-1", "-t", "x", "-m", "x"];
    let taken =
        stack.by_password("mosquitto_pub", Some(("sluice", &password)), &take).output().unwrap();
    assert!(taken.status.success(), "{taken:?}");
    wait::until("the broker has closed the session", || stack.takeovers("pump-1") == 1);
}

/// Logs in over websockets as a browser would; the reason code of the CONNACK.
fn browser_login(port: u16, login: Option<(&str, &str)>) -> u8 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let upgrade = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(byte(&mut stream));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    // CONNECT of MQTT 5: clean start, no properties, client id "b".
    let mut body = b"\0\x04MQTT\x05\x02\0\0\0\0\x01b".to_vec();
    if let Some((user, password)) = login {
        body[7] |= 0xC0;
        for text in [user, password] {
            body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            body.extend(text.as_bytes());
        }
    }
    let mut packet = vec![0x10, u8::try_from(body.len()).unwrap()];
    packet.extend(body);
    // One binary frame; a browser masks, and the mask may be zero.
    let mut frame = vec![0x82, 0x80 | u8::try_from(packet.len()).unwrap(), 0, 0, 0, 0];
    frame.extend(packet);
    stream.write_all(&frame).unwrap();
    // Frame: 2 bytes; CONNACK: its kind, its length, flags, reason code.
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!((answer[0], answer[2]), (0x82, 0x20), "{answer:?}");
    answer[5]
}

fn byte(stream: &mut TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}
