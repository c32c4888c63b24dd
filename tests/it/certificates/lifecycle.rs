//! A certificate is renewed, rotated, confirmed and revoked, and the inventory tells who holds
//! what.

use serde_json::Value;

use super::ca_fixture::{CaFixture, id};

/// Moves the end of a certificate to this many days from now.
fn ends_in(ca: &CaFixture, id: &str, days: i32) {
    ca.database.query(&format!(
        "UPDATE device_certificates SET not_before = now() - interval '2 years', not_after = now() + interval '{days} days' \
         WHERE id = '{id}'"
    ));
}

#[test]
fn a_renewed_certificate_is_left_to_its_own_end_and_is_replaced_once() {
    let ca = CaFixture::new();
    let old = ca.issued("old");
    let new = ca.replaced("renew", id(&old), "new");
    assert_eq!((&new["replaces"], &new["device_id"]), (&old["id"], &"pump-1".into()));
    ca.openssl.dir.write("new.crt", new["cert_pem"].as_str().unwrap());
    ca.openssl.done("verify -x509_strict -purpose sslclient -CAfile ca.crt new.crt");
    let shown = ca.done(&["cert", "show", id(&old)]);
    assert_eq!(
        (&shown["status"], &shown["retire_at"], &shown["replaced_by"]),
        (&"ACTIVE".into(), &Value::Null, &new["id"])
    );
    let twice = ca.refused(&["cert", "renew", id(&old), "--csr", &ca.path("new.csr")]);
    assert!(twice.contains(id(&new)), "{twice}");
    // The new one was lost: it is revoked, and the old one can be renewed again.
    ca.done(&["cert", "revoke", id(&new)]);
    ca.replaced("renew", id(&old), "newer");
    let audited = ["issue", "renew", "revoke", "renew"]
        .map(|did| format!("cli:alice certificate.{did} pump-1"));
    assert_eq!(ca.audited(), audited);
}

#[test]
fn an_expired_certificate_is_renewed_within_its_window_a_revoked_one_never() {
    let ca = CaFixture::new();
    let old = ca.issued("old");
    let request = ca.request("new", "/");
    let renew = ["cert", "renew", id(&old), "--csr", &request];
    ends_in(&ca, id(&old), -91);
    assert!(ca.refused(&renew).contains("more than 90 days ago"));
    ends_in(&ca, id(&old), -89);
    assert!(ca.refused(&["cert", "rotate", id(&old), "--csr", &request]).contains("renew it"));
    ca.database.query("UPDATE device_certificates SET status = 'EXPIRED'");
    let new = ca.done(&renew);
    assert_eq!(new["replaces"], old["id"]);
    assert!(ca.refused(&["cert", "revoke", id(&old)]).contains("EXPIRED"));
    ca.done(&["cert", "revoke", id(&new), "--reason", "KEYCOMPROMISE"]);
    assert_eq!(ca.fate(id(&new)), ["REVOKED", "keyCompromise"]);
    assert!(ca.refused(&["cert", "renew", id(&new), "--csr", &request]).contains("is revoked"));
    // Once is enough, and the first reason stands.
    ca.done(&["cert", "revoke", id(&new), "--reason", "superseded"]);
    assert_eq!(ca.fate(id(&new)), ["REVOKED", "keyCompromise"]);
}

#[test]
fn a_rotated_certificate_is_valid_for_its_grace_or_until_confirmation() {
    let ca = CaFixture::new();
    let first = ca.issued("first");
    let second = ca.replaced("rotate", id(&first), "second");
    let third = ca.replaced("rotate", id(&second), "third");
    let hours = "SELECT round(extract(epoch FROM retire_at - now()) / 3600) FROM device_certificates \
        WHERE retire_at IS NOT NULL AND status = 'ACTIVE'";
    assert_eq!(ca.database.query(hours), [["24"], ["24"]]);
    assert!(ca.refused(&["cert", "confirm", id(&first)]).contains("nothing to confirm"));
    // All before the one that is confirmed retire.
    let confirmed = ca.done(&["cert", "confirm", id(&third)]);
    assert_eq!(confirmed["retired"].as_array().unwrap().len(), 2);
    for old in [&first, &second] {
        assert_eq!(ca.fate(id(old)), ["REVOKED", "superseded"]);
    }
    assert_eq!(ca.fate(id(&third)), ["ACTIVE", "NULL"]);
    assert_eq!(ca.done(&["cert", "confirm", id(&third)])["retired"], Value::Array(Vec::new()));
    assert_eq!(ca.audited().iter().filter(|entry| entry.contains("confirm")).count(), 2);
}

#[test]
fn a_rotation_whose_new_certificate_is_lost_can_be_repeated_with_full_grace() {
    let ca = CaFixture::new();
    let old = ca.issued("old");
    let lost = ca.replaced("rotate", id(&old), "lost");
    ca
        .database
        .query("UPDATE device_certificates SET retire_at = now() + interval '1 hour' WHERE retire_at IS NOT NULL");
    let output = ca.run(&["cert", "revoke", id(&lost)], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("is revoked too, at") && said.contains(&format!("cert rotate {}", id(&old))),
        "{said}"
    );
    ca.replaced("rotate", id(&old), "another");
    let hours = "SELECT round(extract(epoch FROM retire_at - now()) / 3600) FROM device_certificates WHERE retire_at IS NOT NULL";
    assert_eq!(ca.database.query(hours), [["24"]]);
}

#[test]
fn the_inventory_is_listed_by_page_and_by_what_ends_soon() {
    let ca = CaFixture::new();
    ca.database.query(
        "INSERT INTO device_certificates
             (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, status, not_before, not_after)
         SELECT gen_random_uuid(), 'acme', CASE WHEN n % 2 = 0 THEN 'pump-1' ELSE 'pump-2' END, lpad(to_hex(n), 64, '0'),
             to_hex(n), 'acme/device/x', 'ca', CASE WHEN n < 3 THEN 'REVOKED' ELSE 'ACTIVE' END, now() - interval '1 day',
             CASE WHEN n = 12 THEN 'infinity' ELSE now() + n * interval '10 days' END
         FROM generate_series(1, 12) n",
    );
    let all = ca.done(&["cert", "list"]);
    let ids = |page: &Value| {
        page.as_array().unwrap().iter().map(|row| id(row).to_owned()).collect::<Vec<_>>()
    };
    let all = ids(&all);
    assert_eq!(all.len(), 12);
    for more in [&[][..], &["--expiring", "36500"]] {
        let list = |options: &[&str]| ids(&ca.done(&[&["cert", "list"], more, options].concat()));
        let (whole, mut paged) = (list(&[]), list(&["--limit", "5"]));
        while let Some(last) = paged.last().cloned() {
            let page = list(&["--limit", "5", "--cursor", &last]);
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, whole, "{more:?}");
    }
    assert_eq!(ids(&ca.done(&["cert", "list", "--status", "revoked"])).len(), 2);
    assert_eq!(
        ids(&ca.done(&["cert", "list", "--device", "acme/pump-2", "--status", "ACTIVE"])).len(),
        5
    );
    let in_two = ["cert", "list", "--tenant", "acme", "--device", "pump-2", "--status", "ACTIVE"];
    assert_eq!(ids(&ca.done(&in_two)).len(), 5);
    assert!(ca.refused(&["cert", "list", "--device", "pump-2"]).contains("add --tenant"));
    assert!(ca.done(&["cert", "list", "--tenant", "other"]).as_array().unwrap().is_empty());
    // Those of 30 and 40 days, in the order of their ends; the ones of 10 and 20 are revoked.
    let soon = ca.done(&["cert", "list", "--expiring", "41"]);
    assert_eq!(
        soon.as_array().unwrap().iter().map(|row| &row["serial_number"]).collect::<Vec<_>>(),
        ["3", "4"]
    );
    let table = ca.run(&["cert", "list", "--limit", "3"], "");
    assert!(String::from_utf8_lossy(&table.stderr).contains("--cursor "), "{table:?}");
    assert!(
        ca.refused(&["cert", "list", "--cursor", &uuid::Uuid::nil().to_string()])
            .contains("not found")
    );
}
