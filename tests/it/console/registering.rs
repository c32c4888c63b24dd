//! An unknown device is found in the quarantine, registered and replayed in six steps, told before
//! how many messages a replay would store; and its token is taken over only where nothing speaks
//! against it.

use serde_json::{Value, json};

use super::browser::{Browser, between};
use crate::api::client::{TOKEN, builder};
use crate::support::wait;

/// pump-99 sends one token, `two` sends two, `shared` that of pump-1, `bare` none.
const REFUSED: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme');
    INSERT INTO devices (tenant_id, device_id, provision_token_hash) VALUES ('acme', 'pump-1', encode(sha256('known'), 'hex'));
    INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, site_id, msg_type, reason, detail,
        payload, message_id, token_sha256)
    SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, now() - n * interval '1 minute', now() - n * interval '1 minute',
        'tenant/acme/device/' || d || '/telemetry', 'acme', d, 'north', 'telemetry', 'UNREGISTERED_DEVICE',
        'the device is not in the registry', '{\"metrics\":{\"t\":1},\"site_id\":\"north\"}', gen_random_uuid(),
        encode(sha256(t::bytea), 'hex')
    FROM (VALUES (1, 'pump-99', 'tok'), (2, 'pump-99', 'tok'), (3, 'pump-99', 'tok'), (4, 'two', 'one'), (5, 'two', 'other'),
        (6, 'shared', 'known'), (7, 'bare', NULL), (8, 'early', 'early')) v (n, d, t)";

const OPERATOR: &str = "sluice_op_3333333333333333333333333333333333333333333333333333333333333333";

/// The address of the first link with this text.
fn link(page: &str, text: &str) -> String {
    let (before, _) = page.split_once(text).unwrap_or_else(|| panic!("{text} in\n{page}"));
    before.rsplit_once("href=\"").unwrap().1.split('"').next().unwrap().replace("&#38;", "&")
}

fn forecast<'a>(preview: &'a Value, proof: &str) -> &'a Value {
    let all = preview["forecasts"].as_array().unwrap();
    all.iter().find(|forecast| forecast["proof"] == proof).unwrap_or(&Value::Null)
}

#[test]
fn an_unknown_device_is_registered_and_replayed_in_six_steps() {
    let people = format!(
        "INSERT INTO operators (name, role, token_sha256) VALUES ('olga', 'operator', sha256('{OPERATOR}'))"
    );
    let it = builder().registry(&format!("{REFUSED}; {people}")).set("REQUIRE_TOKEN", "1").start();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    let list = admin.get("/console/quarantine").page(); // 1
    let message = "/console/quarantine/00000000-0000-0000-0000-000000000001";
    assert!(list.contains(message), "{list}");
    let page = admin.get(message).page(); // 2
    let form = link(&page, "Register acme/pump-99");
    let page = admin.get(&form).page(); // 3
    for text in [
        "3 refused messages</a> on the topics of acme/pump-99; 3 carry a token",
        "A new token, which the next page shows once: a replay would store 0 of 3; refused again: TOKEN_INVALID",
        "The token that these messages carry: a replay would store 3 of 3.",
        "No certificate of this authority names the device",
        "name=\"site\" value=\"north\"",
        "name=\"proof\" value=\"token\" checked",
        "sluice device preview acme pump-99",
    ] {
        assert!(page.contains(text), "{text} in\n{page}");
    }
    let event = between(&page, "name=\"token_of_event\" value=\"", "\"").unwrap().to_owned();
    let fields = [
        ("tenant", "acme"),
        ("device", "pump-99"),
        ("site", "north"),
        ("proof", "theirs"), // 4
        ("token_of_event", event.as_str()),
        ("replay", "on"),
    ];
    let to = admin.post("/console/devices/new", &fields).redirected(); // 5
    let page = wait::for_some("the dry run is done", || {
        Some(admin.get(&to).page()).filter(|page| page.contains("Dry run done"))
    });
    assert!(page.contains("Replay these 3"), "{page}");
    let id = to.rsplit("replay=").next().unwrap();
    let started = admin.post(&format!("/console/quarantine/replays/{id}/start"), &[]).redirected(); // 6
    wait::until("the replay is done", || admin.get(&started).page().contains("Replay done"));
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry"), "3");

    // The audit names the message, and no hash.
    let detail = "SELECT detail FROM audit_log WHERE action = 'device.add'";
    let detail: Value = serde_json::from_str(&it.database.value(detail)).unwrap();
    assert_eq!(
        detail,
        json!({ "site_id": "north", "status": "ACTIVE", "token": true, "token_of_event": event })
    );
    let page = admin.get("/console/devices/acme/pump-99").page();
    let entries = page.split("id=\"audit\"").nth(1).unwrap();
    assert!(entries.contains("device.add") && entries.contains("console:admin"), "{entries}");

    // An operator sees the numbers, and an admin acts.
    let olga = Browser::signed_in(admin.port, OPERATOR);
    olga.api("GET", "/tenants/acme/devices/early/registration", None).ok(200);
    let body = json!({ "device_id": "early", "token": false, "token_of_event": event });
    olga.api("POST", "/tenants/acme/devices", Some(&body)).problem(403, "forbidden");
    assert!(!olga.get(&form).page().contains("token_of_event"));
}

#[test]
fn a_token_is_taken_over_only_where_nothing_speaks_against_it() {
    let it = builder()
        .registry(REFUSED)
        .with(&[("REQUIRE_TOKEN", "1"), ("CERT_AUTH_ENABLED", "1")])
        .start();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    let preview = |device: &str| {
        admin.api("GET", &format!("/tenants/acme/devices/{device}/registration"), None).ok(200)
    };
    let add = |device: &str, event: u32| {
        let event = format!("00000000-0000-0000-0000-00000000000{event}");
        let body = json!({ "device_id": device, "token_of_event": event });
        admin.api("POST", "/tenants/acme/devices", Some(&body))
    };
    for (device, event, why) in [
        ("two", 4, "carry 2 different tokens"),
        ("shared", 6, "another device has the same token"),
        ("bare", 7, "is no kept message of this device with a token"),
        ("pump-98", 1, "is no kept message of this device with a token"),
    ] {
        let refused = add(device, event).problem(422, "refused");
        assert!(refused["errors"][0]["detail"].as_str().unwrap().contains(why), "{refused}");
        let found = preview(device);
        assert!(found["token_of_event"].is_null(), "{found}");
        assert!(forecast(&found, "their_token").is_null(), "{found}");
    }
    assert_eq!(preview("bare")["token_refusal"], "none of its kept messages carries a token");
    assert_eq!(forecast(&preview("bare"), "new_token")["reason"], "TOKEN_MISSING");
    assert_eq!(forecast(&preview("bare"), "certificate")["stored"], 1);
    assert_eq!(preview("pump-1")["is_registered"], true);

    // Another sender appears between the look and the act.
    assert_eq!(forecast(&preview("early"), "their_token")["stored"], 1);
    it.database.query(
        "INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, msg_type, reason, detail,
             payload, message_id, token_sha256)
         VALUES (gen_random_uuid(), now(), now(), 'tenant/acme/device/early/telemetry', 'acme', 'early', 'telemetry',
             'UNREGISTERED_DEVICE', 'because', '{}', gen_random_uuid(), encode(sha256('attacker'), 'hex'))",
    );
    add("early", 8).problem(422, "refused");
    let form = [("tenant", "acme"), ("device", "early"), ("proof", "theirs")];
    let event = ("token_of_event", "00000000-0000-0000-0000-000000000008");
    let again = admin.post("/console/devices/new", &[&form[..], &[event]].concat());
    assert_eq!(again.status, 422);
    assert!(again.text().contains("cannot be taken over"), "{}", again.text());
    assert_eq!(it.database.value("SELECT count(*) FROM devices"), "1");

    // The same by command.
    let text = it.settings.run(&["device", "preview", "acme", "pump-99"]);
    assert!(text.contains("--token-of-event 00000000-0000-0000-0000-000000000001"), "{text}");
    let event = "00000000-0000-0000-0000-000000000001";
    let text = it.settings.run(&["device", "add", "acme", "pump-99", "--token-of-event", event]);
    assert!(text.contains("as in its refused messages"), "{text}");
    let found = preview("pump-99");
    assert_eq!(forecast(&found, "registered")["stored"], 3, "{found}");
    let hash = "SELECT provision_token_hash = encode(sha256('tok'), 'hex') FROM devices WHERE device_id = 'pump-99'";
    assert_eq!(it.database.value(hash), "t");
}
