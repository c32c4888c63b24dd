//! Commands over the API: queue, repeat, list, cancel, and one command for many devices. No
//! publisher runs: what a device would do is written by SQL.

use std::collections::HashSet;
use std::thread;

use serde_json::{Value, json};

use super::client::ApiDaemon;

const PUMP: &str = "/tenants/acme/devices/pump-1/commands";

/// A tenant with the devices pump-1, INACTIVE off and REVOKED gone.
fn api() -> ApiDaemon {
    let api = ApiDaemon::start();
    api.database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A'), ('other', 'O');
         INSERT INTO devices (tenant_id, device_id, status) VALUES ('acme', 'pump-1', 'ACTIVE'), ('acme', 'off', 'INACTIVE'),
             ('acme', 'gone', 'REVOKED'), ('other', 'pump-1', 'ACTIVE')",
    );
    api
}

fn id(command: &Value) -> String {
    command["command_id"].as_str().unwrap().to_owned()
}

fn set_status(api: &ApiDaemon, status: &str, command: &str) {
    api.database.query(&format!(
        "UPDATE device_commands SET status = '{status}', finished_at = now() WHERE command_id = '{command}'"
    ));
}

#[test]
fn a_command_lives_from_queue_to_cancel_and_each_step_is_audited() {
    let api = api();
    let body = json!({ "command_type": "reboot", "params": { "delay": 5 }, "ttl_seconds": 60 });
    let queued = api.post(PUMP, &body).ok(201);
    assert_eq!((&queued["status"], &queued["params"]["delay"]), (&"PENDING".into(), &5.into()));
    let valid = "SELECT extract(epoch FROM expires_at - created_at)::int FROM device_commands";
    assert_eq!(api.database.value(valid), "60");
    let path = format!("{PUMP}/{}", id(&queued));
    assert_eq!(api.get(&path).ok(200), queued);
    let cancelled = api.call("DELETE", &path, None).ok(200);
    assert_eq!(cancelled["status"], "CANCELLED");
    assert!(cancelled["finished_at"].is_string(), "{cancelled}");
    assert_eq!(api.call("DELETE", &path, None).ok(200), cancelled, "cancelled once");
    for status in ["ACKNOWLEDGED", "REJECTED", "FAILED", "EXPIRED"] {
        set_status(&api, status, &id(&queued));
        assert!(api.call("DELETE", &path, None).detail(409, "conflict").contains(status));
    }
    for status in ["PUBLISHED", "IN_PROGRESS"] {
        set_status(&api, status, &id(&queued));
        assert_eq!(api.call("DELETE", &path, None).ok(200)["status"], "CANCELLED", "{status}");
    }
    // Without a validity of its own it has the default; large parameters are not in the audit log.
    let large = json!({ "command_type": "load", "params": { "text": "x".repeat(2000) } });
    api.post(PUMP, &large).ok(201);
    assert_eq!(api.database.value(&format!("{valid} ORDER BY created_at DESC")), "3600");
    let audited =
        "SELECT actor, action, tenant_id, device_id, detail ->> 'command_type', detail ->> 'params'
        FROM audit_log ORDER BY id";
    let entry = |action, kind, params| ["api", action, "acme", "pump-1", kind, params];
    assert_eq!(
        api.database.query(audited),
        [
            entry("command.queue", "reboot", "{\"delay\": 5}"),
            entry("command.cancel", "reboot", "NULL"),
            entry("command.cancel", "reboot", "NULL"),
            entry("command.cancel", "reboot", "NULL"),
            entry("command.queue", "load", "NULL"),
        ]
    );
}

#[test]
fn a_repeated_command_is_the_same_command_also_in_a_race_and_other_content_a_conflict() {
    let api = api();
    let chosen = "00000000-0000-4000-8000-000000000001";
    let body =
        json!({ "command_id": chosen, "command_type": "reboot", "params": { "a": [1, 2.5] } });
    let statuses: Vec<u16> = thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| api.post(PUMP, &body).status)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 7, "{statuses:?}");
    assert_eq!(api.database.value("SELECT count(*) FROM device_commands"), "1");
    assert_eq!(api.database.value("SELECT count(*) FROM audit_log"), "1");
    // A repeat is answered whatever became of the command and of the device.
    set_status(&api, "EXPIRED", chosen);
    api.database.query("UPDATE devices SET status = 'REVOKED' WHERE tenant_id = 'acme'");
    assert_eq!(api.post(PUMP, &body).ok(200)["status"], "EXPIRED");
    for other in [
        json!({ "command_id": chosen, "command_type": "halt", "params": { "a": [1, 2.5] } }),
        json!({ "command_id": chosen, "command_type": "reboot", "params": { "a": [1, 2] } }),
        json!({ "command_id": chosen, "command_type": "reboot" }),
    ] {
        assert!(api.post(PUMP, &other).detail(409, "conflict").contains(chosen), "{other}");
    }
    // Another device has identifiers of its own.
    api.post("/tenants/other/devices/pump-1/commands", &body).ok(201);
}

#[test]
fn what_is_no_command_is_refused_with_its_field_and_a_device_that_gets_none_with_its_status() {
    let api = api();
    for (body, field) in [
        (json!({ "command_type": "" }), "command_type"),
        (json!({ "command_type": "a b" }), "command_type"),
        (json!({ "command_type": "x".repeat(65) }), "command_type"),
        (json!({ "command_type": "x", "params": [] }), "params"),
        (json!({ "command_type": "x", "params": { "a": "\u{0}" } }), "params"),
        (json!({ "command_type": "x", "ttl_seconds": 0 }), "ttl_seconds"),
        (json!({ "command_type": "x", "ttl_seconds": 2_592_001 }), "ttl_seconds"),
        (json!({ "command_type": "x", "command_id": "7" }), "command_id"),
        (json!({ "command_type": "x", "colour": "red" }), "colour"),
    ] {
        assert_eq!(api.post(PUMP, &body).blamed(), field, "{body}");
    }
    let with = |size: usize| json!({ "command_type": "x", "params": { "a": "x".repeat(size) } });
    assert_eq!(api.post(PUMP, &with(16 * 1024)).refused(), "params");
    api.post(PUMP, &with(16 * 1024 - r#"{"a":""}"#.len())).ok(201);
    // A number is stored with all its digits.
    let mut long =
        json!({ "command_type": "x", "params": { "a": vec![1e308; 2000] }, "ttl_seconds": 60 });
    assert_eq!(api.post(PUMP, &long).refused(), "params");
    long["targets"] = json!({ "all": true });
    assert_eq!(api.post("/tenants/acme/commands", &long).refused(), "params");
    let good = json!({ "command_type": "reboot" });
    for (device, status) in [("off", "INACTIVE"), ("gone", "REVOKED")] {
        let path = format!("/tenants/acme/devices/{device}/commands");
        assert!(api.post(&path, &good).detail(409, "conflict").contains(status), "{device}");
    }
    let path = "/tenants/acme/devices/nobody/commands";
    assert!(api.post(path, &good).detail(404, "not-found").contains("nobody"));
    api.database.query("UPDATE tenants SET status = 'SUSPENDED' WHERE tenant_id = 'acme'");
    assert!(api.post(PUMP, &good).detail(409, "conflict").contains("SUSPENDED"));
    let unknown = format!("{PUMP}/00000000-0000-4000-8000-000000000001");
    for method in ["GET", "DELETE"] {
        api.call(method, &unknown, None).problem(404, "not-found");
    }
    assert_eq!(api.database.value("SELECT count(*) FROM device_commands"), "1");
}

#[test]
fn commands_are_listed_by_filter_and_page_the_newest_first() {
    let api = api();
    // One transaction: all have the same time, and only their position differs.
    api.database.query(
        "INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, status)
         SELECT gen_random_uuid(), tenant_id, 'pump-1', 'n' || n, CASE n % 2 WHEN 0 THEN 'PENDING' ELSE 'EXPIRED' END
         FROM generate_series(1, 7) n, (VALUES ('acme'), ('other')) AS t (tenant_id) ORDER BY n",
    );
    for limit in [1, 2, 7, 8] {
        let types: Vec<Value> =
            api.walk(PUMP, limit).iter().map(|row| row["command_type"].clone()).collect();
        assert_eq!(types, ["n7", "n6", "n5", "n4", "n3", "n2", "n1"], "{limit}");
    }
    let count = |path: &str| api.walk(path, 100).len();
    assert_eq!(count(&format!("{PUMP}?status=PENDING")), 3);
    assert_eq!(count("/tenants/acme/commands"), 7);
    assert_eq!(count("/tenants/acme/commands?device=pump-1&status=EXPIRED"), 4);
    assert_eq!(count("/tenants/acme/commands?device=off"), 0);
    assert_eq!(count("/tenants/acme/commands?since=1h"), 7);
    assert_eq!(count("/tenants/acme/commands?until=1h"), 0);
    for (query, field) in [("status=GONE", "status"), ("cursor=x", "cursor"), ("batch=x", "batch")]
    {
        assert_eq!(api.get(&format!("/tenants/acme/commands?{query}")).blamed(), field, "{query}");
    }
}

#[test]
fn one_command_for_many_devices_is_one_batch_with_progress_and_an_end() {
    let api = api();
    api.database.query(
        "INSERT INTO devices (tenant_id, device_id, site_id, metadata, status)
         SELECT 'acme', 'd' || n, CASE n % 2 WHEN 0 THEN 'north' ELSE 'south' END,
             jsonb_build_object('model', CASE n % 3 WHEN 0 THEN 'P7' ELSE 'P8' END, 'n', n),
             CASE n WHEN 12 THEN 'INACTIVE' ELSE 'ACTIVE' END FROM generate_series(1, 12) n",
    );
    let send = |targets: Value| {
        api.post("/tenants/acme/commands", &json!({ "command_type": "update", "targets": targets }))
    };
    let north = send(json!({ "site_id": "north" })).ok(201);
    assert_eq!((&north["commands"], &north["skipped"]), (&5.into(), &1.into()), "{north}");
    let batch = north["batch_id"].as_str().unwrap();
    let reached = |batch: &str| -> HashSet<String> {
        let rows = api.walk(&format!("/tenants/acme/commands?batch={batch}"), 2);
        rows.iter().map(|row| row["device_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(reached(batch), ["d2", "d4", "d6", "d8", "d10"].map(str::to_owned).into());
    let p7 = send(json!({ "site_id": "south", "metadata": { "model": "P7" } })).ok(201);
    assert_eq!(reached(p7["batch_id"].as_str().unwrap()), ["d3", "d9"].map(str::to_owned).into());
    let named = send(json!({ "devices": ["d1", "d1", "d12", "nobody"] })).ok(201);
    let counts = (&named["commands"], &named["skipped"], &named["unmatched"]);
    assert_eq!(counts, (&1.into(), &1.into(), &1.into()), "{named}");
    let all = send(json!({ "all": true })).ok(201);
    assert_eq!((&all["commands"], &all["skipped"]), (&12.into(), &3.into()), "{all}");

    api.database.query(&format!(
        "UPDATE device_commands SET status = CASE device_id WHEN 'd2' THEN 'ACKNOWLEDGED' ELSE 'PUBLISHED' END,
             finished_at = CASE device_id WHEN 'd2' THEN now() END
         WHERE batch_id = '{batch}' AND device_id IN ('d2', 'd4')"
    ));
    let path = format!("/tenants/acme/command-batches/{batch}");
    let shown = api.get(&path).ok(200);
    let statuses = json!({ "ACKNOWLEDGED": 1, "PENDING": 3, "PUBLISHED": 1 });
    assert_eq!((&shown["statuses"], &shown["open"]), (&statuses, &4.into()), "{shown}");
    let cancelled = api.call("DELETE", &path, None).ok(200);
    assert_eq!(cancelled["cancelled"], 4, "{cancelled}");
    assert_eq!(cancelled["statuses"], json!({ "ACKNOWLEDGED": 1, "CANCELLED": 4 }));
    assert!(cancelled["finished_at"].is_string(), "{cancelled}");
    assert_eq!(api.call("DELETE", &path, None).ok(200)["cancelled"], 0);
    api.get(&format!("/tenants/other/command-batches/{batch}")).problem(404, "not-found");

    for (targets, field) in [
        (json!({}), "targets"),
        (json!({ "all": true, "site_id": "north" }), "targets"),
        (json!({ "devices": ["a/b"] }), "targets.devices[0]"),
        (json!({ "metadata": {} }), "targets.metadata"),
        (json!({ "metadata": {}, "site_id": "north" }), "targets.metadata"),
    ] {
        assert_eq!(send(targets.clone()).blamed(), field, "{targets}");
    }
    assert_eq!(send(json!({ "site_id": "west" })).refused(), "targets");
    let actions = "SELECT action, count(*) FROM audit_log GROUP BY 1 ORDER BY 1";
    let expected = [["command.cancel-batch", "1"], ["command.queue-batch", "4"]];
    assert_eq!(api.database.query(actions), expected);
}

#[test]
fn a_repeated_batch_queues_nothing_and_one_that_is_too_large_neither() {
    let api = api();
    let chosen = "00000000-0000-4000-8000-000000000001";
    let body = json!({ "batch_id": chosen, "command_type": "update", "targets": { "all": true } });
    let statuses: Vec<u16> = thread::scope(|scope| {
        let calls: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| api.post("/tenants/acme/commands", &body).status))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 200 | 201)), "{statuses:?}");
    api.database
        .query("INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'd' || n FROM generate_series(1, 10000) n");
    let repeated = api.post("/tenants/acme/commands", &body).ok(200);
    assert_eq!(repeated["commands"], 1, "a device that came later gets none: {repeated}");
    let mut other = body.clone();
    other["command_type"] = "halt".into();
    api.post("/tenants/acme/commands", &other).problem(409, "conflict");
    let more = json!({ "command_type": "update", "targets": { "all": true } });
    let refused = api.post("/tenants/acme/commands", &more);
    assert_eq!(refused.refused(), "targets");
    assert!(refused.detail(422, "refused").contains("10001 devices"), "{refused:?}");
    assert_eq!(api.database.value("SELECT count(*) FROM device_commands"), "1");
    api.database.query("DELETE FROM devices WHERE device_id = 'd1'");
    assert_eq!(api.post("/tenants/acme/commands", &more).ok(201)["commands"], 10_000);
    api.post("/tenants/nobody/commands", &more).problem(404, "not-found");
    api.database.query("UPDATE tenants SET status = 'SUSPENDED' WHERE tenant_id = 'acme'");
    api.post("/tenants/acme/commands", &more).problem(409, "conflict");
}
