//! The registry decides who gets answers, as it does for messages.

use serde_json::json;
use sluice::domain::token::TokenHash;

use super::requester::Requester;
use super::rig;
use crate::support::wait;

#[test]
fn only_an_active_device_of_an_active_tenant_gets_answers_and_none_is_registered() {
    let it = rig::start(&[("AUTO_PROVISION", "1")]);
    let port = it.broker.port();
    for (device, reason) in [
        ("acme/device/off", "DEVICE_INACTIVE"),
        ("acme/device/gone", "DEVICE_REVOKED"),
        ("acme/device/stranger", "UNREGISTERED_DEVICE"),
        ("halted/device/pump-1", "TENANT_SUSPENDED"),
    ] {
        let mut requester = Requester::connect(port, device);
        for route in ["time", "device", "nope"] {
            let response = requester.call(route, r#"{"id":1,"provision_token":"x"}"#);
            assert_eq!(response.status(), 403, "{device}: {response:?}");
            assert_eq!(response.json["reason"], json!(reason));
            assert_eq!(response.json["type"], json!("urn:sluice:problem:device-refused"));
            assert_eq!(response.json["id"], json!(1));
        }
    }
    assert_eq!(it.database.value("SELECT count(*) FROM devices"), "5", "none was added");

    // A change takes effect at once, although the answer was cached.
    let mut pump = Requester::connect(port, "acme/device/pump-1");
    assert_eq!(pump.call("time", "").status(), 200);
    it.settings.run(&["device", "set-status", "acme", "pump-1", "INACTIVE"]);
    wait::until("the change is known", || pump.call("time", "").status() == 403);
    it.settings.run(&["device", "set-status", "acme", "pump-1", "ACTIVE"]);
    wait::until("the change is known", || pump.call("time", "").status() == 200);
}

#[test]
fn a_device_without_a_certificate_proves_itself_by_its_token() {
    let it = rig::start(&[("CERT_AUTH_ENABLED", "1"), ("REQUIRE_TOKEN", "1")]);
    let hash = TokenHash::of("right").to_hex();
    it.database.query(&format!(
        "UPDATE devices SET provision_token_hash = '{hash}' WHERE device_id = 'pump-1' AND tenant_id = 'acme'"
    ));
    let port = it.broker.port();
    let mut pump = Requester::connect(port, "acme/device/pump-1");
    let mut status_with = |token: &str| {
        let response = pump.call("device", format!(r#"{{"id":1{token}}}"#));
        (response.status(), response.json["reason"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(status_with(""), (401, "TOKEN_MISSING".to_owned()));
    assert_eq!(status_with(r#","provision_token":"""#), (401, "TOKEN_MISSING".to_owned()));
    assert_eq!(status_with(r#","provision_token":"wrong""#), (403, "TOKEN_INVALID".to_owned()));
    assert_eq!(status_with(r#","provision_token":"right""#), (200, String::new()));
    let mut other = Requester::connect(port, "acme/device/pump-2");
    let response = other.call("time", r#"{"provision_token":"right"}"#);
    assert_eq!(response.json["reason"], json!("TOKEN_NOT_SET_IN_REGISTRY"), "{response:?}");
    for secret in ["right", hash.as_str()] {
        assert!(!it.daemon.log().contains(secret), "the log shows {secret}");
    }
}
