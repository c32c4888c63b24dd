//! A certificate is renewed, rotated, confirmed and revoked, and the inventory tells who holds
//! what.

use serde_json::Value;

use super::office::{Office, id};

/// Moves a certificate's end so many days from now.
fn ends_in(office: &Office, id: &str, days: i32) {
    office.database.query(&format!(
        "UPDATE device_certificates SET not_before = now() - interval '2 years', not_after = now() + interval '{days} days' \
         WHERE id = '{id}'"
    ));
}

#[test]
fn a_renewed_certificate_is_left_to_its_own_end_and_is_replaced_once() {
    let office = Office::new();
    let old = office.issued("old");
    let new = office.replaced("renew", id(&old), "new");
    assert_eq!((&new["replaces"], &new["device_id"]), (&old["id"], &"pump-1".into()));
    office.desk.dir.write("new.crt", new["cert_pem"].as_str().unwrap());
    office.desk.done("verify -x509_strict -purpose sslclient -CAfile ca.crt new.crt");
    let shown = office.done(&["cert", "show", id(&old)]);
    assert_eq!(
        (&shown["status"], &shown["retire_at"], &shown["replaced_by"]),
        (&"ACTIVE".into(), &Value::Null, &new["id"])
    );
    let twice = office.refused(&["cert", "renew", id(&old), "--csr", &office.path("new.csr")]);
    assert!(twice.contains(id(&new)), "{twice}");
    // The new one was lost: it is revoked, and the old one can be renewed again.
    office.done(&["cert", "revoke", id(&new)]);
    office.replaced("renew", id(&old), "newer");
    let audited = ["issue", "renew", "revoke", "renew"]
        .map(|did| format!("cli:alice certificate.{did} pump-1"));
    assert_eq!(office.audited(), audited);
}

#[test]
fn an_expired_certificate_is_renewed_within_its_window_and_a_revoked_one_never() {
    let office = Office::new();
    let old = office.issued("old");
    let request = office.request("new", "/");
    let renew = ["cert", "renew", id(&old), "--csr", &request];
    ends_in(&office, id(&old), -91);
    assert!(office.refused(&renew).contains("more than 90 days ago"));
    ends_in(&office, id(&old), -89);
    assert!(office.refused(&["cert", "rotate", id(&old), "--csr", &request]).contains("renew it"));
    office.database.query("UPDATE device_certificates SET status = 'EXPIRED'");
    let new = office.done(&renew);
    assert_eq!(new["replaces"], old["id"]);
    assert!(office.refused(&["cert", "revoke", id(&old)]).contains("EXPIRED"));
    office.done(&["cert", "revoke", id(&new), "--reason", "KEYCOMPROMISE"]);
    assert_eq!(office.fate(id(&new)), ["REVOKED", "keyCompromise"]);
    assert!(
        office.refused(&["cert", "renew", id(&new), "--csr", &request]).contains("was revoked")
    );
    // Once is enough, and the first reason stands.
    office.done(&["cert", "revoke", id(&new), "--reason", "superseded"]);
    assert_eq!(office.fate(id(&new)), ["REVOKED", "keyCompromise"]);
}

#[test]
fn a_rotated_certificate_stays_good_for_its_grace_or_until_the_new_one_is_confirmed() {
    let office = Office::new();
    let first = office.issued("first");
    let second = office.replaced("rotate", id(&first), "second");
    let third = office.replaced("rotate", id(&second), "third");
    let hours = "SELECT round(extract(epoch FROM retire_at - now()) / 3600) FROM device_certificates \
        WHERE retire_at IS NOT NULL AND status = 'ACTIVE'";
    assert_eq!(office.database.query(hours), [["24"], ["24"]]);
    assert!(office.refused(&["cert", "confirm", id(&first)]).contains("nothing to confirm"));
    // All before the one that is confirmed retire.
    let confirmed = office.done(&["cert", "confirm", id(&third)]);
    assert_eq!(confirmed["retired"].as_array().unwrap().len(), 2);
    for old in [&first, &second] {
        assert_eq!(office.fate(id(old)), ["REVOKED", "superseded"]);
    }
    assert_eq!(office.fate(id(&third)), ["ACTIVE", "NULL"]);
    assert_eq!(office.done(&["cert", "confirm", id(&third)])["retired"], Value::Array(Vec::new()));
    assert_eq!(office.audited().iter().filter(|entry| entry.contains("confirm")).count(), 2);
}

#[test]
fn when_the_new_certificate_of_a_rotation_is_lost_the_old_one_can_be_rotated_again_with_a_whole_grace()
 {
    let office = Office::new();
    let old = office.issued("old");
    let lost = office.replaced("rotate", id(&old), "lost");
    office
        .database
        .query("UPDATE device_certificates SET retire_at = now() + interval '1 hour' WHERE retire_at IS NOT NULL");
    let output = office.run(&["cert", "revoke", id(&lost)], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("still retires") && said.contains(&format!("cert rotate {}", id(&old))),
        "{said}"
    );
    office.replaced("rotate", id(&old), "another");
    let hours = "SELECT round(extract(epoch FROM retire_at - now()) / 3600) FROM device_certificates WHERE retire_at IS NOT NULL";
    assert_eq!(office.database.query(hours), [["24"]]);
}

#[test]
fn the_inventory_is_listed_by_page_and_by_what_ends_soon() {
    let office = Office::new();
    office.database.query(
        "INSERT INTO device_certificates
             (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, status, not_before, not_after)
         SELECT gen_random_uuid(), 'acme', CASE WHEN n % 2 = 0 THEN 'pump-1' ELSE 'pump-2' END, lpad(to_hex(n), 64, '0'),
             to_hex(n), 'acme/device/x', 'ca', CASE WHEN n < 3 THEN 'REVOKED' ELSE 'ACTIVE' END, now() - interval '1 day',
             CASE WHEN n = 12 THEN 'infinity' ELSE now() + n * interval '10 days' END
         FROM generate_series(1, 12) n",
    );
    let all = office.done(&["cert", "list"]);
    let ids = |page: &Value| {
        page.as_array().unwrap().iter().map(|row| id(row).to_owned()).collect::<Vec<_>>()
    };
    let all = ids(&all);
    assert_eq!(all.len(), 12);
    for more in [&[][..], &["--expiring", "36500"]] {
        let list =
            |options: &[&str]| ids(&office.done(&[&["cert", "list"], more, options].concat()));
        let (whole, mut paged) = (list(&[]), list(&["--limit", "5"]));
        while let Some(last) = paged.last().cloned() {
            let page = list(&["--limit", "5", "--after", &last]);
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, whole, "{more:?}");
    }
    assert_eq!(ids(&office.done(&["cert", "list", "--status", "revoked"])).len(), 2);
    assert_eq!(
        ids(&office.done(&["cert", "list", "--device", "acme/pump-2", "--status", "ACTIVE"])).len(),
        5
    );
    assert!(office.done(&["cert", "list", "--tenant", "other"]).as_array().unwrap().is_empty());
    // Those of 30 and 40 days, in the order of their ends; the ones of 10 and 20 are revoked.
    let soon = office.done(&["cert", "list", "--expiring", "41"]);
    assert_eq!(
        soon.as_array().unwrap().iter().map(|row| &row["serial_number"]).collect::<Vec<_>>(),
        ["3", "4"]
    );
    let table = office.run(&["cert", "list", "--limit", "3"], "");
    assert!(String::from_utf8_lossy(&table.stderr).contains("--after "), "{table:?}");
    assert!(
        office
            .refused(&["cert", "list", "--after", &uuid::Uuid::nil().to_string()])
            .contains("no certificate")
    );
}
