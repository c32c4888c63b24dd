//! Accepted messages, read back: the latest, a span in pages, buckets. And the authority's files.

use serde_json::{Value, json};

use super::client::ApiDaemon;
use crate::support::dir::Scratch;

/// Ten rows of one device, a minute apart, with n as `t`; two of another; one of a third tenant.
const ROWS: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A'), ('zeta', 'Z');
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'a'), ('acme', 'b'), ('acme', 'silent'), ('zeta', 'a');
    INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, seq, metrics, message_id)
    SELECT '2026-01-01T00:00:00Z'::timestamptz + (n / 2) * interval '1 minute', now(), tenant, device,
        CASE n % 5 WHEN 4 THEN 'status' ELSE 'telemetry' END, n, metrics::jsonb, gen_random_uuid()
    FROM (SELECT n, 'acme' AS tenant, 'a' AS device, format('{\"t\": %s, \"s\": \"x\"}', n) AS metrics FROM generate_series(0, 9) n
        UNION ALL SELECT n, 'acme', 'b', '{\"t\": 12345678901234567890.123}' FROM generate_series(0, 1) n
        UNION ALL SELECT 0, 'zeta', 'a', '{\"huge\": 1e400, \"tiny\": 1e-400}') rows;
    UPDATE telemetry SET link = 'azure' WHERE device_id = 'a' AND seq IN (3, 5)";

const SPAN: &str = "since=2026-01-01T00:00:00Z&until=2026-01-01T00:05:00Z";

fn api() -> ApiDaemon {
    // Else the rows would be too old to stay.
    let api = ApiDaemon::with(&[("TELEMETRY_RETENTION_DAYS", "0")]);
    crate::support::wait::until("the schema is there", || api.get("/tenants").status == 200);
    api.database.query(ROWS);
    api
}

fn numbers(items: &[Value]) -> Vec<i64> {
    items.iter().map(|item| item["seq"].as_i64().unwrap()).collect()
}

#[test]
fn the_pages_of_a_range_are_in_the_order_of_time_with_each_row_once() {
    let api = api();
    let path = "/tenants/acme/devices/a/telemetry";
    for limit in [1, 3, 10, 11] {
        let mut seen = numbers(&api.walk(&format!("{path}?{SPAN}"), limit));
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>(), "{limit}");
    }
    let half =
        api.walk(&format!("{path}?since=2026-01-01T00:01:00Z&until=2026-01-01T00:02:00Z"), 9);
    assert_eq!(half.len(), 2, "`until` is exclusive");
    assert_eq!(api.walk(&format!("{path}?{SPAN}&msg_type=status"), 9).len(), 2);
    assert_eq!(numbers(&api.walk(&format!("{path}?{SPAN}&link=azure"), 9)), [3, 5]);
    assert!(api.walk(path, 9).is_empty(), "the default is the last day");
    let exact = api.get("/tenants/acme/devices/b/telemetry/latest");
    assert!(
        String::from_utf8_lossy(&exact.body).contains("12345678901234567890.123"),
        "numbers are exact"
    );
    for (query, field) in [
        ("?since=yesterday", "since"),
        ("?from=yesterday", "from"),
        ("?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "since"),
        ("?since=2h&until=7d", "since"),
        ("?cursor=x", "cursor"),
        ("?limit=-1", "limit"),
    ] {
        assert_eq!(api.get(&format!("{path}{query}")).blamed(), field, "{query}");
    }
}

#[test]
fn the_old_names_of_a_range_work_and_the_response_names_the_new_ones() {
    let api = api();
    let path = "/tenants/acme/devices/a/telemetry";
    let old = "from=2026-01-01T00:01:00Z&to=2026-01-01T00:02:00Z";
    let new = "since=2026-01-01T00:01:00Z&until=2026-01-01T00:02:00Z";
    for route in [path.to_owned(), format!("{path}/buckets?metric=t&step=60")] {
        let mark = if route.contains('?') { '&' } else { '?' };
        let [by_old, by_new] = [old, new].map(|range| api.get(&format!("{route}{mark}{range}")));
        let rows = by_old.ok(200);
        assert_eq!(rows, by_new.ok(200), "{route}");
        assert!(!rows["items"].as_array().unwrap().is_empty(), "{route}");
        for (old, new) in [("from", "since"), ("to", "until")] {
            let warning =
                format!("warning: 299 - \"the parameter {old} is deprecated: use {new}\"");
            assert!(by_old.head.contains(&warning), "{}", by_old.head);
        }
        assert!(!by_new.head.contains("warning:"), "{}", by_new.head);
        let both = format!("{route}{mark}{old}&since=2h");
        let problem = api.get(&both).problem(400, "bad-request");
        let fields = problem["errors"].as_array().unwrap().iter();
        assert_eq!(fields.map(|error| &error["field"]).collect::<Vec<_>>(), ["from", "since"]);
        assert_eq!(problem["detail"], "`from` is the old name of `since`: send only `since`");
    }
    api.send("GET", &format!("/api/v1{path}?from=2h&since=2h"), "Host: localhost\r\n", b"")
        .problem(401, "unauthorized");
}

#[test]
fn a_span_before_now_bounds_a_range() {
    let api = api();
    api.database.query(
        "INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, seq, metrics, message_id)
         SELECT now() - n * interval '1 hour', now(), 'acme', 'silent', 'telemetry', n, '{}', gen_random_uuid()
         FROM generate_series(1, 4) n",
    );
    let rows = |query: &str| {
        numbers(&api.walk(&format!("/tenants/acme/devices/silent/telemetry?{query}"), 9))
    };
    assert_eq!(rows("since=150m"), [2, 1]);
    assert_eq!(rows("since=7d&until=150m"), [4, 3]);
    assert_eq!(rows("since=12600s&until=90m"), [3, 2]);
}

#[test]
fn the_latest_row_is_found_of_one_device_and_of_each() {
    let api = api();
    let latest = |path: &str| api.get(&format!("/tenants/acme/{path}telemetry/latest"));
    assert!([8, 9].contains(&latest("devices/a/").ok(200)["seq"].as_i64().unwrap()));
    let status = api.get("/tenants/acme/devices/a/telemetry/latest?msg_type=status").ok(200);
    assert_eq!(status["seq"], 9);
    latest("devices/silent/").problem(404, "not-found");
    for limit in [1, 2, 3] {
        let devices: Vec<Value> = api
            .walk("/tenants/acme/telemetry/latest", limit)
            .into_iter()
            .map(|row| row["device_id"].clone())
            .collect();
        assert_eq!(devices, ["a", "b"], "{limit}");
    }
}

#[test]
fn a_metric_is_gathered_into_buckets() {
    let api = api();
    let path = "/tenants/acme/devices/a/telemetry/buckets";
    let answer = api.get(&format!("{path}?metric=t&step=120&{SPAN}")).ok(200);
    let expected = json!([
        { "start": "2026-01-01T00:00:00Z", "count": 4, "avg": 1.5, "min": 0.0, "max": 3.0 },
        { "start": "2026-01-01T00:02:00Z", "count": 4, "avg": 5.5, "min": 4.0, "max": 7.0 },
        { "start": "2026-01-01T00:04:00Z", "count": 2, "avg": 8.5, "min": 8.0, "max": 9.0 },
    ]);
    assert_eq!(answer["items"], expected);
    for nothing in ["s", "none"] {
        assert_eq!(
            api.get(&format!("{path}?metric={nothing}&step=60&{SPAN}")).ok(200)["items"],
            json!([])
        );
    }
    let odd = |metric| {
        api.get(&format!(
            "/tenants/zeta/devices/a/telemetry/buckets?metric={metric}&step=60&{SPAN}"
        ))
        .ok(200)
    };
    assert_eq!(odd("huge")["items"], json!([]));
    assert_eq!(odd("tiny")["items"][0]["avg"], 0.0);
    assert_eq!(api.get(&format!("{path}?metric=t&step=0")).blamed(), "step");
    assert_eq!(
        api.get(&format!("{path}?metric=t&step=60&since=2025-01-01T00:00:00Z")).blamed(),
        "step"
    );
    api.get(&format!("{path}?step=60")).problem(400, "bad-request");
}

#[test]
fn the_authority_and_its_list_are_given_out_and_what_is_damaged_is_not() {
    let without = ApiDaemon::start();
    without.get("/ca-bundle").problem(404, "not-found");
    without.send("GET", "/crl.pem", "Host: x\r\n", b"").problem(404, "not-found");

    let dir = Scratch::new("api-ca");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key, crl) = (path("ca.crt"), path("ca.key"), path("crl.pem"));
    let settings = [
        ("DEVICE_CA_CERT_PATH", cert.as_str()),
        ("DEVICE_CA_KEY_PATH", &key),
        ("CRL_OUTPUT_PATH", &crl),
    ];
    let api = ApiDaemon::with(&settings);
    let list = |name: &str| api.send("GET", name, "Host: x\r\n", b"");
    api.get("/ca-bundle").problem(404, "not-found");
    list("/crl.der").problem(404, "not-found");
    let made = crate::commands::registry::sluice("", &settings, "", &["ca", "init"]);
    assert!(made.status.success(), "{made:?}");

    let bundle = api.get("/ca-bundle");
    assert_eq!((bundle.status, &bundle.body), (200, &std::fs::read(&cert).unwrap()));
    api.send("GET", "/api/v1/ca-bundle", "Host: x\r\n", b"").problem(401, "unauthorized");
    let (pem, der) = (list("/crl.pem"), list("/crl.der"));
    assert_eq!((pem.status, &pem.body), (200, &std::fs::read(&crl).unwrap()));
    assert!(pem.head.contains("last-modified: ") && pem.head.contains(" gmt"), "{}", pem.head);
    assert!(
        der.head.contains("content-type: application/pkix-crl") && der.body[0] == 0x30,
        "{}",
        der.head
    );
    std::fs::write(&crl, &pem.body[..pem.body.len() / 2]).unwrap();
    list("/crl.pem").problem(503, "unavailable");
}
