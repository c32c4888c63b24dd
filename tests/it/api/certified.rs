//! Certificates over HTTP: issued, imported, found, renewed, rotated, confirmed, with OpenSSL as
//! the judge.

use serde_json::{Value, json};

use super::client::TOKEN;
use super::with_authority::{ApiWithAuthority, ISSUE, OURS, id};

const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| id(item).to_owned()).collect()
}

/// The part of a private key that nothing else may hold.
fn secret_of(key: &str) -> &str {
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"), "{key}");
    key.lines().nth(1).unwrap()
}

#[test]
fn an_issued_certificate_verifies_in_openssl_and_is_found_by_either_name() {
    let api = ApiWithAuthority::start();
    let said = api.post(ISSUE, &json!({ "csr": api.request("dev", "/"), "days": 30 })).ok(201);
    assert_eq!((&said["private_key"], &said["status"]), (&Value::Null, &"ACTIVE".into()));
    api.ca.openssl.dir.write("dev.crt", said["cert_pem"].as_str().unwrap());
    api.ca.openssl.done("verify -x509_strict -purpose sslclient -CAfile ca.crt dev.crt");
    let text = api.ca.openssl.done("x509 -in dev.crt -noout -subject -fingerprint -sha256");
    assert!(text.contains("CN = acme/device/pump-1"), "{text}");
    let fingerprint = text.split("Fingerprint=").nth(1).unwrap().split_whitespace().next().unwrap();
    for name in [id(&said), fingerprint, &fingerprint.replace(':', "").to_lowercase()] {
        let shown = api.get(&format!("/certificates/{name}")).ok(200);
        assert_eq!((&shown["id"], &shown["cert_pem"]), (&said["id"], &said["cert_pem"]));
    }
    let days =
        "SELECT round(extract(epoch FROM not_after - now()) / 86400) FROM device_certificates";
    assert_eq!(api.ca.database.value(days), "30");
    assert_eq!(api.ca.audited(), ["api certificate.issue pump-1"]);
    api.get(&format!("/certificates/{NOBODY}")).problem(404, "not-found");
    assert_eq!(api.get("/certificates/pump-1").blamed(), "certificate");
}

#[test]
fn a_generated_key_is_in_one_answer_only_and_no_secret_is_logged() {
    let api = ApiWithAuthority::start();
    let answer = api.post(ISSUE, &json!({ "new_key": true }));
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    let first = answer.ok(201);
    let rotated =
        api.act(id(&first), "rotate", &json!({ "new_key": true, "grace_hours": 1 })).ok(201);
    let renewed = api.act(id(&rotated), "renew", &json!({ "new_key": true })).ok(201);
    for said in [&first, &rotated, &renewed] {
        let (dir, key) = (&api.ca.openssl.dir, said["private_key"].as_str().unwrap());
        dir.write("new.crt", said["cert_pem"].as_str().unwrap());
        dir.write("new.key", key);
        let of = |line| api.ca.openssl.done(line);
        assert_eq!(of("x509 -in new.crt -noout -pubkey"), of("pkey -in new.key -pubout"));
        of("verify -x509_strict -purpose sslclient -CAfile ca.crt new.crt");
        assert!(api.get(&format!("/certificates/{}", id(said))).ok(200)["private_key"].is_null());
        for table in ["device_certificates", "certificate_serials", "audit_log"] {
            let sql = format!(
                "SELECT count(*) FROM {table} t WHERE strpos(t::text, '{}') > 0",
                secret_of(key)
            );
            assert_eq!(api.ca.database.value(&sql), "0", "{table}");
        }
    }
    // Also a key that a client sends instead of a request stays out of the log and of the
    // answer.
    let sent = String::from_utf8(api.ca.openssl.read("new.key")).unwrap();
    let answer = api.order(&sent);
    assert_eq!(answer.blamed(), "csr");
    assert!(!answer.json().to_string().contains(secret_of(&sent)));

    assert_eq!(api.daemon.terminate(), 0);
    let log = api.daemon.log();
    assert!(log.contains("the API answered") && log.contains(ISSUE), "the log is at its loudest");
    for said in [&first, &rotated, &renewed] {
        assert!(!log.contains(secret_of(said["private_key"].as_str().unwrap())), "a private key");
    }
    let ca_key = String::from_utf8(api.ca.openssl.read("ca.key")).unwrap();
    assert!(
        !log.contains(secret_of(&ca_key)) && !log.contains("PRIVATE KEY"),
        "the authority's key"
    );
    assert!(!log.contains(TOKEN), "the admin token");
}

#[test]
fn an_order_names_one_key_and_nothing_beside() {
    let api = ApiWithAuthority::start();
    let csr = api.request("dev", "/");
    for (body, field) in [
        (json!({}), "csr"),
        (json!({ "new_key": false }), "csr"),
        (json!({ "csr": csr, "new_key": true }), "new_key"),
        (json!({ "csr": 7 }), "csr"),
        (json!({ "csr": csr, "days": 0 }), "days"),
        (json!({ "csr": csr, "days": "30" }), "days"),
        (json!({ "csr": csr, "days": 36_501 }), "days"),
        (json!({ "csr": csr, "key": csr }), "key"),
    ] {
        assert_eq!(api.post(ISSUE, &body).blamed(), field, "{body}");
        assert_eq!(api.act(NOBODY, "renew", &body).blamed(), field, "{body}");
        assert_eq!(api.act(NOBODY, "rotate", &body).blamed(), field, "{body}");
    }
    for garbled in ["", "hello", &"x".repeat(20_000)] {
        assert_eq!(api.order(garbled).blamed(), "csr");
    }
    assert_eq!(
        api.act(NOBODY, "rotate", &json!({ "csr": csr, "grace_hours": 8761 })).blamed(),
        "grace_hours"
    );
    for action in ["renew", "rotate"] {
        api.act(NOBODY, action, &json!({ "csr": csr })).problem(404, "not-found");
        assert_eq!(api.act("pump-1", action, &json!({ "csr": csr })).blamed(), "certificate");
    }
    assert_eq!(api.ca.database.value("SELECT count(*) FROM certificate_serials"), "0");
}

#[test]
fn a_certificate_is_renewed_and_rotated_once_and_confirmed() {
    let api = ApiWithAuthority::start();
    let first = api.issued("first");
    api.confirm(id(&first)).problem(409, "conflict");
    let second = api.replaced("renew", &first, "second");
    assert_eq!(second["replaces"], first["id"]);
    assert_eq!(
        api.get(&format!("/certificates/{}", id(&first))).ok(200)["replaced_by"],
        second["id"]
    );
    let csr = api.request("more", "/");
    let twice = api.act(id(&first), "rotate", &json!({ "csr": csr }));
    assert!(
        twice.detail(409, "conflict").contains(&format!("/certificates/{}/revoke", id(&second)))
    );
    let body = json!({ "csr": csr, "grace_hours": 2 });
    let third = api.act(id(&second), "rotate", &body).ok(201);
    let hours = "SELECT round(extract(epoch FROM retire_at - now()) / 3600) FROM device_certificates WHERE retire_at IS NOT NULL";
    assert_eq!(api.ca.database.query(hours), [["2"]]);
    let confirmed = api.confirm(third["fingerprint_sha256"].as_str().unwrap()).ok(200);
    assert_eq!(
        (&confirmed["confirmed"], confirmed["retired"].as_array().unwrap().len()),
        (&third["id"], 2)
    );
    assert_eq!(api.ca.fate(id(&second)), ["REVOKED", "superseded"]);
    assert_eq!(api.confirm(id(&third)).ok(200)["retired"], json!([]));
    for action in ["renew", "rotate"] {
        let said = api.act(id(&second), action, &json!({ "csr": csr })).detail(409, "conflict");
        assert!(said.contains("is revoked"), "{said}");
    }
    api.confirm(NOBODY).problem(404, "not-found");
    api.ca.database.query(&format!(
        "UPDATE device_certificates SET not_before = now() - interval '2 years', not_after = now() - interval '91 days' \
         WHERE id = '{}'",
        id(&third)
    ));
    let said = api.act(id(&third), "renew", &json!({ "csr": csr })).detail(409, "conflict");
    assert!(said.contains("more than 90 days ago"), "{said}");
    let said = api.act(id(&third), "rotate", &json!({ "csr": csr })).detail(409, "conflict");
    assert!(said.contains("renew it"), "{said}");
}

#[test]
fn a_foreign_certificate_is_imported_once_and_only_if_it_verifies() {
    let api = ApiWithAuthority::start();
    let import = |body: Value| api.post("/certificates/import", &body);
    let good = api.signed("good", r"/CN=acme\/pump-1", OURS);
    let others = json!({ "cert_pem": good, "tenant_id": "acme", "device_id": "pump-2" });
    assert_eq!(import(others).refused(), "cert_pem");
    assert_eq!(import(json!({ "cert_pem": good, "tenant_id": "acme" })).blamed(), "device_id");
    assert_eq!(import(json!({ "cert_pem": good, "device_id": "pump-1" })).blamed(), "tenant_id");
    let whole = json!({ "cert_pem": good, "tenant_id": "acme", "device_id": "pump-1" });
    let row = import(whole.clone()).ok(201);
    assert_eq!((&row["device_id"], &row["common_name"]), (&"pump-1".into(), &"acme/pump-1".into()));
    let again = import(whole).detail(409, "conflict");
    assert!(again.contains("already") && again.contains(id(&row)), "{again}");

    let self_signed = api.signed("own", r"/CN=acme\/device\/pump-1", "-signkey own.key");
    let stranger = api.signed("stranger", r"/CN=acme\/device\/nobody", OURS);
    for (pem, words) in
        [(self_signed, "issued by"), (stranger, "device nobody not found in tenant acme")]
    {
        let answer = import(json!({ "cert_pem": pem }));
        assert_eq!(answer.refused(), "cert_pem");
        assert!(answer.detail(422, "refused").contains(words), "{:?}", answer.json());
    }
    for body in [json!({ "cert_pem": "hello" }), json!({ "cert_pem": null })] {
        assert_eq!(import(body).blamed(), "cert_pem");
    }
    assert_eq!(api.ca.audited(), ["api certificate.import pump-1"]);
}

#[test]
fn the_inventory_is_walked_in_pages_by_every_filter() {
    let api = ApiWithAuthority::start();
    api.ca.database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('zeta', 'Z');
         INSERT INTO devices (tenant_id, device_id) VALUES ('zeta', 'pump-1');
         INSERT INTO device_certificates
             (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, status, not_before, not_after)
         SELECT gen_random_uuid(), CASE WHEN n < 10 THEN 'acme' ELSE 'zeta' END, 'pump-' || 1 + n % 2 * (n < 10)::int,
             lpad(to_hex(n), 64, '0'), to_hex(n), 'x', 'ca', CASE WHEN n < 3 THEN 'REVOKED' ELSE 'ACTIVE' END,
             now() - interval '1 day', CASE WHEN n = 12 THEN 'infinity' ELSE now() + n * interval '10 days' END
         FROM generate_series(1, 12) n",
    );
    for (query, count) in [
        ("", 12),
        ("?tenant=acme", 9),
        ("?tenant=acme&device=pump-2", 5),
        ("?tenant=zeta&device=pump-1&status=ACTIVE", 3),
        ("?status=REVOKED", 2),
        ("?status=EXPIRED", 0),
        ("?expiring=41", 2),
        ("?expiring=36500", 9),
        ("?tenant=nobody", 0),
    ] {
        let path = format!("/certificates{query}");
        let whole = ids(&api.walk(&path, 100));
        assert_eq!(whole.len(), count, "{query}");
        for limit in [1, 4] {
            assert_eq!(ids(&api.walk(&path, limit)), whole, "{query} by {limit}");
        }
    }
    let soon = api.walk("/certificates?expiring=41", 1);
    assert_eq!(soon.iter().map(|row| &row["serial_number"]).collect::<Vec<_>>(), ["3", "4"]);
    let nobody = format!("?cursor={NOBODY}");
    for (query, field) in [
        ("?device=pump-1", "tenant"),
        ("?tenant=a/b", "tenant"),
        ("?status=GONE", "status"),
        ("?expiring=-1", "expiring"),
        ("?expiring=36501", "expiring"),
        ("?limit=0", "limit"),
        ("?cursor=x", "cursor"),
        (&nobody, "cursor"),
        ("?owner=me", "owner"),
    ] {
        assert_eq!(api.get(&format!("/certificates{query}")).blamed(), field, "{query}");
    }
}
