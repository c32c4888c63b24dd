//! The search for devices, and changes of a device's site and metadata: each key, each order, page by
//! page.

use serde_json::{Value, json};

use super::client::ApiDaemon;

/// Seven devices of two tenants; `silent` was heard two hours ago, `new` never.
const FLEET: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A'), ('other', 'O');
    INSERT INTO devices (tenant_id, device_id, site_id, status, provision_token_hash) VALUES
        ('acme', 'pump-1', 'north', 'ACTIVE', repeat('a', 64)), ('acme', 'pump-2', 'hall 7', 'ACTIVE', NULL),
        ('acme', 'silent', 'north', 'INACTIVE', NULL), ('acme', 'new', NULL, 'ACTIVE', NULL),
        ('acme', 'gone', 'south', 'REVOKED', NULL), ('other', 'pump-1', 'north', 'ACTIVE', NULL),
        ('other', 'urn:x', NULL, 'ACTIVE', NULL);
    INSERT INTO device_state (tenant_id, device_id, last_seen_at, desired, reported, reported_version) VALUES
        ('acme', 'pump-1', now() - interval '1 minute', '{\"rate\": 2}', '{\"rate\": 1}', 7),
        ('acme', 'pump-2', now() - interval '2 minutes', '{\"rate\": 2}', '{\"rate\": 2}', 1),
        ('acme', 'silent', now() - interval '2 hours', NULL, NULL, NULL),
        ('acme', 'gone', now() - interval '3 hours', NULL, NULL, NULL),
        ('other', 'pump-1', now() - interval '3 minutes', NULL, NULL, NULL),
        ('other', 'urn:x', now() - interval '4 minutes', NULL, NULL, NULL);
    INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, status,
        not_before, not_after, replaces)
    SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, tenant, device, encode(sha256(n::text::bytea), 'hex'), n::text, 'cn',
        'CN=ca', status, now() - interval '100 days', now() + days * interval '1 day',
        ('00000000-0000-0000-0000-00000000000' || replaces)::uuid
    FROM (VALUES (1, 'acme', 'pump-1', 'ACTIVE', 10, NULL), (2, 'acme', 'pump-1', 'EXPIRED', -2, NULL),
        (3, 'acme', 'pump-2', 'ACTIVE', 11, NULL), (4, 'acme', 'pump-2', 'ACTIVE', 300, 3),
        (5, 'acme', 'gone', 'REVOKED', 100, NULL), (6, 'acme', 'gone', 'EXPIRED', -1, NULL),
        (7, 'acme', 'silent', 'EXPIRED', -1, NULL)) held (n, tenant, device, status, days, replaces);
    INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, reason, detail, payload, message_id)
    SELECT gen_random_uuid(), now() - age, now() - age, 't', tenant, device, 'TOKEN_INVALID', '', '', gen_random_uuid()
    FROM (VALUES ('acme', 'pump-1', interval '1 minute'), ('acme', 'pump-1', interval '5 hours'),
        ('acme', 'pump-1', interval '30 hours'), ('acme', 'pump-2', interval '3 hours'),
        ('other', 'urn:x', interval '1 minute')) refused (tenant, device, age);
    INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, reason, detail, payload, message_id)
    SELECT gen_random_uuid(), now(), now(), 't', 'other', 'urn:x', 'TOKEN_INVALID', '', '', gen_random_uuid()
    FROM generate_series(1, 200)";

fn fleet() -> ApiDaemon {
    let api = ApiDaemon::start();
    api.database.query(FLEET);
    api
}

/// The names of the rows: of tenant acme alone, of others with their tenant.
fn names(rows: &[Value]) -> Vec<String> {
    let name = |row: &Value| match (row["tenant_id"].as_str(), row["device_id"].as_str()) {
        (Some("acme"), Some(device)) => device.to_owned(),
        (Some(tenant), Some(device)) => format!("{tenant}/{device}"),
        _ => panic!("no device: {row}"),
    };
    rows.iter().map(name).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"))
}

#[test]
fn each_key_finds_its_devices_in_any_page() {
    let api = fleet();
    for (search, expected) in [
        ("", "gone new pump-1 pump-2 silent other/pump-1 other/urn:x"),
        ("tenant:other", "other/pump-1 other/urn:x"),
        ("tenant:acme tenant:other pump-1", "pump-1 other/pump-1"),
        ("pump-*", "pump-1 pump-2 other/pump-1"),
        ("pump-* -tenant:other", "pump-1 pump-2"),
        ("-pump-* -gone", "new silent other/urn:x"),
        ("\"urn:x\"", "other/urn:x"),
        ("device:urn:x", "other/urn:x"),
        ("site:north", "pump-1 silent other/pump-1"),
        ("site:\"hall 7\"", "pump-2"),
        ("site:\"hall \"*", "pump-2"),
        ("-site:north", "gone new pump-2 other/urn:x"),
        ("status:revoked status:INACTIVE", "gone silent"),
        ("silent:1h", "gone new silent"),
        ("silent:1h -heard:never", "gone silent"),
        ("heard:never", "new"),
        ("tenant:acme heard:ever", "gone pump-1 pump-2 silent"),
        ("certificate:active", "pump-1 pump-2"),
        ("certificate:revoked", "gone"),
        ("certificate:expired", "silent"),
        ("certificate:none", "new other/pump-1 other/urn:x"),
        ("certificate:ending:30d", "pump-1"),
        ("-certificate:none -certificate:ending:30d", "gone pump-2 silent"),
        ("refused:1h", "pump-1 other/urn:x"),
        ("refused:24h -tenant:other", "pump-1 pump-2"),
        ("-refused:24h tenant:acme", "gone new silent"),
        ("token:yes", "pump-1"),
        ("token:no tenant:acme", "gone new pump-2 silent"),
        ("zzz", ""),
    ] {
        let path = format!("/devices?search={}", encoded(search));
        let expected: Vec<&str> = expected.split_whitespace().collect();
        assert_eq!(names(&api.walk(&path, 2)), expected, "{search}");
        let found = api.get(&format!("{path}&count=true&limit=1")).ok(200)["found"].clone();
        assert_eq!(found, json!({ "rows": expected.len(), "more": false }), "{search}");
    }
    let of_acme = api.walk("/tenants/acme/devices?search=tenant%3Aother", 2);
    assert!(of_acme.is_empty(), "{of_acme:?}");
    assert_eq!(api.get("/devices").ok(200)["found"], Value::Null);
}

/// So many refusals that each device is looked up in the quarantine, instead of reading all events.
const FLOOD: &str = "INSERT INTO quarantine_counters_minute (bucket_minute, tenant_id, reason, cnt)
    VALUES (date_trunc('minute', now()), 'acme', 'TOKEN_INVALID', 200000)";

#[test]
fn after_a_flood_a_search_for_refused_devices_finds_the_same_in_each_order() {
    let api = fleet();
    let found = |search: &str| {
        ["name", "last_heard", "-last_heard"].map(|sort| {
            let path = format!("/devices?search={}&sort={sort}", encoded(search));
            let counted = api.get(&format!("{path}&count=true&limit=1")).ok(200);
            (names(&api.walk(&path, 1)), counted["found"].clone())
        })
    };
    let searches = [
        "refused:1h",
        "refused:24h refused:1h",
        "refused:12h pump-*",
        "-refused:1h",
        "-refused:24h tenant:acme",
    ];
    let before = searches.map(found);
    assert_eq!(before[0][2].0, ["pump-1", "other/urn:x"], "the latest first");
    api.database.query(FLOOD);
    let after = searches.map(found);
    assert_eq!(before, after);
}

#[test]
fn a_row_says_what_one_wants_to_know_of_a_device() {
    let api = fleet();
    let rows = api.walk("/devices", 100);
    let row = |tenant: &str, device: &str| {
        let mut of = rows.iter().filter(|row| row["tenant_id"] == tenant);
        of.find(|row| row["device_id"] == device).unwrap()
    };
    let pump = row("acme", "pump-1");
    assert_eq!(pump["certificate_id"], "00000000-0000-0000-0000-000000000001");
    assert_eq!(
        (&pump["certificate_status"], &pump["certificate_replaced"]),
        (&json!("ACTIVE"), &json!(false))
    );
    assert_eq!(
        (&pump["refused_24h"], &pump["has_token"], &pump["in_sync"]),
        (&json!(2), &json!(true), &json!(false))
    );
    assert_eq!((&pump["desired_version"], &pump["reported_version"]), (&json!(1), &json!(7)));
    assert_eq!(row("acme", "pump-2")["certificate_id"], "00000000-0000-0000-0000-000000000004");
    assert_eq!(row("acme", "pump-2")["in_sync"], true);
    assert_eq!(row("acme", "gone")["certificate_status"], "REVOKED");
    let new = row("acme", "new");
    assert_eq!((&new["last_seen_at"], &new["certificate_id"]), (&Value::Null, &Value::Null));
    assert_eq!(row("other", "pump-1")["refused_24h"], 0, "a name of another tenant");
    assert_eq!(row("other", "urn:x")["refused_24h"], 100, "the bound");
}

#[test]
fn the_order_by_the_last_message_holds_over_pages() {
    let api = fleet();
    let oldest = names(&api.walk("/devices?sort=last_heard", 2));
    assert_eq!(
        oldest,
        ["new", "gone", "silent", "other/urn:x", "other/pump-1", "pump-2", "pump-1"]
    );
    let latest = names(&api.walk("/devices?sort=-last_heard", 2));
    assert!(latest.iter().eq(oldest.iter().rev()), "{latest:?}");
    let timed = api.get("/devices?sort=last_heard&limit=1").ok(200)["next"].clone();
    assert_eq!(timed, "never@acme/new");
    for path in [
        "/devices?cursor=never@acme/new",
        "/devices?sort=last_heard&cursor=acme/new",
        "/devices?sort=last_heard&cursor=x",
    ] {
        assert_eq!(api.get(path).blamed(), "cursor", "{path}");
    }
    assert_eq!(api.get("/devices?sort=age").blamed(), "sort");
    let refused = api.get("/devices?search=colour%3Ared");
    assert_eq!(refused.blamed(), "search");
    let problem = refused.problem(400, "bad-request");
    let why = problem["errors"][0]["detail"].as_str().unwrap();
    assert!(why.contains("unknown key `colour`; the keys are tenant, site, status"), "{why}");
}

#[test]
fn site_and_metadata_change_for_the_version_that_was_read() {
    let api = fleet();
    let path = "/tenants/acme/devices/pump-1";
    let read = api.get(path);
    let tag = read.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let change = |body: &Value| api.call("PATCH", path, Some(body));
    let changed = change(
        &json!({ "site_id": "west", "metadata": { "a": 1, "exact": 12.5, "b": { "c": "<img src=x>" } } }),
    );
    let changed = changed.ok(200);
    assert_eq!((&changed["site_id"], &changed["metadata"]["a"]), (&json!("west"), &json!(1)));
    let merged = change(&json!({ "metadata": { "a": null, "b": { "d": 2 } } })).ok(200);
    assert_eq!(merged["metadata"], json!({ "exact": 12.5, "b": { "c": "<img src=x>", "d": 2 } }));
    assert_eq!(change(&json!({ "site_id": null })).ok(200)["site_id"], Value::Null);
    assert_eq!(change(&json!({ "status": "INACTIVE" })).ok(200)["status"], "INACTIVE");
    let conditional = |tag: &str| {
        let head = format!(
            "Host: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nIf-Match: {tag}\r\n",
            super::client::TOKEN
        );
        api.send("PATCH", &format!("/api/v1{path}"), &head, br#"{"site_id":"late"}"#)
    };
    conditional(&tag).problem(412, "version");
    let read = api.get(path);
    let tag = read.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    assert_eq!(conditional(&tag).ok(200)["site_id"], "late");
    let actions = "SELECT action, detail FROM audit_log WHERE device_id = 'pump-1' ORDER BY id";
    let audited = api.database.query(actions);
    assert_eq!(audited.len(), 5, "{audited:?}");
    assert_eq!(audited[0][0], "device.edit");
    assert!(audited[0][1].contains(r#""to": "west""#), "{audited:?}");
    assert_eq!(audited[3][0], "device.set-status");

    change(&json!({ "site_id": "late", "metadata": {} })).ok(200);
    assert_eq!(api.database.query(actions).len(), 5, "an equal value is no change");
    change(&json!({})).problem(400, "bad-request");
    for (body, field) in [
        (json!({ "site_id": "" }), "site_id"),
        (json!({ "site_id": 7 }), "site_id"),
        (json!({ "metadata": [] }), "metadata"),
        (json!({ "metadata": { "a": "\u{0}" } }), "metadata"),
        (json!({ "colour": "red" }), "colour"),
    ] {
        assert_eq!(change(&body).blamed(), field, "{body}");
    }
    let large = |member: &str| json!({ "metadata": { member: "<".repeat(64 * 1024) } });
    change(&large("first")).ok(200);
    change(&large("second")).problem(413, "too-large");
    api.call("PATCH", "/tenants/acme/devices/nobody", Some(&json!({ "site_id": "x" })))
        .problem(404, "not-found");
}
