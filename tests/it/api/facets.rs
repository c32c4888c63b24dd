//! Counts of refused messages, exact and of the kept ones, and the search of the list.

use serde_json::{Value, json};

use super::client::ApiDaemon;
use crate::support::wait;

/// Kept: 40 of acme/a, 2 of acme/b, 3 of a topic that names nobody, one of zeta that was replayed.
/// Counted: more than are kept.
const ROWS: &str = "INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, site_id, msg_type, reason,
        detail, payload, message_id, replayed_at, link)
    SELECT gen_random_uuid(), now() - n * interval '1 minute', now(), topic, tenant, device, site, 'telemetry', reason, '', '{}',
        gen_random_uuid(), replayed, link
    FROM (VALUES ('tenant/acme/device/a/telemetry', 'acme', 'a', 'north', 'TOKEN_INVALID', 40, NULL::timestamptz, NULL),
        ('tenant/acme/device/b/status', 'acme', 'b', NULL, 'BAD_PAYLOAD', 2, NULL, 'azure'),
        ('odd/%_/topic', NULL, NULL, NULL, 'BAD_TOPIC_FORMAT', 3, NULL, NULL),
        ('tenant/zeta/device/z/telemetry', 'zeta', 'z', NULL, 'TOKEN_INVALID', 1, now(), NULL))
        v (topic, tenant, device, site, reason, count, replayed, link), generate_series(1, v.count) n;
    INSERT INTO quarantine_counters_minute SELECT date_trunc('minute', now()) - n * interval '1 minute', tenant, reason, count
    FROM (VALUES ('acme', 'TOKEN_INVALID', 100), ('acme', 'BAD_PAYLOAD', 2), ('', 'BAD_TOPIC_FORMAT', 3), ('zeta', 'TOKEN_INVALID', 7))
        v (tenant, reason, count), generate_series(1, 30) n";

fn api() -> ApiDaemon {
    let api = ApiDaemon::start();
    wait::until("the schema is there", || api.get("/tenants").status == 200);
    api.database.query(ROWS);
    api
}

fn counts(of: &Value) -> Vec<(String, u64)> {
    let pair =
        |row: &Value| (row["value"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap());
    of.as_array().unwrap().iter().map(pair).collect()
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect()
}

#[test]
fn every_refusal_is_counted_and_the_kept_ones_by_device() {
    let api = api();
    let all = api.get("/quarantine/facets?since=2h").ok(200);
    let counted = &all["counted"];
    assert_eq!(counted["total"], 30 * 112);
    let reasons = [("TOKEN_INVALID", 30 * 107), ("BAD_TOPIC_FORMAT", 90), ("BAD_PAYLOAD", 60)];
    assert_eq!(counts(&counted["reasons"]), pairs(&reasons));
    let tenants = [("acme", 30 * 102), ("zeta", 210), ("", 90)];
    assert_eq!(counts(&counted["tenants"]), pairs(&tenants));
    let bars = counted["bars"].as_array().unwrap();
    assert!(bars.len() <= 120 && counted["step_seconds"] == 120, "{counted}");
    assert_eq!(bars.iter().map(|bar| bar.as_u64().unwrap()).sum::<u64>(), 30 * 112);
    assert_eq!((&all["kept"]["total"], &all["kept"]["more"]), (&json!(46), &json!(false)));
    let devices = [("acme/a", 40), ("acme/b", 2), ("zeta/z", 1)];
    assert_eq!(counts(&all["kept"]["devices"]), pairs(&devices));

    let path = "/quarantine/facets?since=2h&search=tenant%3Aacme+reason%3ATOKEN_INVALID+device%3Aa+replayed%3Ano";
    let narrow = api.get(path).ok(200);
    let counted = &narrow["counted"];
    assert_eq!(counted["total"], 3000, "of this tenant and reason");
    assert_eq!(counted["without"], json!(["device", "replayed"]), "which the counters do not know");
    let reasons = [("TOKEN_INVALID", 3000), ("BAD_PAYLOAD", 60)];
    assert_eq!(counts(&counted["reasons"]), pairs(&reasons), "of this tenant, by any reason");
    let tenants = [("acme", 3000), ("zeta", 210)];
    assert_eq!(counts(&counted["tenants"]), pairs(&tenants), "for this reason, of any tenant");
    assert_eq!(narrow["kept"]["total"], 40);
    let bound = api.get("/quarantine/facets?since=2h&tenant=zeta").ok(200);
    assert_eq!(
        counts(&bound["counted"]["tenants"]),
        pairs(&[("zeta", 210)]),
        "and no other tenant"
    );
    assert_eq!(api.get("/quarantine/facets?since=2h&until=3h").blamed(), "since");
    assert_eq!(api.get("/quarantine/facets?search=colour:red").blamed(), "search");
    let week = || api.get("/quarantine/facets").ok(200)["counted"].clone();
    assert_eq!((&week()["step_seconds"], &week()["total"]), (&json!(7200), &json!(30 * 112)));
    // The hours follow whatever changes the minutes.
    api.database.query(
        "UPDATE quarantine_counters_minute SET cnt = cnt + 1;
         INSERT INTO quarantine_counters_minute SELECT bucket_minute, tenant_id, reason, 5 FROM quarantine_counters_minute
            ON CONFLICT (bucket_minute, tenant_id, reason) DO UPDATE SET cnt = quarantine_counters_minute.cnt + excluded.cnt",
    );
    assert_eq!(week()["total"], 30 * 112 + 120 * 6);
}

#[test]
fn a_search_selects_by_every_key() {
    let api = api();
    for (search, expected) in [
        ("tenant:acme", 42),
        ("a", 40),
        ("a b", 42),
        ("-a", 6),
        ("tenant:acme tenant:zeta", 43),
        ("reason:bad_payload", 2),
        ("site:n*", 40),
        ("-site:north", 6),
        ("link:azure", 2),
        ("topic:tenant/acme/device/b/*", 2),
        ("topic:odd/%25_*", 3),
        ("topic:odd/%25%25*", 0),
        ("replayed:yes", 1),
        ("replayed:no", 45),
        ("since:10m30s", 0),
        ("since:630s reason:TOKEN_INVALID", 11),
        ("until:630s", 30),
        ("-tenant:acme -tenant:zeta", 3),
    ] {
        let path = format!("/quarantine?search={}", search.replace(' ', "+"));
        if search.contains("10m30s") {
            assert_eq!(api.get(&path).blamed(), "search");
            continue;
        }
        for limit in [7, 100] {
            assert_eq!(api.walk(&path, limit).len(), expected, "{search}");
        }
    }
    let one = api.walk("/quarantine?search=z", 9)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(api.walk(&format!("/quarantine?search=id:{one}"), 9).len(), 1);
    assert_eq!(api.walk(&format!("/quarantine?search=id:{}*", &one[..13]), 9).len(), 1);
    assert_eq!(api.walk(&format!("/quarantine?replayed=false&search=id:{one}"), 9).len(), 0);
    let counted =
        api.post("/quarantine/discard", &json!({ "search": "a", "dry_run": true })).ok(200);
    assert_eq!(counted["events"], 40);
    let explained = api.get(&format!("/quarantine/{one}/explain")).ok(200);
    assert_eq!(explained["reason"], "UNREGISTERED_DEVICE");
    api.get("/quarantine/00000000-0000-0000-0000-000000000001/explain").problem(404, "not-found");
}
