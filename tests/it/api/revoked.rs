//! Revoking over HTTP, and how far a revocation has come. The chain itself is shown in
//! `revocation`.

use serde_json::json;

use super::with_authority::{ApiWithAuthority, id};

const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[test]
fn a_certificate_is_revoked_once_for_the_reason_given_first() {
    let api = ApiWithAuthority::start();
    let issued = api.issued("dev");
    let progress = format!("/certificates/{}/revocation", id(&issued));
    assert!(api.get(&progress).detail(404, "not-found").contains("is not revoked"));
    let revoked = api.act(id(&issued), "revoke", &json!({ "reason": "keyCompromise" })).ok(200);
    assert_eq!(
        (&revoked["status"], &revoked["revoked_reason"]),
        (&"REVOKED".into(), &"keyCompromise".into())
    );
    assert_eq!((&revoked["was_revoked"], &revoked["revocation"]), (&false.into(), &json!(null)));
    let again =
        api.act(issued["fingerprint_sha256"].as_str().unwrap(), "revoke", &json!({})).ok(200);
    assert_eq!(
        (&again["was_revoked"], &again["revoked_reason"]),
        (&true.into(), &"keyCompromise".into())
    );
    let chain = api.get(&progress).ok(200);
    assert_eq!(
        (&chain["links"][0]["link"], &chain["links"][0]["seconds"]),
        (&"revoked".into(), &0.0.into())
    );
    assert_eq!((&chain["certificate_id"], &chain["proven"]), (&issued["id"], &false.into()));
    let audited = ["api certificate.issue pump-1", "api certificate.revoke pump-1"];
    assert_eq!(api.ca.audited(), audited);
}

#[test]
fn what_cannot_be_revoked_is_said() {
    let api = ApiWithAuthority::start();
    let issued = api.issued("dev");
    for path in [
        format!("/certificates/{NOBODY}/revoke"),
        format!("/certificates/{}/revoke", "ab".repeat(32)),
    ] {
        api.post(&path, &json!({})).problem(404, "not-found");
    }
    api.get(&format!("/certificates/{NOBODY}/revocation")).problem(404, "not-found");
    assert_eq!(api.act("x", "revoke", &json!({})).blamed(), "certificate");
    assert_eq!(api.act(id(&issued), "revoke", &json!({ "reason": "boredom" })).blamed(), "reason");
    for wait in ["0", "21", "1.5", "soon"] {
        assert_eq!(
            api.act(id(&issued), &format!("revoke?wait={wait}"), &json!({})).blamed(),
            "wait",
            "{wait}"
        );
    }
    assert_eq!(api.ca.fate(id(&issued)), ["ACTIVE", "NULL"]);
    api.ca.database.query("UPDATE device_certificates SET status = 'EXPIRED'");
    assert!(api.act(id(&issued), "revoke", &json!({})).detail(409, "conflict").contains("EXPIRED"));
}

#[test]
fn revoking_the_new_certificate_of_a_rotation_reports_that_the_old_retires() {
    let api = ApiWithAuthority::start();
    let old = api.issued("old");
    let new = api.replaced("rotate", &old, "new");
    let revoked = api.act(id(&new), "revoke", &json!({})).ok(200);
    assert_eq!(revoked["retiring"]["id"], old["id"]);
    assert!(revoked["retiring"]["retire_at"].is_string());
    api.replaced("rotate", &old, "newer");
}
